package house_test

import (
	"go/ast"
	"slices"
	"testing"
)

// Limits of size. The medians are what the code base is kept near; the others are
// hard.
const (
	maxFile       = 800
	maxFunction   = 80
	maxParameters = 4
	medianTarget  = 10
)

func TestSizes(t *testing.T) {
	t.Parallel()
	var lengths []int
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		if s.lines > maxFile {
			t.Errorf("%s has %d lines, at most %d: split it by concept", s.path, s.lines, maxFile)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := length(s, f)
			if n > maxFunction {
				t.Errorf("%s: %s has %d lines, at most %d", s.pos(f), f.Name.Name, n, maxFunction)
			}
			if !s.test {
				lengths = append(lengths, n)
			}
			if p := f.Type.Params.NumFields(); p > maxParameters {
				t.Errorf("%s: %s has %d parameters, at most %d: pass a struct", s.pos(f), f.Name.Name, p, maxParameters)
			}
		}
	}
	slices.Sort(lengths)
	if len(lengths) == 0 {
		t.Fatal("no functions found: the walk is broken")
	}
	if median := lengths[len(lengths)/2]; median > medianTarget {
		t.Errorf("the median function has %d lines, want at most %d", median, medianTarget)
	}
}

// length counts the lines of a body, without its braces.
func length(s source, f *ast.FuncDecl) int {
	if f.Body == nil {
		return 0
	}
	return max(1, s.fset.Position(f.Body.Rbrace).Line-s.fset.Position(f.Body.Lbrace).Line-1)
}

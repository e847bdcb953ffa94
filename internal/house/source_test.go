package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/musterhq/muster"

// source is one parsed Go file of the main module.
type source struct {
	path      string // slash-separated, relative to the module root
	dir       string // "." for the root
	test      bool
	generated bool
	lines     int
	fset      *token.FileSet
	file      *ast.File
}

func (s source) pos(n ast.Node) string { return s.fset.Position(n.Pos()).String() }

// root is the module's directory as seen from this package.
const root = "../.."

var parseOnce = sync.OnceValues(parseModule)

// sources returns every Go file of the main module; nested modules and testdata
// are left out.
func sources(t *testing.T) []source {
	t.Helper()
	list, err := parseOnce()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func parseModule() (list []source, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(name, d.Name())
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		s, err := parse(name)
		list = append(list, s)
		return err
	})
	return list, err
}

func skipDir(name, base string) error {
	if name == root {
		return nil
	}
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir // a module of its own
	}
	return nil
}

func parse(name string) (source, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return source{}, err
	}
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return source{}, err
	}
	rel = filepath.ToSlash(rel)
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, rel, text, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	return source{
		path: rel, dir: path.Dir(rel), fset: fset, file: file,
		test:      strings.HasSuffix(rel, "_test.go"),
		generated: ast.IsGenerated(file),
		lines:     strings.Count(string(text), "\n"),
	}, nil
}

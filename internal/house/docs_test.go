package house_test

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

func TestEveryPackageIsDocumented(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no package comment", dir)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || s.generated || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				checkFunc(t, s, d)
			case *ast.GenDecl:
				checkGen(t, s, d)
			}
		}
	}
}

func checkFunc(t *testing.T, s source, f *ast.FuncDecl) {
	t.Helper()
	if !f.Name.IsExported() || f.Recv != nil && !exportedReceiver(f.Recv) {
		return
	}
	if !strings.HasPrefix(f.Doc.Text(), f.Name.Name) {
		t.Errorf("%s: the comment of %s must start with its name", s.pos(f), f.Name.Name)
	}
}

func exportedReceiver(r *ast.FieldList) bool {
	typ := r.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func checkGen(t *testing.T, s source, g *ast.GenDecl) {
	t.Helper()
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			doc := spec.Doc.Text() + g.Doc.Text()
			if spec.Name.IsExported() && !strings.Contains(doc, spec.Name.Name) {
				t.Errorf("%s: type %s has no comment that names it", s.pos(spec), spec.Name.Name)
			}
		case *ast.ValueSpec:
			if spec.Names[0].IsExported() && spec.Doc == nil && spec.Comment == nil && g.Doc == nil {
				t.Errorf("%s: %s has no comment", s.pos(spec), spec.Names[0].Name)
			}
		}
	}
}

func TestNoInitAndNoMutablePackageVariables(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || s.generated {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init functions are not used here", s.pos(f))
			}
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				checkVars(t, s, g)
			}
		}
	}
}

// checkVars allows errors, compiled regular expressions, embedded files and
// compile-time interface checks at package level; nothing else.
func checkVars(t *testing.T, s source, g *ast.GenDecl) {
	t.Helper()
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		if v.Names[0].Name == "_" || s.dir == "cmd/muster" && v.Names[0].Name == "version" /* set by the linker */ || embedded(g, v) || len(v.Values) > 0 && constantLike(v.Values[0]) {
			continue
		}
		t.Errorf("%s: package variable %s: pass it, or make it a constant or a function", s.pos(v), v.Names[0].Name)
	}
}

func embedded(g *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed") {
				return true
			}
		}
	}
	return false
}

// constantLike recognises errors.New, fmt.Errorf and regexp.MustCompile.
func constantLike(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && (pkg.Name == "errors" && sel.Sel.Name == "New" ||
		pkg.Name == "fmt" && sel.Sel.Name == "Errorf" ||
		pkg.Name == "regexp" && sel.Sel.Name == "MustCompile")
}

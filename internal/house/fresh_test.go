package house_test

import (
	"go/ast"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestModuleFileIsTidy(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{".", "tools"} {
		cmd := exec.CommandContext(t.Context(), "go", "mod", "tidy", "-diff")
		cmd.Dir = root + "/" + dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go mod tidy -diff in %s: %v\n%s", dir, err, out)
		}
	}
}

// TestSleepsOnlyInVirtualTime: a test that sleeps in real time is slow or flaky,
// usually both. Inside a synctest bubble sleeping costs nothing.
func TestSleepsOnlyInVirtualTime(t *testing.T) {
	t.Parallel()
	virtual := map[string]bool{} // directories whose tests run in bubbles
	for _, s := range sources(t) {
		virtual[s.dir] = virtual[s.dir] || s.test && imports(s, "testing/synctest")
	}
	for _, s := range sources(t) {
		if !s.test || virtual[s.dir] {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" && isIdent(sel.X, "time") {
				t.Errorf("%s: poll with a deadline or use testing/synctest", s.pos(n))
			}
			return true
		})
	}
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func imports(s source, p string) bool {
	return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(p) })
}

func TestGoFilesAreFormatted(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "gofmt", "-l", ".")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(out)) {
		if !strings.Contains(name, "node_modules") {
			t.Errorf("%s is not formatted", strings.TrimSpace(name))
		}
	}
}

func TestEveryDirectDependencyIsExplained(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile(root + "/docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); name != "" && !strings.Contains(string(table), name) {
			t.Errorf("docs/dependencies.md does not say why %s is here", name)
		}
	}
}

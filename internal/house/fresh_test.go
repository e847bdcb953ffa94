package house_test

import (
	"bytes"
	"go/ast"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestModuleFilesAreTidy(t *testing.T) {
	t.Parallel()
	modules := everywhere(t, "go.mod")
	if len(modules) < 2 {
		t.Fatalf("modules: got %v, want the nested ones too", modules)
	}
	for _, file := range modules {
		t.Run(path.Dir(file), func(t *testing.T) {
			t.Parallel()
			if out, err := run(t, "go", "-C", path.Dir(file), "mod", "tidy", "-diff"); err != nil {
				t.Errorf("go mod tidy -diff: %v\n%s", err, out)
			}
		})
	}
}

// run executes a command in the module's root and returns what it said.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestGeneratedCodeIsFresh generates the code of api again, elsewhere. The types
// of the dashboard and its bundle are compared in web/internal/build, which has Node.
func TestGeneratedCodeIsFresh(t *testing.T) {
	t.Parallel()
	fresh := t.TempDir()
	output := regexp.MustCompile(`(?m)^output: (\S+)$`)
	for _, config := range []string{"types.yaml", "server/server.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "api", config))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(fresh, path.Base(config))
		target := filepath.Join(fresh, path.Base(output.FindStringSubmatch(string(text))[1]))
		if err := os.WriteFile(file, output.ReplaceAll(text, []byte("output: "+target)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, "go", "-C", "api", "tool", "-modfile=../tools/go.mod", "oapi-codegen", "-config", file, "../openapi.yaml"); err != nil {
			t.Fatalf("generate by %s: %v\n%s", config, err, out)
		}
	}
	if out, err := run(t, "go", "run", "-C", "tools", "./specjson", "../openapi.yaml", fresh); err != nil {
		t.Fatalf("generate the specification: %v\n%s", err, out)
	}
	for _, file := range []string{"api.gen.go", "server/server.gen.go", "openapi.json", "spec.gen.go"} {
		want, err := os.ReadFile(filepath.Join(fresh, path.Base(file)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(root, "api", file)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("api/%s is stale (%v): run go generate ./api", file, err)
		}
	}
}

// TestNoTestIsSkipped: what is missing on a machine is installed by make deps, and
// what takes long has the build tag long. A test that skips itself looks like one
// that passes.
func TestNoTestIsSkipped(t *testing.T) {
	t.Parallel()
	skip := regexp.MustCompile(`\b(t|b|f|tb)\.Skip(f|Now)?\(`)
	for _, file := range everywhere(t, ".go") {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if m := skip.FindIndex(text); m != nil {
			line := 1 + bytes.Count(text[:m[0]], []byte("\n"))
			t.Errorf("%s:%d skips: install what is missing, or use the build tag long", file, line)
		}
	}
}

// everywhere returns the files of all modules whose name ends like that.
func everywhere(t *testing.T, ending string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ending) {
			rel, err := filepath.Rel(root, name)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
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

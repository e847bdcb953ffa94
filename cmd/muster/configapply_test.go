package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/client"
)

const routesYAML = `# two of them
kind: route
name: demo
spec: {weight: 10}
---
kind: route
name: new
spec:
  hosts: [a, b]
  big: 9007199254740993
`

// apply runs config apply on a text.
func (term *terminal) apply(t *testing.T, text string, args ...string) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "routes")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return term.muster(t, append([]string{"config", "apply", "-f", file}, args...)...)
}

func TestApplyLeavesAloneWhatIsAsTheFileSays(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.seed("route", "demo", `{"weight":10}`)
	for _, step := range []struct {
		text, args, want string
	}{
		{routesYAML, "--dry-run", "route/demo unchanged\nroute/new would be created\n"},
		{routesYAML, "", "route/demo unchanged\nroute/new created, revision 2\n"},
		{routesYAML, "", "route/demo unchanged\nroute/new unchanged\n"},
		{strings.ReplaceAll(routesYAML, "10", "20"), "", "route/demo changed, revision 3\nroute/new unchanged\n"},
		{`{"kind":"route","name":"demo","spec":{"weight":30}} {"kind":"a","name":"b","spec":null}`, "", "route/demo changed, revision 4\na/b created, revision 5\n"},
		{`[{"kind":"route","name":"demo","spec":{"weight":30}}]`, "", "route/demo unchanged\n"},
	} {
		if code := term.apply(t, step.text, strings.Fields(step.args)...); code != 0 || term.out.String() != step.want {
			t.Errorf("exit %d:\n%s%swant\n%s", code, term.out, term.err, step.want)
		}
	}
	if spec := string(term.cluster.docs["route/new"].Spec); spec != `{"big":9007199254740993,"hosts":["a","b"]}` {
		t.Errorf("written %s", spec)
	}
	if sent := len(term.cluster.batches); sent != 4 {
		t.Errorf("%d batches were sent, want 4: nothing is sent where nothing differs", sent)
	}
	term.muster(t, "config", "list", "-o", "json")
	if code := term.apply(t, term.out.String()); code != 0 || strings.Count(term.out.String(), "unchanged") != 3 {
		t.Errorf("what list shows is applied: exit %d: %s%s", code, term.out, term.err)
	}
}

func TestApplyRefusesWhatIsNoDocument(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	for text, want := range map[string]string{
		"":                                "no document",
		"- 1":                             "document 1",
		"kind: a\nname: b\n":              "has no spec",
		"kind: a\nname: b\nspecs: 1\n":    "specs",
		"kind: 'a:b'\nname: b\nspec: 1\n": "document 1",
		`{"kind":"a","name":"b","spec":{"x":1,"x":2}}`:                        "a/b",
		`[{"kind":"a","name":"b","spec":1},{"kind":"a","name":"b","spec":2}]`: "twice",
		`{"kind":"a"`: "no JSON",
		"a: [":        "neither JSON nor YAML",
	} {
		if code := term.apply(t, text); code != 2 || !strings.Contains(term.err.String(), want) || len(term.cluster.batches) > 0 {
			t.Errorf("%q: exit %d, want 2 and %q: %s", text, code, want, term.err)
		}
	}
	if code := term.muster(t, "config", "apply"); code != 2 || !strings.Contains(term.err.String(), "-f FILE") {
		t.Errorf("without a file: exit %d: %s", code, term.err)
	}
}

func TestApplyTellsOfARace(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.seed("route", "demo", `1`)
	term.cluster.meddle = func(c *fakeCluster) {
		c.meddle = nil
		c.putLocked(client.Write{Kind: "route", Name: "demo", Spec: []byte("2")})
	}
	if code := term.apply(t, "kind: route\nname: demo\nspec: 3\n"); code != 6 || !strings.Contains(term.err.String(), "again") {
		t.Errorf("exit %d: %s", code, term.err)
	}
	if spec := string(term.cluster.docs["route/demo"].Spec); spec != "2" {
		t.Errorf("the other's write was overwritten: %s", spec)
	}
}

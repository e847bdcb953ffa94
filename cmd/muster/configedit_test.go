package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/musterhq/muster/client"
)

// editing makes a terminal whose editor runs a line of shell on the file $1.
func editing(t *testing.T, line string) *terminal {
	t.Helper()
	script := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(script, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := newTerminal(t, "EDITOR=sh "+script, "PATH="+os.Getenv("PATH"))
	term.cluster.seed("route", "demo", `{"weight":10}`)
	return term
}

func (term *terminal) spec(key string) string { return string(term.cluster.docs[key].Spec) }

// kept returns the content of the file that a message names, and removes it.
func kept(t *testing.T, message string) string {
	t.Helper()
	m := regexp.MustCompile(`your text is in (\S+)`).FindStringSubmatch(message)
	if m == nil {
		t.Fatalf("no file is named: %s", message)
	}
	text, err := os.ReadFile(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(m[1]); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEditWritesWhatTheEditorLeaves(t *testing.T) {
	t.Parallel()
	term := editing(t, `sed -i s/10/20/ "$1"`)
	if code := term.muster(t, "config", "edit", "route/demo", "--reason", "more"); code != 0 || term.spec("route/demo") != `{"weight":20}` {
		t.Errorf("exit %d: %s %s%s", code, term.spec("route/demo"), term.out, term.err)
	}
	if reason := term.cluster.docs["route/demo"].Reason; reason != "more" {
		t.Errorf("reason %q", reason)
	}
	if code := term.muster(t, "config", "edit", "route/demo"); code != 0 || term.cluster.rev != 2 || !strings.Contains(term.err.String(), "nothing has changed") {
		t.Errorf("without a change: exit %d, revision %d: %s", code, term.cluster.rev, term.err)
	}
	if code := term.muster(t, "config", "edit", "route/new"); code != 0 || term.spec("route/new") != `{}` {
		t.Errorf("a new one: exit %d: %s", code, term.err)
	}
}

func TestEditKeepsTheTextThatWasNotWritten(t *testing.T) {
	t.Parallel()
	term := editing(t, `echo '{"weight":' > "$1"`)
	if code := term.muster(t, "config", "edit", "route/demo"); code != 2 || term.cluster.rev != 1 {
		t.Errorf("no JSON: exit %d: %s", code, term.err)
	}
	if text := kept(t, term.err.String()); text != "{\"weight\":\n" {
		t.Errorf("kept %q", text)
	}
	term = editing(t, `echo '{"weight":30}' > "$1"`)
	term.cluster.meddle = func(c *fakeCluster) {
		c.meddle = nil
		c.putLocked(client.Write{Kind: "route", Name: "demo", Spec: []byte("2")})
	}
	if code := term.muster(t, "config", "edit", "route/demo"); code != 6 || term.spec("route/demo") != "2" {
		t.Errorf("a conflict: exit %d: %s", code, term.err)
	}
	if text := kept(t, term.err.String()); text != "{\"weight\":30}\n" {
		t.Errorf("kept %q", text)
	}
	term = editing(t, `exit 1`)
	if code := term.muster(t, "config", "edit", "route/demo"); code != 2 || term.cluster.rev != 1 {
		t.Errorf("the editor failed: exit %d: %s", code, term.err)
	}
	kept(t, term.err.String())
}

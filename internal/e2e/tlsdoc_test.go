package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testca"
)

// TestTheCommandsOfTheTLSPageWork pastes its console blocks into a shell that has
// the certificates.
func TestTheCommandsOfTheTLSPageWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(binary.Path(), filepath.Join(dir, "muster")); err != nil {
		t.Fatal(err)
	}
	ca := testca.New(t, "authority")
	link(t, ca.File, filepath.Join(dir, "ca.pem"))
	for _, name := range []string{"n1", "n2", "ada"} {
		pair := ca.Issue(t, testca.Leaf{CommonName: name})
		link(t, pair.CertFile, filepath.Join(dir, name+".pem"))
		link(t, pair.KeyFile, filepath.Join(dir, name+"-key.pem"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-m", "-c", commandsOf(t, string(text)))
	shell.Dir, shell.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"HEALTHY", "n2", `"cluster_health"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("nothing prints %q:\n%s", want, out)
		}
	}
}

// commandsOf joins the console blocks of a page, on free ports, with the nodes
// stopped at the end.
func commandsOf(t *testing.T, page string) string {
	t.Helper()
	lines := []string{"set -e", "trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT"}
	for i, block := range strings.Split(page, "```") {
		if i%2 == 0 || !strings.HasPrefix(block, "console\n") {
			continue
		}
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
				lines = append(lines, quiet(command))
			}
		}
	}
	script := strings.Join(lines, "\n")
	for _, port := range []string{"9113", "9114"} {
		script = strings.ReplaceAll(script, port, fmt.Sprint(freePort(t)))
	}
	return script
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		t.Fatal(err)
	}
}

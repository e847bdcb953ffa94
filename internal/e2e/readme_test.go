package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const root = "../.."

// TestReadmeTranscriptWorks pastes the console block of the README into a shell and
// compares what it prints, up to what differs from run to run ("...").
func TestReadmeTranscriptWorks(t *testing.T) {
	t.Parallel()
	commands, want := transcript(t)
	dir := t.TempDir()
	if err := os.Symlink(binary.Path(), filepath.Join(dir, "muster")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-m", "-c", commands)
	shell.Dir = dir
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Stderr = &bytes.Buffer{}
	out, err := shell.Output()
	if err != nil {
		t.Errorf("%v\n%s", err, shell.Stderr)
	}
	got := string(out)
	for _, line := range want {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`)
		pattern = regexp.MustCompile(`\d+s`).ReplaceAllString(pattern, `\d+s`)
		if !regexp.MustCompile(`(?m)^` + pattern).MatchString(got) {
			t.Errorf("no line like %q in:\n%s", line, got)
		}
	}
}

// transcript returns the commands as a script, on free ports and with the nodes
// stopped at its end, and the lines that they should print.
func transcript(t *testing.T) (script string, want []string) {
	t.Helper()
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```console\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the README has no console block")
	}
	lines := []string{"trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT"}
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case strings.HasPrefix(command, "go build"): // the binary is there
		case isCommand:
			lines = append(lines, quiet(command))
		default:
			want = append(want, line)
		}
	}
	script = strings.Join(lines, "\n")
	for _, port := range []string{"9113", "9114", "9115"} {
		script = strings.ReplaceAll(script, port, fmt.Sprint(freePort(t)))
	}
	first := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(script)
	return "export MUSTER_ADDR=http://" + first + "\n" + script, want
}

// quiet keeps the nodes' own output out of the way.
func quiet(command string) string {
	if background, ok := strings.CutSuffix(command, " &"); ok {
		return background + " >/dev/null 2>&1 &\nsleep 1" // a person types slower
	}
	if strings.Contains(command, "status") && !strings.Contains(command, "--wait") {
		return command + " || true" // exit 3: degraded
	}
	return command
}

// TestReadmeShowsTheExample: the Go snippet of the README is the compiled one.
func TestReadmeShowsTheExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(root + "/server/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(readme), "```go\n")
	block, _, _ = strings.Cut(block, "```")
	if !found {
		t.Fatal("the README has no Go block")
	}
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); !strings.Contains(string(example), line) {
			t.Errorf("server/example_test.go lacks %q", line)
		}
	}
}

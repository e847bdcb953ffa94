// Package program runs the real muster program for tests: it builds it, starts
// nodes of it as processes on loopback, and ends them with the test. The tests of
// the nested modules stand on it.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Variable names the binary to test. Without it one is built.
const Variable = "MUSTER_BIN"

// patience bounds every wait for the program.
const patience = 20 * time.Second

// Program is a muster binary. It may be used concurrently.
type Program struct{ path string }

// Main runs the tests of a package on the binary that Variable names, or on one
// that is built from the module in root and removed afterwards. It returns the
// exit code: func TestMain(m *testing.M) { os.Exit(program.Main(m, "../..", &muster)) }.
func Main(m *testing.M, root string, p **Program) int {
	path := os.Getenv(Variable)
	if path == "" {
		dir, err := os.MkdirTemp("", "muster-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }() // best effort
		path = filepath.Join(dir, "muster")
		if err := build(root, path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	*p = &Program{path: path}
	return m.Run()
}

// build makes the binary as a release is made: static.
func build(root, path string) error {
	cmd := exec.Command("go", "build", "-o", path, "./cmd/muster")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build muster: %w\n%s", err, out)
	}
	return nil
}

// Path returns the file of the binary.
func (p *Program) Path() string { return p.path }

// Result is what one command line did.
type Result struct {
	Exit           int
	Stdout, Stderr string
}

// Run executes one command line with further variables in its environment, and
// waits for its end.
func (p *Program) Run(tb testing.TB, env []string, args ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Env, cmd.Dir = append(clean(os.Environ()), env...), tb.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if err != nil && !ended {
		tb.Fatalf("muster %s: %v", strings.Join(args, " "), err)
	}
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	if ended {
		r.Exit = exit.ExitCode()
	}
	return r
}

// Must is Run for a command line that has to succeed; it returns what that printed.
func (p *Program) Must(tb testing.TB, args ...string) string {
	tb.Helper()
	r := p.Run(tb, nil, args...)
	if r.Exit != 0 {
		tb.Fatalf("muster %s: exit %d\n%s", strings.Join(args, " "), r.Exit, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// clean drops what the program would take for its own settings.
func clean(env []string) []string {
	kept := []string{"NO_COLOR=1"}
	for _, pair := range env {
		if !strings.HasPrefix(pair, "MUSTER_") {
			kept = append(kept, pair)
		}
	}
	return kept
}

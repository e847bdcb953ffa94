package e2e_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/freeport"
	"github.com/musterhq/muster/internal/program"
)

// binary is the program under test.
var binary *program.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, "../..", &binary)) }

// process is one running muster.
type process struct {
	*program.Process
	t *testing.T
}

// launch starts the binary, with further variables in its environment, and makes sure
// that it is gone when the test ends.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return &process{Process: binary.Start(t, env, args...), t: t}
}

// launchCommand starts a command that runs the binary.
func launchCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	return &process{Process: program.Launch(t, cmd), t: t}
}

// kill ends the process as a power cut would.
func (p *process) kill() { p.Kill() }

// terminate asks the process to leave and returns its exit code.
func (p *process) terminate() int {
	p.t.Helper()
	p.Signal(p.t, syscall.SIGTERM)
	return p.exit(15 * time.Second)
}

// exit waits for the process to end by itself and returns its exit code.
func (p *process) exit(limit time.Duration) int {
	p.t.Helper()
	return p.Exit(p.t, limit)
}

// run executes one command line and returns its exit code and streams.
func run(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	r := binary.Run(t, env, args...)
	return r.Exit, r.Stdout, r.Stderr
}

// freePort returns a port that nobody listens on right now.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := freeport.Next()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// eventually polls until ok returns nil, and fails the test with its last answer
// after the limit. It returns how long it took.
func eventually(t *testing.T, limit time.Duration, ok func() error) time.Duration {
	t.Helper()
	return program.Await(t, limit, ok)
}

package program

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one running program. It is killed when the test ends.
type Process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended
}

// Start starts the binary with further variables in its environment.
func (p *Program) Start(tb testing.TB, env []string, args ...string) *Process {
	tb.Helper()
	cmd := exec.Command(p.path, args...)
	cmd.Env, cmd.Dir = append(clean(os.Environ()), env...), tb.TempDir()
	return Launch(tb, cmd)
}

// Launch starts any command as a process that ends with the test. Its output is
// shown if the test fails. Without an environment of its own it gets that of the
// test, less what muster would take for settings.
func Launch(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.Env == nil {
		cmd.Env = clean(os.Environ())
	}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a killed test leaves nothing behind
	if err := p.start(); err != nil {
		tb.Fatalf("start %s: %v", cmd.Path, err)
	}
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("--- output of %s\n%s", strings.Join(cmd.Args, " "), p.Output())
		}
	})
	return p
}

// start starts the process on a thread of its own that lives as long: the kernel
// sends Pdeathsig when the thread that forked ends, not the whole process.
func (p *Process) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended does not matter: tests end it in many ways
		}
		close(p.done)
	}()
	return <-started
}

// Kill ends the process as a power cut would, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // may have ended
	<-p.done
}

// Signal sends a signal to the process.
func (p *Process) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("send %s to %s: %v", sig, p.cmd.Path, err)
	}
}

// Exit waits for the process to end by itself and returns its exit code, -1 after a
// signal.
func (p *Process) Exit(tb testing.TB, limit time.Duration) int {
	tb.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		tb.Fatalf("%s is still running after %s; output:\n%s", p.cmd.Path, limit, p.Output())
	}
	return p.cmd.ProcessState.ExitCode()
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output returns what the process has printed so far, on both streams.
func (p *Process) Output() string { return p.out.String() }

// output collects what a process prints; it may be read while it runs.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

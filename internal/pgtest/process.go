package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is one run of the server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// asNobody makes a command run as another user if we are root.
func asNobody(cmd *exec.Cmd) {
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// launch starts the server and waits until it answers.
func (s *Server) launch() error {
	args := []string{
		"-D", s.data(), "-p", strconv.Itoa(s.port), "-k", s.dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_connections=200",
	}
	if s.tls {
		args = append(args, "-c", "ssl=on", "-c", "ssl_cert_file="+s.certFile(), "-c", "ssl_key_file="+s.keyFile())
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	asNobody(cmd)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT // a killed test leaves no server behind
	p := &process{cmd: cmd, done: make(chan struct{})}
	if err := p.start(); err != nil {
		return err
	}
	s.proc = p
	if err := s.awaitReady(p); err != nil {
		s.end(syscall.SIGQUIT)
		return err
	}
	return nil
}

// start starts the process on a thread of its own that lives as long: the kernel
// sends Pdeathsig when the thread that forked ends, not the whole process.
func (p *process) start() error {
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

func (s *Server) awaitReady(p *process) error {
	deadline := time.Now().Add(patience)
	for {
		err := s.run("pg_isready", "-q", "-h", s.dir, "-p", strconv.Itoa(s.port))
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("postgres ended: %s", s.Log())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("postgres is not ready: %w: %s", err, s.Log())
		}
	}
}

// end stops the server: SIGINT is a fast shutdown, SIGQUIT an immediate one.
func (s *Server) end(signal syscall.Signal) {
	if s.proc == nil {
		return
	}
	s.signalAll(syscall.SIGCONT)
	_ = s.proc.cmd.Process.Signal(signal) // gone already: then done is closed
	select {
	case <-s.proc.done:
	case <-time.After(patience):
		s.signalAll(syscall.SIGKILL)
		<-s.proc.done
	}
	s.proc = nil
}

// Close ends the server and removes its files.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGQUIT)
	_ = os.RemoveAll(s.dir) // a temporary directory: what stays is not worth a failed test
}

// Stop ends the server at once, as a crash does. Its data stay.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(syscall.SIGQUIT)
}

// Start starts the server again after Stop, on the same socket and port.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		tb.Fatal("postgres runs already")
	}
	if err := s.launch(); err != nil {
		tb.Fatal(err)
	}
}

// Restart ends the server as an operator does and starts it again.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	s.end(syscall.SIGINT)
	s.mu.Unlock()
	s.Start(tb)
}

// Pause freezes the server with all its connections, as a hung machine does.
func (s *Server) Pause() { s.signalLocked(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Server) Resume() { s.signalLocked(syscall.SIGCONT) }

func (s *Server) signalLocked(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signalAll(signal)
}

// signalAll signals the server first and then its children, so that a stopped
// one starts no new ones.
func (s *Server) signalAll(signal syscall.Signal) {
	if s.proc == nil {
		return
	}
	pid := s.proc.cmd.Process.Pid
	_ = syscall.Kill(pid, signal)
	for _, child := range children(pid) {
		_ = syscall.Kill(child, signal) // it may have ended meanwhile
	}
}

func children(parent int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // pid (name) state ppid ...
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, pid)
		}
	}
	return found
}

// Disconnect ends all connections to a database, as a network that breaks does.
// Those that wait for a lock go first: otherwise the end of its holder would let
// them finish.
func (s *Server) Disconnect(tb testing.TB, database string) {
	tb.Helper()
	s.SQL(tb, "postgres", "select pg_terminate_backend(pid) from (select pid from pg_stat_activity where datname = '"+database+
		"' order by coalesce(wait_event_type, '') = 'Lock' desc offset 0) as ordered")
}

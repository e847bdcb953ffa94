package pgtest_test

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/pgtest"
)

// answers reports whether something accepts and closes or answers a TCP
// connection that says a wrong word, within a second.
func answers(t *testing.T, s *pgtest.Server) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		return false
	}
	n, _ := conn.Read(make([]byte, 1))
	return n == 1
}

func TestServerStopsStartsAndFreezes(t *testing.T) {
	t.Parallel()
	s := pgtest.New(t)
	if !answers(t, s) {
		t.Fatalf("a fresh server does not answer: %s", s.Log())
	}
	s.SQL(t, "postgres", "create table kept (a int)")
	s.Pause()
	if answers(t, s) {
		t.Error("a frozen server answers")
	}
	s.Resume()
	if !answers(t, s) {
		t.Error("a resumed server does not answer")
	}
	s.Stop()
	if answers(t, s) {
		t.Error("a stopped server answers")
	}
	s.Start(t)
	s.SQL(t, "postgres", "insert into kept values (1)")
	s.Restart(t)
	s.SQL(t, "postgres", "do $$ begin if (select count(*) from kept) <> 1 then raise 'lost'; end if; end $$")
}

func TestDSNsWorkFromAnotherProcess(t *testing.T) {
	t.Parallel()
	s := pgtest.New(t)
	s.EnableTLS(t)
	name := s.CreateDatabase(t)
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Fatalf("psql belongs to PostgreSQL: %v", err)
	}
	for _, dsn := range []string{s.SocketDSN(name), s.TCPDSN(name, "disable"), s.TCPDSN(name, "require")} {
		if out, err := exec.CommandContext(t.Context(), psql, "-X", "-c", "select 1", dsn).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", dsn, err, out)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	s, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	socket := s.Socket()
	s.Close()
	if files, _ := filepath.Glob(filepath.Dir(socket)); len(files) != 0 || answers(t, s) {
		t.Errorf("left behind: %v", files)
	}
	s.Close()
}

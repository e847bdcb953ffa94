// Package pgtest starts a real PostgreSQL server for tests: on a Unix socket and
// on a loopback TCP port, as another user when the tests run as root, and gone
// when they end. It uses the server's own programs and the standard library only.
package pgtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/freeport"
)

// User and Password open a session over TCP; the socket trusts everybody.
const (
	User     = "postgres"
	Password = "correct horse/battery@staple"
)

// missing is what a test says when there is no server to start.
const missing = "PostgreSQL is not installed: apt-get install -y postgresql-15 (its programs are looked up with pg_config and on the PATH)"

// nobody owns the server's files when the tests run as root, whom PostgreSQL refuses.
const nobody = 65534

// patience bounds every wait for the server.
const patience = 30 * time.Second

// Server is one PostgreSQL server with its own data directory.
type Server struct {
	dir  string // short: the path of a Unix socket has at most 107 bytes
	bin  string
	port int
	tls  bool
	next atomic.Int64

	mu   sync.Mutex
	proc *process
}

// New starts a server that ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Main runs the tests of a package with one server for all, and returns the exit
// code: func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &server)) }.
func Main(m *testing.M, server **Server) int {
	s, err := Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.Close()
	*server = s
	return m.Run()
}

// Start starts a server. Close ends it.
func Start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	s := &Server{dir: dir, bin: bin}
	if err := s.create(); err != nil {
		s.Close()
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return s, nil
}

func binaries() (string, error) {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	dirs = append(dirs, installed...)
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New(missing)
}

func (s *Server) create() error {
	if os.Getuid() == 0 {
		if err := os.Chown(s.dir, nobody, nobody); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return err
	}
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o644); err != nil {
		return err
	}
	err := s.run("initdb", "-D", s.data(), "-U", User, "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", secret,
		"--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions")
	if err != nil {
		return err
	}
	for range 5 { // somebody else may take the port before the server does
		if s.port, err = freeport.Next(); err != nil {
			return err
		}
		if err = s.launch(); err == nil {
			return nil
		}
	}
	return err
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run runs one of the server's programs to its end.
func (s *Server) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	asNobody(cmd)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Database creates an empty database and returns its connection string over the
// Unix socket. Other processes can use it too. It is not dropped before the
// server ends.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	return s.SocketDSN(s.CreateDatabase(tb))
}

// CreateDatabase creates an empty database and returns its name. More arguments
// go to createdb.
func (s *Server) CreateDatabase(tb testing.TB, args ...string) string {
	tb.Helper()
	name := "t" + strconv.FormatInt(s.next.Add(1), 10)
	args = append([]string{"-h", s.dir, "-p", strconv.Itoa(s.port), "-U", User, "-T", "template0"}, args...)
	if err := s.run("createdb", append(args, name)...); err != nil {
		tb.Fatal(err)
	}
	return name
}

// SQL runs statements with psql, outside of any code under test.
func (s *Server) SQL(tb testing.TB, database, statements string) {
	tb.Helper()
	err := s.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", User, "-d", database, "-c", statements)
	if err != nil {
		tb.Fatal(err)
	}
}

// SocketDSN returns the connection string of a database over the Unix socket.
func (s *Server) SocketDSN(database string) string {
	query := url.Values{"host": {s.dir}, "port": {strconv.Itoa(s.port)}, "user": {User}}
	return "postgres:///" + database + "?" + query.Encode()
}

// TCPDSN returns the connection string of a database over TCP, with a password
// and an sslmode (disable, unless the server was given a certificate).
func (s *Server) TCPDSN(database, sslmode string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(User, Password), Host: s.Addr(), Path: "/" + database,
		RawQuery: url.Values{"sslmode": {sslmode}}.Encode(),
	}
	return u.String()
}

// Addr returns the TCP address.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Log returns what the server has logged.
func (s *Server) Log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// Socket returns the path of the Unix socket.
func (s *Server) Socket() string {
	return filepath.Join(s.dir, ".s.PGSQL."+strconv.Itoa(s.port))
}

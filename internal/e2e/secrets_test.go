package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
)

// sweep looks for secrets where none may be.
type sweep struct {
	t       *testing.T
	secrets map[string]string
	places  int
}

// add plants a secret, in the forms in which it might leak.
func (s *sweep) add(name, secret string) {
	if len(secret) < 10 {
		s.t.Fatalf("%s is too short to be looked for: %q", name, secret)
	}
	s.secrets[name] = secret
	s.secrets[name+" in hex"] = hex.EncodeToString([]byte(secret))
	s.secrets[name+" in base64"] = strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "=")
}

// look searches one place.
func (s *sweep) look(place string, content []byte) {
	s.t.Helper()
	s.places++
	for name, secret := range s.secrets {
		if bytes.Contains(content, []byte(secret)) {
			s.t.Errorf("%s holds the %s", place, name)
		}
	}
}

// node searches the log, the command line, the files and every answer of a node.
func (s *sweep) node(n *node) {
	s.t.Helper()
	s.look("the log of "+n.name, []byte(n.Output()))
	for _, file := range []string{"cmdline", "comm"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.PID(), file))
		if err != nil {
			s.t.Fatal(err)
		}
		s.look(file+" of "+n.name, content)
	}
	err := filepath.WalkDir(filepath.Join(n.c.dir, n.name), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		s.look(name, content)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range append(describedPaths(s.t), "/v1/config/route/demo", "/ready?verbose", "/v1/events?wait=0s", "/v1/changes?after=0") {
		if path == "/v1/watch" || path == "/v1/events" {
			continue // does not end; eavesdrop reads it
		}
		_, body, err := n.request(http.MethodGet, path, "")
		if err != nil {
			s.t.Fatal(err)
		}
		s.look("GET "+path+" of "+n.name, body)
	}
}

// login makes a code, uses it, and returns code and session.
func login(t *testing.T, n *node) (code, session string) {
	t.Helper()
	var made struct{ Code, Token string }
	_, body, err := n.request(http.MethodPost, "/v1/logins", "")
	if err != nil || json.Unmarshal(body, &made) != nil || made.Code == "" {
		t.Fatalf("login code: %s %v", body, err)
	}
	code = made.Code
	_, body, err = n.request(http.MethodPost, "/v1/session", `{"code":"`+code+`"}`, "Content-Type", "application/json")
	if err != nil || json.Unmarshal(body, &made) != nil || made.Token == "" {
		t.Fatalf("session: %s %v", body, err)
	}
	return code, made.Token
}

// TestNoSecretIsLeftAnywhere runs the life of a cluster at the loudest log level,
// with refusals of every kind, and searches all it leaves behind.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	s := &sweep{t: t, secrets: map[string]string{}}
	cookie, err := os.ReadFile(c.cookie)
	if err != nil {
		t.Fatal(err)
	}
	s.add("cookie", strings.TrimSpace(string(cookie)))
	s.add("token", c.token)
	s.add("token's signature", c.token[strings.LastIndex(c.token, ".")+1:])

	pg := pgtest.New(t)
	dsn, err := url.Parse(pg.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	const password = "pw-canary-9c41e0d7"
	s.add("database password", password)
	dsn.User = url.UserPassword(dsn.User.Username(), password)
	file := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(file, []byte(dsn.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	loud := []string{"--log-level", "debug", "--config-store", "file:" + file}
	n1, n2 := c.node("n1", loud...).up(), c.node("n2", loud...).up()
	all(t, 15*time.Second, n1, n2)
	heard := []*stream{eavesdrop(n1, "/v1/watch"), eavesdrop(n1, "/v1/events")}
	eventually(t, 5*time.Second, func() error { // members are healthy before n2 has reached the store
		_, err := n2.create("route/demo", `{"weight":10}`)
		return err
	})
	code, session := login(t, n1)
	s.add("used login code", code)
	s.add("session", session)
	s.mistakes(n1)
	stranger := newCluster(t)
	raw, err := os.ReadFile(stranger.cookie)
	if err != nil {
		t.Fatal(err)
	}
	s.add("stranger's cookie", strings.TrimSpace(string(raw)))
	guest := stranger.node("guest", "--log-level", "debug", "--cluster-join-endpoint", n1.url()).up()
	eventually(t, 10*time.Second, func() error { return tellsCookieMismatch(guest) })
	for _, n := range append(s.lockedOut(c, pg), n1, n2, guest) {
		s.node(n)
	}
	for _, h := range heard {
		s.look("the stream "+h.path, h.until(`"route/demo"`))
	}
	if code := n2.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.look("the log of n2 after its end", []byte(n2.Output()))
	if s.places < 100 {
		t.Errorf("only %d places were searched", s.places)
	}
	t.Logf("%d forms of secrets in none of %d places", len(s.secrets), s.places)
}

// lockedOut starts nodes whose login at the database fails, with the password in a
// connection string and in a file of its own, and waits until they say so.
func (s *sweep) lockedOut(c *cluster, pg *pgtest.Server) []*node {
	t := s.t
	t.Helper()
	inString, inFile := "wrong-pw-canary-a81", "wrong-pw-canary-b52"
	s.add("refused password of a connection string", inString)
	s.add("refused password of a file", inFile)
	database := pg.CreateDatabase(t)
	login := url.URL{Scheme: "postgres", User: url.UserPassword(pgtest.User, inString), Host: pg.Addr(), Path: database, RawQuery: "sslmode=disable"}
	dsn := filepath.Join(t.TempDir(), "dsn")
	put(t, dsn, []byte(login.String()), 0o600)
	password := filepath.Join(t.TempDir(), "password")
	put(t, password, []byte(inFile), 0o600)
	host, port, err := net.SplitHostPort(pg.Addr())
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "node.yaml")
	put(t, config, fmt.Appendf(nil, "config_store:\n  type: postgres\n  config: {host: %s, port: %s, user: %s, password_file: %s, db_name: %s, ssl_mode: disable}\n",
		host, port, pgtest.User, password, database), 0o600)
	nodes := []*node{
		c.node("locked1", "--log-level", "debug", "--config-store", "file:"+dsn).up(),
		c.node("locked2", "--log-level", "debug", "--config", config).up(),
	}
	for _, n := range nodes {
		eventually(t, 10*time.Second, func() error { return tellsProblem(n, muster.CodeStoreUnavailable, "password") })
	}
	return nodes
}

// stream is what an endless answer has said so far.
type stream struct {
	n    *node
	path string
	mu   sync.Mutex
	said bytes.Buffer
}

// eavesdrop opens an endless answer and reads it until the test ends.
func eavesdrop(n *node, path string) *stream {
	t := n.c.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %v %v", path, res, err)
	}
	s := &stream{n: n, path: path}
	go func() {
		defer func() { _ = res.Body.Close() }() // nothing is written
		_, _ = io.Copy(s, res.Body)             // ends with the test
	}()
	return s
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(p)
}

// until waits for a word and returns all that was said.
func (s *stream) until(word string) []byte {
	s.n.c.t.Helper()
	var said []byte
	eventually(s.n.c.t, 5*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if said = bytes.Clone(s.said.Bytes()); !bytes.Contains(said, []byte(word)) {
			return fmt.Errorf("%s of %s lacks %q:\n%s", s.path, s.n.name, word, said)
		}
		return nil
	})
	return said
}

// mistakes sends secrets where they do not belong, as people do.
func (s *sweep) mistakes(n *node) {
	s.t.Helper()
	wrong := "wrong-token-canary-51f7"
	s.add("refused token", wrong)
	for _, path := range []string{"/cluster/members", "/v1/config/route/demo", "/metrics"} {
		if res, body, err := n.as(wrong).request(http.MethodGet, path, ""); err != nil || res.StatusCode != 401 {
			s.t.Errorf("GET %s with a wrong token: %v %s", path, err, body)
		} else {
			s.look("the refusal of "+path, body)
		}
	}
	guess := "guessed-login-code-77aa0c31d2"
	s.add("guessed login code", guess)
	_, body, err := n.request(http.MethodPost, "/v1/session", `{"code":"`+guess+`"}`, "Content-Type", "application/json")
	if err != nil {
		s.t.Error(err)
	}
	s.look("the refusal of a login code", body)
	_, body, err = n.as("").request(http.MethodGet, "/cluster/members?token="+n.c.token, "")
	if err != nil {
		s.t.Error(err)
	}
	s.look("the refusal of a token in the query", body)
}

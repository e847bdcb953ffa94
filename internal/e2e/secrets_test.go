package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
			continue // does not end; the same things are in the answers beside it
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

	dsn, err := url.Parse(pgtest.New(t).Database(t))
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
	if _, err := n2.create("route/demo", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
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
	for _, n := range []*node{n1, n2, guest} {
		s.node(n)
	}
	if code := n2.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.look("the log of n2 after its end", []byte(n2.Output()))
	if s.places < 60 {
		t.Errorf("only %d places were searched", s.places)
	}
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

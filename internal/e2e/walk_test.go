package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// everyMethod is what the walk tries on each path.
func everyMethod() []string {
	return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
}

// describedPaths lists the paths of openapi.yaml and those of the router beside
// them, with x1 for each parameter.
func describedPaths(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"/", "/ui/", "/ui/app.js", "/nowhere", "/v1", "/cluster/v1/gossip"}
	for _, m := range regexp.MustCompile(`(?m)^  (/\S*):$`).FindAllStringSubmatch(string(text), -1) {
		paths = append(paths, regexp.MustCompile(`\{\w+\}`).ReplaceAllString(m[1], "x1"))
	}
	if len(paths) < 20 {
		t.Fatalf("only %d paths found in openapi.yaml", len(paths))
	}
	return paths
}

// peerPaths lists every path of node-to-node handlers that the sources mention.
func peerPaths(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`"(?:[A-Z]+ )?(/peer/[^"{]*)`).FindAllSubmatch(text, -1) {
			paths = append(paths, strings.TrimSuffix(string(m[1]), "/"))
		}
		return err
	})
	if err != nil || len(paths) < 5 {
		t.Fatalf("found %v, %v", paths, err)
	}
	return append(paths, "/peer", "/peer/v1")
}

// handMade signs a token by the published rule: HS256 under HKDF of the cookie.
func handMade(t *testing.T, cookieFile string, expires time.Time) string {
	t.Helper()
	raw, err := os.ReadFile(cookieFile)
	if err != nil {
		t.Fatal(err)
	}
	derive := func(info string, size int) []byte {
		key, err := hkdf.Key(sha256.New, bytes.TrimSpace(raw), []byte("muster/v1"), info, size)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	signed := part(fmt.Sprintf(`{"alg":"HS256","typ":"muster-token+jwt","kid":"%x"}`, derive("kid", 32)[:4])) + "." +
		part(fmt.Sprintf(`{"aud":["muster"],"sub":"eve","jti":"walk","role":"admin","iat":%d,"exp":%d}`, expires.Add(-time.Hour).Unix(), expires.Unix()))
	mac := hmac.New(sha256.New, derive("token", 32))
	_, _ = mac.Write([]byte(signed)) // a hash never fails
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// walker sends requests that end after the head of the answer.
type walker struct {
	t *testing.T
	n *node
}

func (w walker) status(method, path string, header ...string) int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.n.url()+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
		return 0
	}
	_ = res.Body.Close() // the head is enough
	return res.StatusCode
}

// open reports whether a path is for everybody: the documented public ones.
func open(method, path string) bool {
	public := []string{"/", "/ui/", "/ui/app.js", "/health", "/ready", "/version", "/cluster/status"}
	return (method == "GET" || method == "HEAD") && slices.Contains(public, path)
}

// ignoresCredentials reports whether a path does not look at credentials at all.
func ignoresCredentials(method, path string) bool {
	return open(method, path) && path != "/ready" && path != "/cluster/status" || path == "/cluster/v1/gossip" || method == "POST" && path == "/v1/session"
}

// TestRouteWalk tries every path and method of a running node without a credential
// and with ones that are no good.
func TestRouteWalk(t *testing.T) {
	t.Parallel()
	c, foreign := newCluster(t), newCluster(t)
	r := c.rotated("n1")
	n := r.up()
	all(t, 5*time.Second, n)
	w := walker{t, n}
	if got := w.status("GET", "/cluster/members", "Authorization", "Bearer "+handMade(t, c.cookie, time.Now().Add(time.Hour))); got != 200 {
		t.Fatalf("a token made by hand answers %d: then its refusal below means nothing", got)
	}
	old := c.token
	if err := r.accepts(old, true); err != nil {
		t.Fatalf("the token before the rotation: %v", err)
	}
	c.cookie = newCookie(t, filepath.Join(c.dir, "fresh"))
	r.exchange(c.cookie)
	if _, err := n.create("token-deny/walk", `{"sub":"denied"}`); err != nil {
		t.Fatal(err)
	}
	_, denied, _ := run(t, nil, "token", "create", "--role", "admin", "--subject", "denied", "--cluster-cookie-file", c.cookie)
	credentials := map[string]string{
		"":               "",
		"wrong":          "let-me-in",
		"old":            old,
		"other cookie":   token(t, foreign.cookie, "admin"),
		"expired":        handMade(t, c.cookie, time.Now().Add(-2*time.Minute)),
		"too long-lived": handMade(t, c.cookie, time.Now().Add(400*24*time.Hour)),
		"denied":         strings.TrimSpace(denied),
	}
	for _, path := range describedPaths(t) {
		for _, method := range everyMethod() {
			for name, credential := range credentials {
				var header []string
				if credential != "" {
					header = []string{"Authorization", "Bearer " + credential}
				}
				got := w.status(method, path, header...)
				allowed := open(method, path) && (name == "" || ignoresCredentials(method, path))
				if refused := got >= 400; refused == allowed {
					t.Errorf("%s %s with credential %q answered %d", method, path, name, got)
				}
			}
		}
	}
}

// TestForeignPagesAndNamesGetNowhere sends good tokens from bad places.
func TestForeignPagesAndNamesGetNowhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	all(t, 5*time.Second, n)
	w := walker{t, n}
	for _, path := range describedPaths(t) {
		for _, method := range everyMethod() {
			bearer := []string{"Authorization", "Bearer " + c.token}
			exempt := path == "/health" || path == "/ready" || path == "/cluster/v1/gossip"
			if got := w.status(method, path, append(bearer, "Host", "evil.example")...); !exempt && got != 421 {
				t.Errorf("%s %s under a foreign name answered %d, want 421", method, path, got)
			}
			if safe := method == "GET" || method == "HEAD" || method == "OPTIONS"; safe || path == "/cluster/v1/gossip" {
				continue
			}
			for _, site := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
				if got := w.status(method, path, append(bearer, site...)...); got != 403 && got != 404 {
					t.Errorf("%s %s from a foreign page (%v) answered %d, want 403", method, path, site, got)
				}
			}
		}
	}
	if got := w.status("GET", "/cluster/v1/gossip", "Origin", "https://evil.example"); got != 403 {
		t.Errorf("a browser at the link route: %d, want 403", got)
	}
}

// TestPeerHandlersAreNotPublic: an administrator does not reach them either.
func TestPeerHandlersAreNotPublic(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	all(t, 5*time.Second, n)
	w := walker{t, n}
	for _, path := range peerPaths(t) {
		for _, spelling := range []string{path, path + "/", "/" + path, "/ui/.." + path, "/cluster" + path, strings.Replace(path, "/peer", "/%70eer", 1)} {
			for _, method := range everyMethod() {
				if got := w.status(method, spelling, "Authorization", "Bearer "+c.token); got != 404 {
					t.Errorf("%s %s answered %d on the public port, want 404", method, spelling, got)
				}
			}
		}
	}
}

// TestRefusedBodyIsNotRead: the answer comes before the body, and the connection
// ends.
func TestRefusedBodyIsNotRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	for _, credential := range []string{"", "Authorization: Bearer wrong\r\n"} {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // the read below shows a dead one
		fmt.Fprintf(conn, "PUT /v1/config/route/x HTTP/1.1\r\nHost: localhost\r\n%sIf-None-Match: *\r\nContent-Length: 200000\r\n\r\n", credential)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusUnauthorized || !res.Close {
			t.Fatalf("a body from a stranger: %v, %v; want 401 at once and the end", res, err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("the connection stays open: %v", err)
		}
		_ = conn.Close()
	}
}

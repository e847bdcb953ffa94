package e2e_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// rotated is a node with a cookie file of its own, behind a tap that sees what
// other nodes send to it.
type rotated struct {
	*node
	file string
	wire *tap
}

func (c *cluster) rotated(name string, args ...string) *rotated {
	c.t.Helper()
	own := *c
	own.cookie = filepath.Join(c.dir, name+".cookie")
	n := own.node(name, args...)
	r := &rotated{node: n, file: own.cookie, wire: newTap(c.t, n.addr)}
	r.write(c.cookie)
	n.args = append(n.args, "--mgmt-advertise", "http://"+r.wire.addr())
	return r
}

// write puts the cookies of some files into the node's own, in one step.
func (r *rotated) write(files ...string) {
	r.c.t.Helper()
	var all []byte
	for _, f := range files {
		all = append(all, readFile(r.c.t, f)...)
	}
	next := r.file + ".next"
	if err := os.WriteFile(next, all, 0o600); err != nil {
		r.c.t.Fatal(err)
	}
	if err := os.Rename(next, r.file); err != nil {
		r.c.t.Fatal(err)
	}
}

// keys runs a command about cookies on the node's machine and returns what it says.
func (r *rotated) keys(want int, args ...string) string {
	r.c.t.Helper()
	code, said := r.tryKeys(args...)
	if code != want {
		r.c.t.Fatalf("muster keys %s at %s: exit %d, want %d: %s", strings.Join(args, " "), r.name, code, want, said)
	}
	return said
}

func (r *rotated) tryKeys(args ...string) (code int, said string) {
	r.c.t.Helper()
	args = append(append([]string{"keys"}, args...), "--addr", r.url(), "--cluster-cookie-file", r.file)
	code, out, stderr := run(r.c.t, nil, args...)
	return code, out + stderr
}

// exchange rotates the one node of a cluster to another cookie, with all three steps.
func (r *rotated) exchange(fresh string) {
	r.c.t.Helper()
	old, was := r.c.token, kidOf(r.c.t, r.file)
	r.c.token = token(r.c.t, fresh, "admin")
	r.keys(0, "rotate", "--add", fresh)
	r.soon("rotate", "--first", kidOf(r.c.t, fresh))
	r.keys(0, "rotate", "--drop", was, "--force") // tokens were shown
	eventually(r.c.t, 3*time.Second, func() error { return firstError(r.accepts(r.c.token, true), r.accepts(old, false)) })
}

// onlyLinks reports nil once that many members say that all their links are under
// one cookie.
func onlyLinks(n *node, kid string, members int) error {
	var list struct{ Nodes []muster.NodeKeys }
	if _, err := n.get("/v1/keys", &list); err != nil {
		return err
	}
	for _, k := range list.Nodes {
		if k.Error == "" {
			members--
		}
		if i := slices.IndexFunc(k.Links, func(l muster.LinkKey) bool { return l.KID != kid }); i >= 0 {
			return fmt.Errorf("%s has %+v", k.Name, k.Links[i])
		}
	}
	if members != 0 {
		return fmt.Errorf("%d members are missing in %+v", members, list.Nodes)
	}
	return nil
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// accepts reports nil once the node answers to a token as expected.
func (r *rotated) accepts(token string, want bool) error {
	res, _, err := r.client(token).request(http.MethodGet, "/cluster/members", "")
	if err != nil {
		return err
	}
	if got := res.StatusCode == http.StatusOK; got != want {
		return fmt.Errorf("%s answers %s", r.name, res.Status)
	}
	return nil
}

func eachAccepts(token string, want bool, nodes ...*rotated) error {
	for _, n := range nodes {
		if err := n.accepts(token, want); err != nil {
			return err
		}
	}
	return nil
}

func TestCookieRotatesUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.rotated("n1")
	n1.up()
	n2 := c.rotated("n2", "--cluster-join-endpoint", "http://"+n1.wire.addr())
	n2.up()
	n3 := c.rotated("n3", "--cluster-join-endpoint", "http://"+n1.wire.addr())
	n3.up()
	sleeper := c.rotated("sleeper", "--cluster-join-endpoint", "http://"+n1.wire.addr())
	sleeper.up()
	nodes := []*rotated{n1, n2, n3}
	all(t, 15*time.Second, n1.node, n2.node, n3.node, sleeper.node)
	if code := sleeper.terminate(); code != 0 {
		t.Fatalf("the sleeper ended with %d", code)
	}

	fresh := newCookie(t, filepath.Join(c.dir, "fresh"))
	oldToken, newToken := c.token, token(t, fresh, "admin")
	current := oldToken
	var mu sync.Mutex
	load := work(t, func() string {
		mu.Lock()
		defer mu.Unlock()
		return current
	}, nodes...)
	was, is := kidOf(t, c.cookie), kidOf(t, fresh)
	step := func(args ...string) {
		for _, n := range nodes {
			n.keys(0, append([]string{"rotate"}, args...)...)
		}
	}
	nodes[0].keys(3, "rotate", "--check-drop", was) // everybody dials with it

	step("--add", fresh)
	took := eventually(t, 3*time.Second, func() error { return eachAccepts(newToken, true, nodes...) })
	t.Logf("added everywhere after %s", took)
	step("--first", is)
	eventually(t, 5*time.Second, func() error { return logged("cookies changed", 2, nodes...) })
	mu.Lock()
	current = newToken
	mu.Unlock()
	for _, n := range nodes {
		n.c.token = newToken
	}
	watch := openWatch(t, n2, oldToken)
	nodes[1].keys(3, "rotate", "--check-drop", was) // our token needs it
	step("--drop", was, "--force")
	took = eventually(t, 2*time.Second, func() error { return eachAccepts(oldToken, false, nodes...) })
	t.Logf("dropped cookie refused everywhere after %s", took)
	watchEnds(t, watch, 2*time.Second)
	eventually(t, 2*time.Second, func() error { return onlyLinks(n1.node, is, 3) })
	nodes[2].keys(0, "status")
	load.goOn(t, 100)
	load.report(t)

	sleeper.start()
	took = eventually(t, 15*time.Second, func() error { return tellsCookieRetired(sleeper.node, kidOf(t, c.cookie)) })
	t.Logf("the sleeper knew after %s", took)
	for _, n := range nodes {
		for _, file := range []string{c.cookie, fresh} {
			n.wire.lacksSecret(t, file)
		}
	}
}

// logged reports nil once each node's log has a line that often.
func logged(line string, times int, nodes ...*rotated) error {
	for _, n := range nodes {
		if got := strings.Count(n.Output(), line); got < times {
			return fmt.Errorf("the log of %s has %q %d times", n.name, line, got)
		}
	}
	return nil
}

// kidOf returns the key id of a cookie file.
func kidOf(t *testing.T, file string) string {
	t.Helper()
	cookie, err := auth.ParseCookie(readFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return cookie.KID()
}

// openWatch opens an endless answer and returns a channel that is closed at its end.
func openWatch(t *testing.T, n *rotated, token string) <-chan struct{} {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/v1/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("watch: %s", res.Status)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, res.Body) // ends with the answer
		_ = res.Body.Close()
	}()
	return ended
}

func watchEnds(t *testing.T, ended <-chan struct{}, limit time.Duration) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(limit):
		t.Errorf("a watch under a dropped cookie goes on after %s", limit)
	}
}

// tellsCookieRetired reports nil once the node itself says, in all its places, that
// its cookie was dropped.
func tellsCookieRetired(n *node, kid string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Problems, func(p muster.Problem) bool { return p.Code == muster.CodeCookieRetired })
	if i < 0 || !strings.Contains(s.Problems[i].Text, kid) || !strings.Contains(s.Problems[i].Text, "dropped") {
		return fmt.Errorf("problems are %+v", s.Problems)
	}
	res, data, err := n.request(http.MethodGet, "/ready?verbose", "")
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(data, []byte(kid)) {
		return fmt.Errorf("/ready: %s %s", res.Status, data)
	}
	if !strings.Contains(n.Output(), string(muster.CodeCookieRetired)) {
		return fmt.Errorf("the log does not say %s", muster.CodeCookieRetired)
	}
	return nil
}

// lacksSecret fails the test if the cookie of a file crossed the wire in any form.
func (w *tap) lacksSecret(t *testing.T, file string) {
	t.Helper()
	secret := bytes.TrimSpace(readFile(t, file))
	body := bytes.TrimPrefix(secret, []byte("mck1_"))
	raw, err := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).DecodeString(string(body))
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen.Len() == 0 {
		t.Fatal("nothing was captured")
	}
	for _, form := range [][]byte{secret, body, raw[:32]} {
		for name, text := range map[string][]byte{
			"raw": form, "hex": []byte(hex.EncodeToString(form)),
			"base64": []byte(base64.RawStdEncoding.EncodeToString(form)), "base64url": []byte(base64.RawURLEncoding.EncodeToString(form)),
		} {
			if bytes.Contains(w.seen.Bytes(), text) {
				t.Errorf("the cookie of %s crossed the wire (%s)", filepath.Base(file), name)
			}
		}
	}
}

// TestBadCookieFileKeepsTheOldCookies: a mistake in the file is a problem that
// names it, and drops nothing.
func TestBadCookieFileKeepsTheOldCookies(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.rotated("n1")
	n.up()
	all(t, 10*time.Second, n.node)
	good := readFile(t, n.file)
	mistakes := map[muster.Code]func(){
		muster.CodeWeakCookie:     func() { put(t, n.file, []byte("short"), 0o600) },
		muster.CodeCookieReadable: func() { put(t, n.file, good, 0o644) },
		muster.CodeBadConfig: func() {
			if err := os.Remove(n.file); err != nil {
				t.Fatal(err)
			}
		},
	}
	for code, mistake := range mistakes {
		mistake()
		eventually(t, 3*time.Second, func() error { return hasProblem(n.node, code, true) })
		if err := n.accepts(c.token, true); err != nil {
			t.Errorf("with a cookie file that is %s: %v", code, err)
		}
		put(t, n.file, good, 0o600)
		n.Signal(t, syscall.SIGHUP)
		eventually(t, 3*time.Second, func() error { return hasProblem(n.node, code, false) })
	}
}

func put(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func hasProblem(n *node, code muster.Code, want bool) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	if got := slices.ContainsFunc(s.Problems, func(p muster.Problem) bool { return p.Code == code }); got != want {
		return fmt.Errorf("problems are %+v", s.Problems)
	}
	return nil
}

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestAnExpelledNodeIsToldAndExits: it prints who, when and why, says so at /ready
// first, exits with 4, and does so again when it is started again, until it is
// readmitted.
func TestAnExpelledNodeIsToldAndExits(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 15*time.Second, n1, n2, n3)
	env := []string{"MUSTER_ADDR=" + n2.url(), "MUSTER_TOKEN=" + c.token}
	if code, _, said := run(t, env, "node", "expel", "n3", "--reason", "laptop stolen"); code != 3 || !strings.Contains(said, "nothing was changed") {
		t.Errorf("without --yes: exit %d %s", code, said)
	}
	if code, _, said := run(t, env, "node", "expel", "n1", "--reason", "laptop stolen", "--yes"); code != 6 || !strings.Contains(said, "expel-home") {
		t.Errorf("the config home: exit %d %s", code, said)
	}
	if code, out, said := run(t, env, "node", "expel", "n3", "--reason", "laptop stolen", "--yes"); code != 0 || !strings.Contains(out, "n3 (") {
		t.Fatalf("expel: exit %d %s %s", code, out, said)
	}
	took := eventually(t, 5*time.Second, func() error {
		res, data, err := n3.request("GET", "/ready", "")
		if err != nil {
			return err
		}
		if res.StatusCode != 503 || !strings.Contains(string(data), `"code":"expelled"`) || !strings.Contains(string(data), "laptop stolen") {
			return fmt.Errorf("%d %s", res.StatusCode, data)
		}
		return nil
	})
	wantLastWords(t, n3)
	t.Logf("told after %s", took)
	n3.start()
	wantLastWords(t, n3)
	for _, n := range []*node{n1, n2} {
		eventually(t, 5*time.Second, func() error { return n.healthy(2) })
		if m, err := n.member("n3"); err != nil || m.State != muster.StateExpelled {
			t.Errorf("%s holds it %s, %v", n.name, m.State, err)
		}
	}
	if _, out, _ := run(t, env, "node", "list", "--expelled"); !strings.Contains(out, "laptop stolen") || strings.Contains(out, "n1") {
		t.Errorf("the list of the expelled says\n%s", out)
	}
	if code, _, said := run(t, env, "node", "readmit", "n3", "--reason", "found"); code != 0 {
		t.Fatalf("readmit: exit %d %s", code, said)
	}
	n3.up()
	all(t, 20*time.Second, n1, n2, n3)
}

// wantLastWords waits for the end of an expelled node.
func wantLastWords(t *testing.T, n *node) {
	t.Helper()
	if code := n.exit(20 * time.Second); code != 4 {
		t.Errorf("%s exits with %d, want 4", n.name, code)
	}
	out := n.Output()
	for _, want := range []string{"error: ", "was expelled by ", "laptop stolen", "fix: ", "muster node readmit", "muster explain expelled"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s does not say %q at its end:\n%s", n.name, want, out)
		}
	}
}

// TestExpelRotatesTheCookie where all members read one file: the expelled machine
// knows no cookie that opens anything, and nobody else is cut off.
func TestExpelRotatesTheCookie(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	stolen := filepath.Join(c.dir, "stolen")
	put(t, stolen, readFile(t, c.cookie), 0o600)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 15*time.Second, n1, n2, n3)
	old := kidOf(t, c.cookie)
	code, _, said := run(t, []string{"MUSTER_ADDR=" + n1.url()}, "node", "expel", "n3", "--reason", "laptop stolen", "--yes", "--rotate", "--cluster-cookie-file", c.cookie)
	if code != 0 || !strings.Contains(said, "the cookie is exchanged") {
		t.Fatalf("expel --rotate: exit %d %s", code, said)
	}
	if n3.exit(20*time.Second) != 4 {
		t.Error("the expelled node goes on")
	}
	if now := kidOf(t, c.cookie); now == old || strings.Count(string(readFile(t, c.cookie)), "\n") != 1 {
		t.Errorf("the cookie file begins with %s after %s", now, old)
	}
	if _, err := os.Stat(c.cookie + ".new"); err == nil {
		t.Error("a copy of the new cookie is left")
	}
	c.token = token(t, c.cookie, "admin")
	for _, n := range []*node{n1, n2} {
		if err := n.healthy(2); err != nil {
			t.Error(err)
		}
		if err := hasProblem(n, muster.CodeExpelledKnowsCookie, false); err != nil {
			t.Error(err)
		}
	}
	thief := c.node("thief", "--cluster-join-endpoint", n2.url())
	c.cookie = stolen
	thief.up()
	eventually(t, 10*time.Second, func() error {
		_, data, err := thief.request("GET", "/ready", "", "Authorization", "Bearer "+token(t, stolen, "admin"))
		if err == nil && !strings.Contains(string(data), "was dropped by") {
			err = fmt.Errorf("the thief says %s", data)
		}
		return err
	})
}

// TestExpelRotatesNoFurtherThanTheMembersFollow: a member reads a cookie file of its
// own. The exchange stops before anybody is cut off, and says so.
func TestExpelRotatesNoFurtherThanTheMembersFollow(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	shared := c.cookie
	c.cookie = filepath.Join(c.dir, "elsewhere")
	put(t, c.cookie, readFile(t, shared), 0o600)
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 15*time.Second, n1, n2, n3)
	code, _, said := run(t, []string{"MUSTER_ADDR=" + n1.url()}, "node", "expel", "n3", "--reason", "laptop stolen", "--yes", "--rotate", "--cluster-cookie-file", shared)
	for _, want := range []string{"n2 does not accept", "the exchange of the cookie is not done", shared + ".new"} {
		if code != 3 || !strings.Contains(said, want) {
			t.Errorf("exit %d, and %q is missing in %s", code, want, said)
		}
	}
	for _, n := range []*node{n1, n2} {
		if err := n.healthy(2); err != nil {
			t.Error(err)
		}
		if err := hasProblem(n, muster.CodeExpelledKnowsCookie, true); err != nil {
			t.Error(err)
		}
	}
}

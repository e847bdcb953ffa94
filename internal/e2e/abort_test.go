package e2e_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// soon repeats a command about cookies, which asks nodes that read their files
// within a second, until it exits with 0.
func (r *rotated) soon(args ...string) {
	r.c.t.Helper()
	eventually(r.c.t, 5*time.Second, func() error {
		if code, said := r.tryKeys(args...); code != 0 {
			return fmt.Errorf("muster keys %s at %s: exit %d: %s", strings.Join(args, " "), r.name, code, said)
		}
		return nil
	})
}

// TestKeysAbortGoesBack takes a rotation to its last step but one, and back, under
// writes; nobody is lost by it.
func TestKeysAbortGoesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.rotated("n1")
	n1.up()
	n2 := c.rotated("n2", "--cluster-join-endpoint", "http://"+n1.wire.addr())
	n2.up()
	n3 := c.rotated("sleeper", "--cluster-join-endpoint", "http://"+n1.wire.addr())
	n3.up()
	nodes := []*rotated{n1, n2}
	all(t, 15*time.Second, n1.node, n2.node, n3.node)
	n3.kill()
	eventually(t, 5*time.Second, func() error { return sees("dead", "sleeper", n1.node, n2.node) })
	fresh := newCookie(t, filepath.Join(c.dir, "fresh"))
	was, is, newToken := kidOf(t, c.cookie), kidOf(t, fresh), token(t, fresh, "admin")

	n1.keys(0, "rotate", "--add", fresh)
	dropIsRefused(t, n1, was)

	load := work(t, func() string { return c.token }, nodes...)
	n2.keys(0, "rotate", "--add", fresh)
	for _, n := range nodes {
		n.soon("rotate", "--first", is)
	}
	eventually(t, 5*time.Second, func() error { return eachAccepts(newToken, true, nodes...) })

	for _, n := range nodes {
		n.soon("abort", is)
	}
	for _, n := range nodes {
		n.soon("abort", is, "--force") // newToken counts as in use
	}
	took := eventually(t, 2*time.Second, func() error { return eachAccepts(newToken, false, nodes...) })
	t.Logf("the given up cookie is refused everywhere after %s", took)
	eventually(t, 2*time.Second, func() error { return onlyLinks(n1.node, was, 2) })
	for _, n := range nodes {
		if said := n.keys(0, "abort", is); !strings.Contains(said, "nothing to undo") {
			t.Errorf("a third time at %s: %s", n.name, said)
		}
		if got := readFile(t, n.file); !bytes.Equal(got, readFile(t, c.cookie)) {
			t.Errorf("the cookie file of %s is not what it was", n.name)
		}
	}
	load.goOn(t, 100)
	load.report(t)

	n3.start() // it slept through all of it and has lost nothing
	all(t, 15*time.Second, n1.node, n2.node, n3.node)
}

// dropIsRefused asks for the last step while a live member has not taken the first
// one, and a dead one cannot say.
func dropIsRefused(t *testing.T, n *rotated, kid string) {
	t.Helper()
	before := readFile(t, n.file)
	said := n.keys(3, "rotate", "--drop", kid)
	for _, want := range []string{"n2 accepts no other cookie than " + kid, "sleeper cannot say: ", "it needs the new cookie file before it comes back"} {
		if !strings.Contains(said, want) {
			t.Errorf("the refusal does not say %q:\n%s", want, said)
		}
	}
	if !bytes.Equal(readFile(t, n.file), before) {
		t.Error("the refused step changed the file")
	}
}

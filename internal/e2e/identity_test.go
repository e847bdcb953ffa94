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

// pair starts two nodes as one cluster.
func pair(t *testing.T, c *cluster, first, second string) (a, b *node) {
	t.Helper()
	a = c.node(first).up()
	b = c.node(second, "--cluster-join-endpoint", a.url()).up()
	all(t, 10*time.Second, a, b)
	return a, b
}

// strangers fails the test if one of the nodes lists a member of that name.
func strangers(t *testing.T, name string, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		if m, err := n.member(name); err == nil {
			t.Errorf("%s lists %+v of the other cluster", n.name, m)
		}
	}
}

// TestClustersOfOneCookieThatMeetStayTwo: a member of the one is told to join the
// other, and both raise the alarm.
func TestClustersOfOneCookieThatMeetStayTwo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a1, a2 := pair(t, c, "a1", "a2")
	b1, b2 := pair(t, c, "b1", "b2")
	a, b := oneID(t, a1, a2), oneID(t, b1, b2)
	a2.Kill()
	a2.args = append(a2.args, "--cluster-join-endpoint", b1.url())
	a2.up()
	for _, n := range []*node{a2, b1} {
		eventually(t, 10*time.Second, func() error {
			return shows(n, muster.CodeClusterMismatch, string(a), string(b), "same cookie")
		})
		if !strings.Contains(n.Output(), "cluster alarm") {
			t.Errorf("%s raises no alarm", n.name)
		}
	}
	eventually(t, 10*time.Second, func() error { return firstError(members(a2, 2), members(b1, 2), members(a1, 2), members(b2, 2)) })
	if oneID(t, a1, a2) != a || oneID(t, b1, b2) != b {
		t.Error("a node has changed its cluster")
	}
	strangers(t, "b1", a1, a2)
	strangers(t, "b2", a1, a2)
	strangers(t, "a1", b1, b2)
	strangers(t, "a2", b1, b2)
}

// members reports nil if the node sees that many members, all healthy. Its verdict
// may name other problems.
func members(n *node, size int) error {
	s, err := n.status()
	if err == nil && (s.Members != size || s.HealthyMembers != size) {
		err = fmt.Errorf("%s sees %d members, %d healthy: %s", n.name, s.Members, s.HealthyMembers, s.Summary)
	}
	return err
}

// TestClustersOfTwoCookiesThatMeetStayTwo: the one that calls is told both key ids
// and counts the refusal; nobody is alarmed, for it could be a rotated cookie.
func TestClustersOfTwoCookiesThatMeetStayTwo(t *testing.T) {
	t.Parallel()
	a1, a2 := pair(t, newCluster(t), "a1", "a2")
	b1, b2 := pair(t, newCluster(t), "b1", "b2")
	a2.Kill()
	a2.args = append(a2.args, "--cluster-join-endpoint", b1.url())
	a2.up()
	eventually(t, 10*time.Second, func() error {
		_, text, err := a2.request("GET", "/metrics", "")
		if err == nil && !strings.Contains(string(text), `muster_join_attempts_total{code="cookie-mismatch"}`) {
			err = fmt.Errorf("no refused attempt is counted")
		}
		return err
	})
	eventually(t, 10*time.Second, func() error {
		if !strings.Contains(a2.Output(), "cookie rotated, or another cluster") {
			return fmt.Errorf("the log of %s does not say what it may be", a2.name)
		}
		return firstError(members(a1, 2), members(a2, 2), members(b1, 2), members(b2, 2))
	})
	for _, n := range []*node{a1, a2, b1, b2} {
		if strings.Contains(n.Output(), "cluster alarm") {
			t.Errorf("%s raises an alarm", n.name)
		}
	}
	strangers(t, "b1", a1, a2)
	strangers(t, "a2", b1, b2)
}

// TestAddressThatAnotherClusterTookOver: a member remembers an address where a
// member of another cluster answers by now.
func TestAddressThatAnotherClusterTookOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a1, a2 := pair(t, c, "a1", "a2")
	a := oneID(t, a1, a2)
	eventually(t, 15*time.Second, func() error { return remembers(a1, a2) })
	a1.Kill()
	a2.Kill()
	taker := c.node("b1")
	taker.addr = a2.addr
	taker.up()
	all(t, 10*time.Second, taker)
	a1.up() // has nothing but its memory to go by
	for _, n := range []*node{a1, taker} {
		eventually(t, 10*time.Second, func() error { return shows(n, muster.CodeClusterMismatch, string(a)) })
	}
	strangers(t, "b1", a1)
	strangers(t, "a1", taker)
	if oneID(t, a1) != a || oneID(t, taker) == a {
		t.Error("a node has changed its cluster")
	}
}

// remembers reports nil once a node has written down the address of another.
func remembers(n, other *node) error {
	data, err := os.ReadFile(filepath.Join(n.c.dir, n.name, "node.json"))
	if err == nil && !strings.Contains(string(data), other.url()) {
		err = fmt.Errorf("%s has not written down %s", n.name, other.url())
	}
	return err
}

// TestNameOfALiveMemberIsRefusedUntilItIsGone: the second of a name is told who has
// it, disturbs nobody, and gets the name when the holder is dead.
func TestNameOfALiveMemberIsRefusedUntilItIsGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1, n2 := pair(t, c, "n1", "n2")
	holder := n2.mustStatus().NodeID
	second := c.node("second", "--cluster-node-name", "n2", "--cluster-join-endpoint", n1.url()).up()
	eventually(t, 10*time.Second, func() error {
		return shows(second, muster.CodeNameInUse, `"n2"`, holder.Short(), n2.url())
	})
	if err := firstError(n1.healthy(2), n2.healthy(2)); err != nil {
		t.Errorf("the cluster was disturbed: %v", err)
	}
	n2.Kill()
	took := eventually(t, 10*time.Second, func() error {
		s, err := second.status()
		if err == nil && s.State != muster.NodeReady {
			err = fmt.Errorf("%s: %+v", s.State, s.Problems)
		}
		return err
	})
	t.Logf("the name passes to the new node %s after the holder was killed", took)
	eventually(t, 5*time.Second, func() error {
		if !strings.Contains(n1.Output(), "name taken over") {
			return fmt.Errorf("n1 does not say that the name was taken over")
		}
		return nil
	})
	n2.start() // the former holder comes back and finds the name taken
	eventually(t, 10*time.Second, func() error {
		return shows(n2, muster.CodeNameInUse, `"n2"`, second.mustStatus().NodeID.Short())
	})
}

// TestCopiedDataDirectoryIsFoundOutByBoth: a copy of a member, started beside it.
func TestCopiedDataDirectoryIsFoundOutByBoth(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1, n2 := pair(t, c, "n1", "n2")
	eventually(t, 15*time.Second, func() error { return remembers(n2, n1) })
	dir := filepath.Join(c.dir, "copy")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(c.dir, "n2"))); err != nil {
		t.Fatal(err)
	}
	clone := c.node("copy")
	clone.args = []string{"--cluster-node-name", "n2"}
	clone.up()
	for _, n := range []*node{n2, clone} {
		eventually(t, 10*time.Second, func() error {
			return shows(n, muster.CodeClone, n2.mustStatus().NodeID.Short())
		})
		if !strings.Contains(n.Output(), "cluster alarm") {
			t.Errorf("%s raises no alarm", n.addr)
		}
		if alarms := strings.Count(n.Output(), "cluster alarm"); alarms > 3 {
			t.Errorf("%s raises %d alarms about one thing", n.addr, alarms)
		}
	}
	if err := firstError(members(n1, 2), members(n2, 2)); err != nil {
		t.Errorf("the cluster was disturbed: %v", err)
	}
	if m, err := n1.member("n2"); err != nil || m.Endpoint != n2.url() {
		t.Errorf("n1 has n2 at %s (%v), want %s", m.Endpoint, err, n2.url())
	}
}

// TestWholeClusterMovesToNewAddresses: all nodes come back elsewhere at once; a
// list of where they are now is all they are given.
func TestWholeClusterMovesToNewAddresses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3")
	startAll(nodes...)
	all(t, 10*time.Second, nodes...)
	id := oneID(t, nodes...)
	for _, n := range nodes {
		n.Kill()
		n.addr = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	}
	for _, n := range nodes {
		n.args = common(nodes...)
		n.start()
	}
	began := time.Now()
	all(t, 10*time.Second, nodes...)
	t.Logf("one cluster at new addresses after %s", time.Since(began).Round(time.Millisecond))
	if got := oneID(t, nodes...); got != id {
		t.Errorf("cluster %s, was %s", got, id)
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if m, err := n.member(other.name); err != nil || m.Endpoint != other.url() {
				t.Errorf("%s has %s at %s (%v), want %s", n.name, other.name, m.Endpoint, err, other.url())
			}
		}
	}
}

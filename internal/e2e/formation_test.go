package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// alike describes nodes that are started with one and the same command, but for
// name and address: all of them are listed.
func alike(c *cluster, names ...string) []*node {
	var nodes []*node
	for _, name := range names {
		nodes = append(nodes, c.node(name))
	}
	same := common(nodes...)
	for _, n := range nodes {
		n.args = same
	}
	return nodes
}

// common is what nodes that expect three and are listed are started with.
func common(nodes ...*node) []string {
	var list []string
	for _, n := range nodes {
		list = append(list, n.addr)
	}
	return []string{"--bootstrap-expect", "3", "--discovery", "static://" + strings.Join(list, ",")}
}

func startAll(nodes ...*node) {
	for _, n := range nodes {
		n.start()
	}
}

// oneID fails the test unless all nodes are in one cluster, and returns its id.
func oneID(t *testing.T, nodes ...*node) muster.ClusterID {
	t.Helper()
	id := nodes[0].mustStatus().ClusterID
	for _, n := range nodes {
		if got := n.mustStatus().ClusterID; got != id || id == "" {
			t.Fatalf("%s is in cluster %q, %s in %q", n.name, got, nodes[0].name, id)
		}
	}
	return id
}

// shows reports nil once the node has a problem with that code and those words.
func shows(n *node, code muster.Code, words ...string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	for _, p := range s.Problems {
		lacks := slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(p.Text, word) })
		if p.Code == code && !lacks {
			return nil
		}
	}
	return fmt.Errorf("%s shows %+v, want %s with %q", n.name, s.Problems, code, words)
}

// TestPortAnswersBeforeTheClusterForms: a node says what it waits for from its
// first moment on.
func TestPortAnswersBeforeTheClusterForms(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3")
	nodes[0].start()
	took := eventually(t, 5*time.Second, func() error { _, err := nodes[0].get("/health", nil); return err })
	t.Logf("/health answers %s after the start of the process", took)
	nodes[1].start()
	for _, n := range nodes[:2] {
		eventually(t, 5*time.Second, func() error {
			res, body, err := n.request(http.MethodGet, "/ready?verbose", "")
			if err != nil {
				return err
			}
			waits := strings.Contains(string(body), string(muster.CodeWaitingForPeers)) && strings.Contains(string(body), "2/3")
			if res.StatusCode != http.StatusServiceUnavailable || !waits {
				return fmt.Errorf("/ready of %s: %s %s", n.name, res.Status, body)
			}
			return nil
		})
	}
	nodes[2].start()
	t.Logf("one cluster %s after the third start", eventually(t, 10*time.Second, func() error {
		return firstError(nodes[0].healthy(3), nodes[1].healthy(3), nodes[2].healthy(3))
	}))
	oneID(t, nodes...)
}

func TestExpectMismatchIsShownOnAllThree(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3")
	for i, n := range nodes { // a list of three would refuse the 1 at start
		expect := []string{"3", "3", "1"}[i]
		n.args = []string{"--bootstrap-expect", expect, "--cluster-join-endpoint", nodes[(i+1)%3].url(), "--cluster-join-endpoint", nodes[(i+2)%3].url()}
	}
	startAll(nodes...)
	for _, n := range nodes {
		eventually(t, 10*time.Second, func() error {
			return shows(n, muster.CodeExpectMismatch, "n3 ", "expects 3", "expects 1")
		})
		if got := n.mustStatus().ClusterID; got != "" {
			t.Errorf("%s formed %s", n.name, got)
		}
	}
}

// TestUnreachableJoinerIsNamedAndDisturbsNobody: the address that it advertises is
// one where nobody listens.
func TestUnreachableJoinerIsNamedAndDisturbsNobody(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	nowhere := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	lost := c.node("lost", "--mgmt-advertise", nowhere, "--cluster-join-endpoint", n1.url()).up()
	eventually(t, 10*time.Second, func() error {
		return shows(lost, muster.CodeEndpointUnreachable, nowhere, "refused")
	})
	deadline := time.Now().Add(3 * time.Second)
	eventually(t, 5*time.Second, func() error {
		if err := firstError(n1.healthy(2), n2.healthy(2)); err != nil {
			t.Fatalf("the cluster was disturbed: %v", err)
		}
		return stillBefore(deadline)
	})
	if _, err := n1.member("lost"); err == nil {
		t.Error("the unreachable node is listed as a member")
	}
}

// TestSameParametersForTheFourthNodeAndForRestarts is the life of a cluster whose
// nodes are all started in one way: three, then a fourth, then all again.
func TestSameParametersForTheFourthNodeAndForRestarts(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3", "n4")
	startAll(nodes[:3]...)
	all(t, 10*time.Second, nodes[:3]...)
	id := oneID(t, nodes[:3]...)
	nodes[3].start()
	all(t, 10*time.Second, nodes...)
	if got := oneID(t, nodes...); got != id {
		t.Fatalf("cluster %s after the fourth node, was %s", got, id)
	}
	for _, end := range []func(*node){(*node).powerCut, (*node).bye} {
		for _, n := range nodes {
			end(n)
		}
		startAll(nodes...)
		began := time.Now()
		all(t, 10*time.Second, nodes...)
		t.Logf("all four back %s after the restart of all", time.Since(began).Round(time.Millisecond))
		if got := oneID(t, nodes...); got != id {
			t.Fatalf("cluster %s after a restart of all, was %s", got, id)
		}
	}
}

func (n *node) powerCut() { n.Kill() }

// bye ends the node with SIGTERM.
func (n *node) bye() {
	n.c.t.Helper()
	if code := n.terminate(); code != 0 {
		n.c.t.Errorf("%s: exit %d after SIGTERM", n.name, code)
	}
}

func TestFiveNodesAtOnceAreOneCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3", "n4", "n5")
	startAll(nodes...)
	began := time.Now()
	all(t, 15*time.Second, nodes...)
	t.Logf("five nodes are one cluster after %s", time.Since(began).Round(time.Millisecond))
	oneID(t, nodes...)
}

// TestNodeThatLeftComesBackWithTheSameCommand: leaving for good takes it off the
// member list; starting it again makes it a member again.
func TestNodeThatLeftComesBackWithTheSameCommand(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3")
	startAll(nodes...)
	all(t, 10*time.Second, nodes...)
	id := oneID(t, nodes...)
	var leaver *node
	for _, n := range nodes {
		if strings.Contains(n.Output(), "cluster bootstrap successful") {
			continue // it keeps the configuration of the others
		}
		if code, _, stderr := run(t, nil, "leave", "--addr", n.url(), "--cluster-cookie-file", c.cookie); code != 0 {
			t.Fatalf("leave: exit %d: %s", code, stderr)
		}
		leaver = n
		break
	}
	leaver.exit(10 * time.Second)
	var rest []*node
	for _, n := range nodes {
		if n != leaver {
			rest = append(rest, n)
		}
	}
	eventually(t, 5*time.Second, func() error {
		if s := rest[0].mustStatus(); s.ClusterSize != 2 {
			return fmt.Errorf("cluster_size %d after one has left, want 2", s.ClusterSize)
		}
		return nil
	})
	leaver.start()
	all(t, 10*time.Second, nodes...)
	if got := oneID(t, nodes...); got != id {
		t.Errorf("cluster %s, was %s", got, id)
	}
}

// TestObserverStartedFirstNeverForms: it waits for voters, joins them, and is never
// counted among those that form.
func TestObserverStartedFirstNeverForms(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3", "watcher")
	watcher := nodes[3]
	watcher.args = append(slices.Clone(watcher.args), "--cluster-role", "observer")
	watcher.up()
	startAll(nodes[:2]...)
	for _, n := range nodes[:2] {
		eventually(t, 10*time.Second, func() error {
			_, body, err := n.request(http.MethodGet, "/ready?verbose", "")
			if err == nil && !strings.Contains(string(body), "2/3") {
				err = fmt.Errorf("%s: %s", n.name, body)
			}
			return err
		})
	}
	nodes[2].start()
	all(t, 15*time.Second, nodes...)
	oneID(t, nodes...)
	if m, err := nodes[0].member("watcher"); err != nil || m.Role != muster.RoleObserver {
		t.Errorf("the watcher is listed as %+v (%v), want an observer", m, err)
	}
}

// TestFormerIsKilledAndReplaced: the node that formed the cluster is gone with its
// disk; a new one under its name takes its place with the same command.
func TestFormerIsKilledAndReplaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := alike(c, "n1", "n2", "n3")
	startAll(nodes...)
	all(t, 10*time.Second, nodes...)
	id := oneID(t, nodes...)
	i := slices.IndexFunc(nodes, func(n *node) bool { return strings.Contains(n.Output(), "cluster bootstrap successful") })
	if i < 0 {
		t.Fatal("nobody says that it formed the cluster")
	}
	former := nodes[i]
	rest := slices.Delete(slices.Clone(nodes), i, i+1)
	old := former.mustStatus().NodeID
	former.Kill()
	if err := os.RemoveAll(filepath.Join(c.dir, former.name)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error { return sees(muster.StateDead, former.name, rest...) })
	former.start()
	eventually(t, 10*time.Second, func() error {
		for _, n := range nodes {
			if s, err := n.status(); err != nil || s.HealthyMembers != 3 || s.ClusterID != id {
				return fmt.Errorf("%s: %+v %v", n.name, s.Summary, err)
			}
		}
		return nil
	})
	if got := former.mustStatus().NodeID; got == old {
		t.Errorf("the new node has the old id %s", got)
	}
	for _, n := range rest {
		eventually(t, 5*time.Second, func() error {
			if !strings.Contains(n.Output(), "name taken over") {
				return fmt.Errorf("%s does not say that the name was taken over", n.name)
			}
			return nil
		})
	}
}

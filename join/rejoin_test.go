package join_test

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/store"
)

// grow starts nodes one after the other, each joining through the one before.
func grow(w *world, size int) []*node {
	nodes := []*node{w.node("n1", nil).start()}
	for i := 2; i <= size; i++ {
		before := fmt.Sprintf("n%d", i-1)
		nodes = append(nodes, w.node(fmt.Sprintf("n%d", i), func(c *join.Config) { c.JoinEndpoints = endpoints(before) }).start())
		time.Sleep(time.Second)
	}
	time.Sleep(10 * time.Second)
	return nodes
}

// halve restarts four members as two halves that cannot reach each other, for so
// long that each half has company and no memory of the other but what is on disk.
func halve(t *testing.T, w *world, edit func(*join.Config)) (nodes []*node, id muster.ClusterID) {
	t.Helper()
	nodes = grow(w, 4)
	id = one(t, nodes...)
	for _, n := range nodes {
		n.stop()
		n.cfg.JoinEndpoints = nil
		if edit != nil {
			edit(&n.cfg)
		}
	}
	w.part(true, nodes[:2], nodes[2:])
	for _, n := range nodes {
		n.start()
	}
	time.Sleep(20 * time.Minute)
	for _, half := range [][]*node{nodes[:2], nodes[2:]} {
		if got := one(t, half...); got != id {
			t.Fatalf("the half of %s is in cluster %s, want %s", half[0].name, got, id)
		}
	}
	return nodes, id
}

func TestHalvesThatLostEachOtherMergeThroughLastKnownMembers(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		nodes, id := halve(t, w, nil)
		w.part(false, nodes[:2], nodes[2:])
		took := until(t, 45*time.Second, func() bool { return settled(nodes) })
		t.Logf("one cluster again after %v", took)
		if got := one(t, nodes...); got != id {
			t.Errorf("cluster %s, want %s", got, id)
		}
	})
}

// notice is what discovery finds, which a test changes while nodes read it.
type notice struct{ found atomic.Pointer[[]join.Found] }

func (n *notice) write(found ...join.Found) { n.found.Store(&found) }

func (n *notice) read() []join.Found {
	if found := n.found.Load(); found != nil {
		return *found
	}
	return nil
}

func TestHalvesThatForgotEachOtherMergeThroughDiscovery(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		var shown notice
		nodes, id := halve(t, w, func(c *join.Config) { c.Discovered = shown.read })
		for i, n := range nodes { // each with its own half as peers, and nothing else
			n.stop()
			own := nodes[i/2*2 : i/2*2+2]
			peers := slices.DeleteFunc(n.known(), func(m store.Member) bool { return m.ID != own[0].id() && m.ID != own[1].id() })
			if err := n.state.SetPeers(peers); err != nil {
				t.Fatal(err)
			}
		}
		w.part(false, nodes[:2], nodes[2:])
		for _, n := range nodes {
			n.start()
		}
		time.Sleep(10 * time.Minute)
		if settled(nodes) {
			t.Fatal("the halves met although nothing names the other one")
		}
		shown.write(join.Found{Endpoint: at("n3"), Source: "dns"})
		took := until(t, 5*time.Second, func() bool { return settled(nodes) })
		t.Logf("one cluster again %v after discovery named a node of the other half", took)
		if got := one(t, nodes...); got != id {
			t.Errorf("cluster %s, want %s", got, id)
		}
	})
}

// A healthy cluster has nobody to call, however many ways there are to name its
// members.
func TestHealthyClusterCallsNobody(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		var nodes []*node
		for _, name := range names(5) {
			nodes = append(nodes, w.node(name, func(c *join.Config) {
				c.Expect, c.JoinEndpoints = 3, endpoints(names(5)...)
				c.Discovered = func() (found []join.Found) {
					for _, e := range endpoints(names(5)...) {
						found = append(found, join.Found{Endpoint: e, Source: "dns"})
					}
					return found
				}
			}).start())
		}
		time.Sleep(time.Minute)
		one(t, nodes...)
		before := w.total()
		time.Sleep(10 * time.Minute)
		if calls := w.total() - before; calls != 0 {
			t.Errorf("%d calls in ten minutes, want none: %v", calls, w.calls)
		}
		nodes[4].stop()
		time.Sleep(10 * time.Minute)
		if calls := w.total() - before; calls > 4*33 {
			t.Errorf("%d calls at one dead member by four in ten minutes, want at most 33 each", calls)
		}
		nodes[4].start()
		time.Sleep(5 * time.Second)
		one(t, nodes...)
	})
}

func TestOneGoodEndpointAmongAHundredDeadOnes(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("good", nil).start()
		time.Sleep(time.Second)
		b := w.node("n2", func(c *join.Config) {
			for i := range 100 {
				c.JoinEndpoints = append(c.JoinEndpoints, at(fmt.Sprintf("dead%d", i)))
			}
			c.JoinEndpoints = append(c.JoinEndpoints, at("good"))
		})
		for _, e := range b.cfg.JoinEndpoints[:100] {
			w.setCut("n2", e, true) // a dial there hangs
		}
		b.start()
		took := until(t, 5*time.Second, func() bool { return settled([]*node{a, b}) })
		t.Logf("joined after %v", took)
		one(t, a, b)
	})
}

// The seed of the cluster is gone for good; the others restart.
func TestMembersFindEachOtherWithoutTheirSeed(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		nodes := grow(w, 4)
		id := one(t, nodes...)
		for _, n := range nodes {
			n.stop()
			n.cfg.JoinEndpoints = endpoints("n1")
		}
		time.Sleep(time.Hour)
		for _, n := range nodes[1:] {
			n.start()
		}
		took := until(t, 10*time.Second, func() bool { return settled(nodes[1:]) })
		t.Logf("found each other after %v", took)
		if got := one(t, nodes[1:]...); got != id {
			t.Errorf("cluster %s, want %s", got, id)
		}
	})
}

// Addresses come and go, as those of containers do. What nobody names any more is
// not called, and does not crowd out what is there.
func TestAddressesThatDiscoveryDropsAreForgotten(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		var shown notice
		nodes := grow(w, 2)
		nodes[1].stop()
		nodes[1].cfg.Discovered = shown.read
		nodes[1].start()
		for batch := range 30 { // 600 addresses, 20 at a time
			var found []join.Found
			for i := range 20 {
				found = append(found, join.Found{Endpoint: at(fmt.Sprintf("gone%d-%d", batch, i)), Source: "dns"})
			}
			shown.write(found...)
			time.Sleep(3 * time.Minute)
		}
		if got := len(nodes[1].seeker.Status().Endpoints); got > 120 {
			t.Errorf("%d endpoints are kept, want those of the last minutes", got)
		}
		shown.write(join.Found{Endpoint: at("fresh"), Source: "dns"})
		until(t, 2*time.Second, func() bool { return len(w.callsTo("n2", at("fresh"))) > 0 })
		shown.write()
		time.Sleep(15 * time.Minute)
		calls := w.total()
		time.Sleep(10 * time.Minute)
		if more := w.total() - calls; more != 0 {
			t.Errorf("%d calls in ten minutes at addresses that nobody names any more", more)
		}
		one(t, nodes...)
	})
}

// A member that said good-bye is looked for by one that is alone, and left alone
// by one in company.
func TestMembersThatLeftAreCalledByTheLonelyOnly(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		nodes := grow(w, 3)
		id := one(t, nodes...)
		for _, n := range nodes {
			n.stop()
		}
		for _, n := range nodes[:2] { // what gossip and the member list say after SIGTERM
			peers := n.known()[1:]
			for i := range peers {
				if peers[i].ID == nodes[2].id() {
					peers[i].State = muster.StateLeft
				}
			}
			if err := n.state.SetPeers(peers); err != nil {
				t.Fatal(err)
			}
			n.start()
		}
		time.Sleep(time.Minute)
		one(t, nodes[:2]...)
		before := w.total()
		time.Sleep(10 * time.Minute)
		if calls := w.total() - before; calls != 0 {
			t.Errorf("%d calls at a member that left, want none", calls)
		}
		nodes[1].stop()
		time.Sleep(time.Second)
		if len(w.callsTo("n1", at("n3"))) == 0 {
			until(t, 40*time.Second, func() bool { return len(w.callsTo("n1", at("n3"))) > 0 })
		}
		if got := nodes[0].state.Cluster().ID; got != id {
			t.Errorf("cluster %s, want %s", got, id)
		}
	})
}

// A copy of a data directory, started elsewhere, is found out by both.
func TestCopyOfANodeIsFoundOutByBoth(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		time.Sleep(10 * time.Second)
		clone := w.node("copy", nil)
		clone.disk = a.disk.Copy()
		clone.start()
		time.Sleep(time.Second)
		for _, n := range []*node{a, clone} {
			if _, ok := problemOf(n, muster.CodeClone); !ok || len(n.alarmList()) != 1 {
				t.Errorf("%s: problems %+v, alarms %q; want clone and one alarm", n.name, n.seeker.Status().Problems, n.alarmList())
			}
		}
		clone.stop()
		time.Sleep(10 * time.Minute)
		if got := a.seeker.Status().Problems; len(got) != 0 {
			t.Errorf("problems long after the copy has stopped: %+v", got)
		}
	})
}

// until polls in virtual time and returns how long it took.
func until(t *testing.T, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("not within %v", limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// part cuts, or mends, every way between two groups.
func (w *world) part(cut bool, a, b []*node) {
	for _, x := range a {
		for _, y := range b {
			w.setCut(x.name, y.cfg.Endpoint, cut)
			w.setCut(y.name, x.cfg.Endpoint, cut)
		}
	}
}

// total counts all calls.
func (w *world) total() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for calls := range maps.Values(w.calls) {
		n += len(calls)
	}
	return n
}

package gossip_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

// exchanges is how often the stale member of the test pushes what it believes.
const exchanges = 10_000

// TestExpulsionSticksThroughTenThousandExchanges: a member that knows nothing of an
// expulsion keeps the expelled one alive, and tells those who know, by exchanges of
// state and by packets under ever higher incarnations. They never take it in.
func TestExpulsionSticksThroughTenThousandExchanges(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(4)
		judge, other, stale, gone := nodes[0], nodes[1], nodes[2], nodes[3]
		c.within(5*time.Second, "all alive", sees(nodes, nodes, muster.StateAlive))
		c.setBlocked(true, nodes[:3], []*node{gone})
		c.within(5*time.Second, "dead", sees(nodes[:3], []*node{gone}, muster.StateDead))
		for _, n := range []*node{judge, other} {
			n.expel(gone, true)
		}
		c.within(time.Second, "expelled", sees([]*node{judge, other}, []*node{gone}, muster.StateExpelled))
		c.setBlocked(false, []*node{stale}, []*node{gone})
		c.within(15*time.Second, "alive to the stale member", sees([]*node{stale}, []*node{gone}, muster.StateAlive))
		raw, err := gossip.EncodeMeta(gossip.Meta{Boot: gone.self.Boot, Name: gone.self.Name, Endpoint: gone.facts().Endpoint}, gone.self.Key)
		if err != nil {
			t.Fatal(err)
		}
		packet := alivePacket(gone.self.ID, gossip.AddressOf(gone.self.ID), 1, raw)
		incarnation := slices.Index(packet, 0xce) + 1
		for i := range exchanges {
			binary.BigEndian.PutUint32(packet[incarnation:], uint32(i+100))
			judge.inbox.Packet(stale.self.ID, slices.Clone(packet))
			if err := stale.g.Join(t.Context(), judge.self.ID); err != nil {
				t.Fatalf("exchange %d: %v", i, err)
			}
			if v := judge.view(gone); v.State != muster.StateExpelled {
				t.Fatalf("after %d exchanges the expelled member is %s: %s", i, v.State, v.Reason)
			}
		}
		if v := stale.view(gone); v.State != muster.StateAlive {
			t.Errorf("the stale member holds the expelled one %s: the test pushed nothing", v.State)
		}
		if n := len(judge.transitions(gone, muster.StateAlive)); n != 1 {
			t.Errorf("the expelled member came alive %d times, want once, in the beginning", n)
		}
		if got := refusals(t, judge); got < 2*exchanges {
			t.Errorf("%v announcements were refused, want at least %d", got, 2*exchanges)
		}
		// What memberlist itself believes shows once nobody hides it any more.
		c.setBlocked(true, []*node{judge, other}, []*node{stale})
		for _, n := range []*node{judge, other} {
			n.expel(gone, false)
		}
		c.within(time.Second, "dead after readmission", sees([]*node{judge, other}, []*node{gone}, muster.StateDead))
	})
}

func refusals(t *testing.T, n *node) (sum float64) {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "muster_gossip_refused_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "expelled" {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestAnExpelledMemberIsNotHealed: nobody calls it, and it comes back once it is
// readmitted.
func TestAnExpelledMemberIsNotHealed(t *testing.T) {
	t.Parallel()
	simulate(t, 2, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		rest, gone := nodes[:2], nodes[2]
		c.within(5*time.Second, "all alive", sees(nodes, nodes, muster.StateAlive))
		c.setBlocked(true, rest, []*node{gone})
		c.within(5*time.Second, "dead", sees(rest, []*node{gone}, muster.StateDead))
		for _, n := range rest {
			n.expel(gone, true)
		}
		c.within(time.Second, "expelled", sees(rest, []*node{gone}, muster.StateExpelled))
		c.setBlocked(false, rest, []*node{gone})
		for _, n := range rest {
			n.Learn(gone.self.ID, gone.facts().Endpoint)
			n.g.Heal(gone.self.ID)
		}
		time.Sleep(2 * time.Minute)
		if !sees(rest, []*node{gone}, muster.StateExpelled)() {
			t.Error("an expelled member was taken in again")
		}
		for _, n := range rest {
			n.expel(gone, false)
			n.Learn(gone.self.ID, gone.facts().Endpoint)
		}
		c.within(20*time.Second, "alive after readmission", sees(nodes, nodes, muster.StateAlive))
	})
}

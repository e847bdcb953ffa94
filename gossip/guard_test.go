package gossip_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

// alivePacket is memberlist's announcement of a member, as a key holder could
// forge it.
func alivePacket(id muster.NodeID, ip net.IP, port uint16, meta []byte) []byte {
	b := []byte{4, 0x86}
	text := func(s string) {
		b = append(b, 0xda)
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	number := func(n uint32) { b = binary.BigEndian.AppendUint32(append(b, 0xce), n) }
	text("Incarnation")
	number(50)
	text("Node")
	text(string(id))
	text("Addr")
	text(string(ip))
	text("Port")
	number(uint32(port))
	text("Meta")
	text(string(meta))
	text("Vsn")
	text("\x01\x05\x02\x00\x00\x00")
	return b
}

func TestForgedAnnouncementsAreRefused(t *testing.T) {
	t.Parallel()
	absent := selfOf("absent", 3)
	ip := gossip.AddressOf(absent.ID)
	m := gossip.Meta{Boot: absent.Boot, Name: absent.Name, Endpoint: "http://absent:9113"}
	sign := func(name string) []byte {
		raw, err := gossip.EncodeMeta(m, keyOf(name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	flipped := sign("absent")
	flipped[30] ^= 1
	for _, c := range []struct {
		name, reason string
		packet       []byte
	}{
		{"genuine", "", alivePacket(absent.ID, ip, 1, sign("absent"))},
		{"key of another node", "key", alivePacket(absent.ID, ip, 1, sign("n01"))},
		{"changed meta", "meta", alivePacket(absent.ID, ip, 1, flipped)},
		{"no meta", "meta", alivePacket(absent.ID, ip, 1, nil)},
		{"address of another node", "address", alivePacket(absent.ID, gossip.AddressOf("x"), 1, sign("absent"))},
		{"real address", "address", alivePacket(absent.ID, net.IPv4(192, 0, 2, 1).To4(), 1, sign("absent"))},
		{"other port", "address", alivePacket(absent.ID, ip, 22, sign("absent"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			simulate(t, 1, func(t *testing.T, cl *cluster) {
				nodes := cl.start(3)
				nodes[0].inbox.Packet(nodes[1].self.ID, c.packet)
				time.Sleep(500 * time.Millisecond)
				for _, n := range nodes {
					ids := []muster.NodeID{}
					for _, v := range n.g.Members() {
						ids = append(ids, v.ID)
					}
					if listed := slices.Contains(ids, absent.ID); listed != (c.reason == "") {
						t.Errorf("%s lists the announced member: %v", n.name, listed)
					}
				}
				if c.reason != "" && nodes[0].metric(t, "refused_total", c.reason) == 0 {
					t.Errorf("not counted under %q", c.reason)
				}
			})
		})
	}
}

// metric returns a value of the node's registry; the label may be empty.
func (n *node) metric(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "muster_gossip_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label != "" && m.GetLabel()[0].GetValue() != label {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return 0
}

func TestMetricsFollowTheMembers(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		time.Sleep(5 * time.Second)
		n := nodes[0]
		if n.metric(t, "members", "alive") != 3 || n.metric(t, "link_rtt_seconds", "n01") == 0 {
			t.Errorf("alive %v, round trip %v", n.metric(t, "members", "alive"), n.metric(t, "link_rtt_seconds", "n01"))
		}
		nodes[2].kill()
		time.Sleep(20 * time.Second)
		for name, want := range map[string][2]float64{
			"members": {1, 1}, "detection_seconds": {1, 1}, "probe_failures_total": {1, 1000}, "heals_total": {2, 5},
		} {
			label := map[string]string{"members": "dead", "heals_total": "error"}[name]
			if got := n.metric(t, name, label); got < want[0] || got > want[1] {
				t.Errorf("%s{%s} = %v, want %v to %v", name, label, got, want[0], want[1])
			}
		}
		if n.metric(t, "link_rtt_seconds", "n01") == 0 || n.metric(t, "link_rtt_seconds", "n02") != 0 {
			t.Error("a round trip is shown of the living and of nobody else")
		}
	})
}

// TestATroubledNodeShowsItsHealthScore: its own probes go unanswered, and others say
// that it is suspect; the score goes back when the trouble is over.
func TestATroubledNodeShowsItsHealthScore(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(4)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		time.Sleep(5 * time.Second)
		n := nodes[3]
		if got := n.metric(t, "health_score", ""); got != 0 {
			t.Fatalf("health_score %v of a node that is well", got)
		}
		c.setBlocked(true, nodes[:3], nodes[3:])
		time.Sleep(3 * time.Second)
		if got := n.metric(t, "health_score", ""); got == 0 {
			t.Error("health_score is 0 on a node that hears nobody")
		}
		c.setBlocked(false, nodes[:3], nodes[3:])
		c.within(time.Minute, "the score is back at 0", func() bool { return n.metric(t, "health_score", "") == 0 })
	})
}

func TestEqualNamesDoNotBreakTheMetrics(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(2)
		self := selfOf("twin", 1)
		self.Name = "n01"
		c.run(self, "twin").join(nodes[0])
		time.Sleep(5 * time.Second)
		if nodes[0].metric(t, "members", "alive") != 3 {
			t.Error("three members are not counted")
		}
	})
}

func TestJoinSaysWhyNobodyAnswered(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		n := c.add("n00", "n00", 1)
		refusal := muster.Errorf(muster.CodeClusterMismatch, "node other belongs to cluster x")
		n.dialError = refusal
		err := n.g.Join(t.Context(), selfOf("other", 1).ID, selfOf("third", 1).ID)
		if muster.CodeOf(err) != muster.CodeClusterMismatch {
			t.Errorf("got %v, want the link's refusal", err)
		}
		if err := n.g.Join(t.Context()); err == nil {
			t.Error("joined nobody without an error")
		}
		if err := n.g.Join(t.Context(), n.self.ID); err == nil {
			t.Error("joined itself without an error")
		}
	})
}

func TestJoinNeedsOneMemberThatAnswers(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := slices.Clone(c.start(2))
		n := c.add("late", "late", 1)
		ids := []muster.NodeID{}
		for i := range 3 {
			host := fmt.Sprintf("hole%d", i)
			id := selfOf(host, 1).ID
			c.net.Cut("late", host)
			n.Learn(id, "http://"+host+":9113")
			ids = append(ids, id)
		}
		n.Learn(nodes[0].self.ID, nodes[0].facts().Endpoint)
		start := time.Now()
		if err := n.g.Join(t.Context(), append(ids, nodes[0].self.ID)...); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("three silent peers held up the join for %v", took)
		}
		if v := n.view(nodes[1]); v.State != muster.StateAlive {
			t.Errorf("after the join n01 is %q", v.State)
		}
	})
}

func TestRunEndsAtOnceInTheMiddleOfAnExchange(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		a, b := c.add("a", "a", 1), c.add("b", "b", 1)
		c.net.Delay(time.Second, 0)
		b.Learn(a.self.ID, a.facts().Endpoint)
		joined := make(chan error, 1)
		go func() { joined <- b.g.Join(context.Background(), a.self.ID) }()
		time.Sleep(2500 * time.Millisecond)
		start := time.Now()
		b.kill()
		if err := <-joined; err == nil || time.Since(start) > 100*time.Millisecond {
			t.Errorf("join ended with %v after %v", err, time.Since(start))
		}
		if err := b.g.Join(context.Background(), a.self.ID); err == nil || !strings.Contains(err.Error(), "ended") {
			t.Errorf("join after the end: %v", err)
		}
		if err := b.g.Leave(context.Background()); err == nil {
			t.Error("left after the end")
		}
		if err := b.g.Run(context.Background()); err == nil {
			t.Error("ran twice")
		}
	})
}

func TestLeaveWithoutPeersAndBeforeRunReturns(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		n := c.add("n00", "n00", 1)
		time.Sleep(time.Second)
		start := time.Now()
		if err := n.g.Leave(t.Context()); err != nil || time.Since(start) > 100*time.Millisecond {
			t.Errorf("left alone with %v after %v", err, time.Since(start))
		}
		g, err := gossip.New(gossip.Config{Self: selfOf("x", 1), Inbox: gossip.NewInbox(), Link: deaf{}, Meta: sampleMeta})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Leave(t.Context()); err != nil {
			t.Errorf("before Run: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Join(ctx, n.self.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("join before Run: %v", err)
		}
	})
}

func TestLeaveEndsAfterTwoSecondsWhenNobodyHears(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		time.Sleep(time.Second)
		c.setBlocked(true, nodes[:2], nodes[2:])
		start := time.Now()
		_ = nodes[2].g.Leave(context.Background())
		if took := time.Since(start); took > 2100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestTooLargeDigestIsNotSent(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		a, b := c.add("a", "a", 1), c.add("b", "b", 1)
		b.mu.Lock()
		b.digest = strings.Repeat("x", 64<<10+1)
		b.mu.Unlock()
		b.join(a)
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.observed) != 0 {
			t.Error("it arrived")
		}
	})
}

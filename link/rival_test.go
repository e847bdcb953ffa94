package link_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/link"
)

// slow is a network on which connecting takes a round trip, so that two nodes can be
// dialling each other at once.
func slow(nw *network) func(*link.Config) {
	return func(c *link.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(10 * time.Millisecond)
			return nw.dial(ctx, network, address)
		}
	}
}

// crowd starts nodes that come to know one another at once.
func crowd(t *testing.T, nw *network, n int) []*node {
	t.Helper()
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = startVirtual(t, nw, newSelf(t, fmt.Sprintf("n%02d", i)), slow(nw))
	}
	for _, a := range nodes {
		for _, b := range nodes {
			a.Learn(b.self.ID, b.url)
		}
	}
	return nodes
}

// TestPairsDialOnce: twenty nodes come to know one another at once and have something
// to say, all at the same moment, or each at a moment of its own. Almost every pair
// opens one connection.
func TestPairsDialOnce(t *testing.T) {
	const n, pairs = 20, 20 * 19 / 2
	for name, spread := range map[string]time.Duration{"at once": 1, "within 300 ms": 300 * time.Millisecond, "never": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				nw := &network{listeners: make(map[string]*listener), cut: make(map[string]bool)}
				nodes := crowd(t, nw, n)
				sent := 0
				for _, a := range nodes {
					for _, b := range nodes {
						if a != b && spread > 0 {
							time.AfterFunc(rand.N(spread), func() { _ = a.Send(b.self.ID, []byte("x")) })
							sent++
						}
					}
				}
				time.Sleep(5 * time.Second)
				got := 0
				for _, a := range nodes {
					got += len(a.in.packets)
					if links := len(a.Links()); links != n-1 {
						t.Errorf("%s holds %d links, want %d", a.self.Name, links, n-1)
					}
				}
				if got != sent {
					t.Errorf("%d of %d packets came", got, sent)
				}
				if dials := nw.dialled(); dials < pairs || dials > pairs*112/100 {
					t.Errorf("%d dials for %d pairs", dials, pairs)
				} else {
					t.Logf("%d dials for %d pairs", dials, pairs)
				}
				for _, a := range nodes {
					a.stop()
				}
			})
		})
	}
}

// TestTheGreaterIDWaitsNoLongerThan150ms: the other one cannot dial, and nobody is held up.
func TestTheGreaterIDWaitsNoLongerThan150ms(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		b := startVirtual(t, nw, selfBeside(t, "b", a.self.ID, true))
		c := startVirtual(t, nw, selfBeside(t, "c", a.self.ID, false))
		for other, want := range map[*node]time.Duration{b: 150 * time.Millisecond, c: 0} {
			begun := time.Now()
			a.Learn(other.self.ID, other.url) // it knows nothing of a
			_ = a.Send(other.self.ID, []byte("x"))
			<-other.in.packets
			if took := time.Since(begun); took != want {
				t.Errorf("the first packet to %s took %v, want %v", other.self.Name, took, want)
			}
		}
		hidden := startVirtual(t, nw, newSelf(t, "hidden"), outboundOnly)
		begun := time.Now()
		hidden.Learn(b.self.ID, b.url)
		_ = hidden.Send(b.self.ID, []byte("x"))
		<-b.in.packets
		if took := time.Since(begun); took != 0 {
			t.Errorf("a node that nobody can dial waited %v", took)
		}
		for _, n := range []*node{b, c, hidden} {
			n.stop()
		}
	})
}

package link_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

func TestTheGateOfARefusedNodeIsAskedToo(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	b := start(t, newSelf(t, "b"), func(c *link.Config) { c.Gate = askedGate{&asked} })
	no := muster.Errorf(muster.CodeClusterMismatch, "another cluster")
	a := start(t, newSelf(t, "a"), func(c *link.Config) { c.Gate = gate{no} })
	_, err := a.Meet(t.Context(), b.url, b.self.ID)
	wantCode(t, err, muster.CodeClusterMismatch)
	eventually(t, "the refused side has asked its gate: the alarm is due on both", func() bool { return asked.Load() == 1 })
}

type askedGate struct{ n *atomic.Int32 }

func (g askedGate) Admit(link.Hello, link.Channel) *muster.Error {
	g.n.Add(1)
	return nil
}

func TestAnEqualBootCounterIsAClone(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	first := enter(t, b, "packet", self) // reads nothing, answers no ping
	receive(t, "up", b.ups)
	second := self
	second.Boot.Random++
	w := knock(t, b.url, "packet", b.self.ID)
	w.record(frameOf(16, helloOf(second, "packet", w.binding)))
	if kind, body := w.frame(); kind != 18 || !strings.Contains(string(body), "clone") {
		t.Errorf("verdict %d %s, want a refusal of the clone", kind, body)
	}
	if got := b.seenAlarms(); len(got) != 1 || got[0] != muster.CodeClone {
		t.Errorf("alarms %v, want clone", got)
	}
	first.record(frameOf(1, []byte("x")))
	receive(t, "packet of the first", b.in.packets)
}

func TestAGreaterBootReplacesASilentOne(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	first := enter(t, b, "packet", self)
	receive(t, "up", b.ups)
	next := self
	next.Boot = muster.Boot{Counter: 2, Random: self.Boot.Random + 1}
	w := enter(t, b, "packet", next)
	first.ending()
	w.record(frameOf(1, []byte("x")))
	receive(t, "packet of the second", b.in.packets)
	if got := b.seenAlarms(); len(got) != 0 {
		t.Errorf("alarms %v", got)
	}
}

// TestTwoBootsAtOnceDoNotBothGetIn: two processes with one identity come at the same
// moment, before either of them is known. One of them stays, whoever it is.
func TestTwoBootsAtOnceDoNotBothGetIn(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	for range 30 {
		self := newSelf(t, "hand")
		other := self
		other.Boot = muster.Boot{Counter: 2, Random: self.Boot.Random + 1}
		first, second := knock(t, b.url, "packet", b.self.ID), knock(t, b.url, "packet", b.self.ID)
		first.record(frameOf(16, helloOf(self, "packet", first.binding)))
		second.record(frameOf(16, helloOf(other, "packet", second.binding)))
		first.live(true)
		second.live(true)
		eventually(t, "one boot has a link, and the other one was found out", func() bool {
			boots := 0
			for _, l := range b.Links() {
				if l.Peer == self.ID {
					boots++
				}
			}
			return boots == 1 && slices.Contains(b.seenAlarms(), muster.CodeClone)
		})
		b.mu.Lock()
		b.alarms = nil
		b.mu.Unlock()
	}
}

package link_test

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// TestUnusedLinksAreReapedOldestFirst: 130 links, of which 128 may stay. Pings are no use.
func TestUnusedLinksAreReapedOldestFirst(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		residents := make([]*resident, 130)
		for i := range residents {
			residents[i] = enterVirtual(t, nw, a, newSelf(t, fmt.Sprintf("p%d", i))).live(true)
			time.Sleep(time.Millisecond)
		}
		begun := time.Now()
		time.Sleep(time.Minute)
		residents[0].record(frameOf(1, []byte("in use"))) // the oldest one by age, not by use
		time.Sleep(59 * time.Second)
		if n := len(a.Links()); n != 130 {
			t.Fatalf("%d links after %v, want all", n, time.Since(begun))
		}
		time.Sleep(10 * time.Minute)
		for i, r := range residents {
			code, over := r.ended()
			if want := i == 1 || i == 2; over != want || over && code != 1000 {
				t.Errorf("link %d: over %v with code %d, want %v and 1000", i, over, code, want)
			}
		}
		if n := len(a.Links()); n != 128 {
			t.Errorf("%d links, want 128", n)
		}
	})
}

// TestAReapedLinkComesBackWithTheNextPacket: whom the reaper met loses nothing.
func TestAReapedLinkComesBackWithTheNextPacket(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, b *node) {
		_ = b.Send(a.self.ID, []byte("first"))
		<-a.in.packets
		time.Sleep(time.Second)
		for i := range 128 {
			enterVirtual(t, nw, a, newSelf(t, fmt.Sprintf("p%d", i))).live(true)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(3 * time.Minute)
		if up, _, _ := a.State(b.self.ID); up {
			t.Error("the longest unused link is still up")
		}
		_ = b.Send(a.self.ID, []byte("second"))
		if got := <-a.in.packets; got.data != "second" {
			t.Errorf("got %q", got.data)
		}
	})
}

func TestAPlannedShutdownCloses1001(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	wires := map[string]*wire{}
	for _, channel := range []string{"packet", "stream", "rpc"} {
		wires[channel] = enter(t, b, channel, self)
	}
	eventually(t, "three links", func() bool { return len(b.Links()) == 3 })
	b.stop()
	for channel, w := range wires {
		if code := w.ending(); code != 1001 {
			t.Errorf("%s: close code %d, want 1001", channel, code)
		}
	}
}

// TestANewerLinkOfTheSameDirectionCloses4000 opens a second packet link.
func TestANewerLinkOfTheSameDirectionCloses4000(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	first := enter(t, b, "packet", self)
	eventually(t, "the first link", func() bool { // the peer hears of its admission a moment earlier
		up, _, _ := b.State(self.ID)
		return up
	})
	second := enter(t, b, "packet", self)
	if code := first.ending(); code != 4000 {
		t.Errorf("close code %d, want 4000", code)
	}
	second.record(frameOf(1, []byte("x")))
	receive(t, "packet of the second", b.in.packets)
}

// TestTheGreaterIDClosesItsRivalLinkWith4000: both have dialled; what the greater id
// has dialled goes after 2 s, by its dialler, and nothing else.
func TestTheGreaterIDClosesItsRivalLinkWith4000(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		hand := selfBeside(t, "hand", a.self.ID, true)
		theirs := called(t, nw, hand, func() {
			a.Learn(hand.ID, "http://hand:9113")
			_ = a.Send(hand.ID, []byte("x"))
		}).live(true)
		synctest.Wait()
		ours := enterVirtual(t, nw, a, hand).live(true)
		begun := time.Now()
		if code := <-theirs.code; code != 4000 {
			t.Errorf("close code %d, want 4000", code)
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("it was closed after %v, want the 2 s in which what is under way arrives", took)
		}
		synctest.Wait() // the peer hears of the end a moment earlier
		if _, over := ours.ended(); over || len(a.Links()) != 1 {
			t.Errorf("the link of the smaller id is over: %v; links %d", over, len(a.Links()))
		}
	})
}

// TestTheSmallerIDKeepsBothLinks: the redundant one is not its to close.
func TestTheSmallerIDKeepsBothLinks(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		hand := selfBeside(t, "hand", a.self.ID, false)
		theirs := called(t, nw, hand, func() {
			a.Learn(hand.ID, "http://hand:9113")
			_ = a.Send(hand.ID, []byte("x"))
		}).live(true)
		synctest.Wait()
		ours := enterVirtual(t, nw, a, hand).live(true)
		time.Sleep(time.Minute)
		ours.record(frameOf(1, []byte("read from both")))
		<-a.in.packets
		_ = a.Send(hand.ID, []byte("written to its own"))
		synctest.Wait()
		theirs.note(func() {
			if theirs.records != 2 {
				t.Errorf("%d records on the link of the smaller id, want 2", theirs.records)
			}
		})
		for _, r := range []*resident{theirs, ours} {
			if code, over := r.ended(); over {
				t.Errorf("a link was closed with %d", code)
			}
		}
	})
}

func TestASilentOldBootIsClosedWith4001(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	first := enter(t, b, "packet", self) // answers no ping
	receive(t, "up", b.ups)
	next := self
	next.Boot = muster.Boot{Counter: 2, Random: self.Boot.Random + 1}
	begun := time.Now()
	enter(t, b, "packet", next)
	if took := time.Since(begun); took < time.Second {
		t.Errorf("the old boot had %v to answer, want 1 s", took)
	}
	if code := first.ending(); code != 4001 {
		t.Errorf("close code %d, want 4001", code)
	}
}

// TestASlowReaderIsClosedWith4002 pauses the hand-made peer's reading at several
// places of a record for longer than a write may take, and then reads on.
func TestASlowReaderIsClosedWith4002(t *testing.T) {
	for name, read := range map[string]int64{"before the record": 0, "in its head": 1, "in its body": 500} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, nw *network, a *node) {
				hand := newSelf(t, "hand")
				w := enterVirtual(t, nw, a, hand)
				synctest.Wait()
				_ = a.Send(hand.ID, bytes.Repeat([]byte("x"), 1000))
				part := &bytes.Buffer{}
				_, _ = io.CopyN(part, w.nc, read)
				time.Sleep(2*time.Second + 100*time.Millisecond)
				if n := len(a.Links()); n != 0 {
					t.Errorf("%d links after 2 s", n)
				}
				w.br.Reset(io.MultiReader(part, w.nc))
				if kind, body := func() (byte, []byte) {
					if read == 0 {
						return 1, make([]byte, 1000) // nothing of it was out: only the code comes
					}
					return w.frame()
				}(); kind != 1 || len(body) != 1000 {
					t.Errorf("frame %d of %d bytes, want the packet", kind, len(body))
				}
				if code := w.ending(); code != 4002 {
					t.Errorf("close code %d, want 4002", code)
				}
			})
		})
	}
}

// TestAStuckReaderIsCutAllTheSame: nobody waits for the last words.
func TestAStuckReaderIsCutAllTheSame(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		hand := newSelf(t, "hand")
		w := enterVirtual(t, nw, a, hand)
		synctest.Wait()
		begun := time.Now()
		_ = a.Send(hand.ID, []byte("x"))
		time.Sleep(2*time.Second + 600*time.Millisecond)
		_, err := w.nc.Write([]byte("x")) // waits for a reader or the end
		if took := time.Since(begun); err == nil || took > 3*time.Second {
			t.Errorf("the socket was open for %v: %v", took, err)
		}
	})
}

func TestADroppedCookieAndADroppedNodeClose4003(t *testing.T) {
	t.Parallel()
	var changed atomic.Bool
	b := start(t, newSelf(t, "b"), func(c *link.Config) {
		c.Keys = func() []link.Key {
			if changed.Load() {
				return []link.Key{keyOf("new")}
			}
			return []link.Key{keyOf("new"), keyOf("secret")}
		}
	})
	for name, drop := range map[string]func(link.Self){
		"Drop":   func(s link.Self) { b.Drop(s.ID) },
		"Revoke": func(link.Self) { changed.Store(true); b.Revoke() },
	} {
		changed.Store(false)
		self, wires := newSelf(t, "hand"), map[string]*wire{}
		for _, channel := range []string{"packet", "stream", "rpc"} {
			wires[channel] = enter(t, b, channel, self)
		}
		eventually(t, "three links", func() bool { return len(b.Links()) == 3 })
		drop(self)
		for channel, w := range wires {
			if code := w.ending(); code != 4003 {
				t.Errorf("%s, %s: close code %d, want 4003", name, channel, code)
			}
		}
	}
}

// TestCloseCodesAreExplained: what the other side said is the reason that status shows.
func TestCloseCodesAreExplained(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	for code, word := range map[uint16]string{
		1001: "shutting down", 4000: "another link", 4001: "newer boot", 4002: "did not take", 4003: "dropped the cookie",
	} {
		self := selfBeside(t, "hand", b.self.ID, true) // b dials when it must, which it must not
		b.Learn(self.ID, "http://192.0.2.1:9")         // a route, so that the peer stays known
		w := enter(t, b, "packet", self)
		eventually(t, "the link is up", func() bool { up, _, _ := b.State(self.ID); return up })
		w.write(webFrame(0x88, true, []byte{byte(code >> 8), byte(code)}))
		w.ending()
		eventually(t, "the link is down", func() bool { up, _, _ := b.State(self.ID); return !up })
		_, err, _ := b.State(self.ID)
		if err == nil || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), strconv.Itoa(int(code))) {
			t.Errorf("code %d is reported as %v, want %q", code, err, word)
		}
	}
}

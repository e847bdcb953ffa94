package link_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSilenceIsPingedEvery20s: both ends of a link, ten minutes, a peer that answers.
func TestSilenceIsPingedEvery20s(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		hand, other := newSelf(t, "hand"), newSelf(t, "other")
		links := map[string]*resident{"accepted": enterVirtual(t, nw, a, hand).live(true)}
		links["dialled"] = called(t, nw, other, func() {
			a.Learn(other.ID, "http://other:9113")
			_ = a.Send(other.ID, []byte("x"))
		}).live(true)
		last := time.Now()
		time.Sleep(10 * time.Minute)
		for name, r := range links {
			at := last
			for _, ping := range r.pinged() {
				if gap := ping.Sub(at); gap < 20*time.Second || gap > 25*time.Second {
					t.Errorf("%s: a ping after %v of silence, want 20 to 25 s", name, gap)
				}
				at = ping
			}
			if n := len(r.pinged()); n < 24 || n > 30 {
				t.Errorf("%s: %d pings in 10 minutes", name, n)
			}
			if _, over := r.ended(); over {
				t.Errorf("%s: the link is over", name)
			}
		}
	})
}

// TestTrafficSuppressesPings: with packets both ways there is nothing to ping for; with
// one way only there is, because proxies watch each direction.
func TestTrafficSuppressesPings(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		hand, quiet := newSelf(t, "hand"), newSelf(t, "quiet")
		busy := enterVirtual(t, nw, a, hand).live(true)
		half := enterVirtual(t, nw, a, quiet).live(true)
		for range 30 { // 5 minutes
			busy.record(frameOf(1, []byte("x")))
			half.record(frameOf(1, []byte("x")))
			_ = a.Send(hand.ID, []byte("y"))
			time.Sleep(10 * time.Second)
			<-a.in.packets
			<-a.in.packets
		}
		if n := len(busy.pinged()); n != 0 {
			t.Errorf("%d pings beside traffic both ways", n)
		}
		if n := len(half.pinged()); n < 10 {
			t.Errorf("%d pings in 5 minutes on a link on which we say nothing", n)
		}
	})
}

// TestALinkIsDeadAfter45sWithoutAFrame on both ends, and not a second earlier. One
// that says anything at all stays.
func TestALinkIsDeadAfter45sWithoutAFrame(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		hand, other, alive := newSelf(t, "hand"), newSelf(t, "other"), newSelf(t, "alive")
		begun := time.Now()
		dead := map[string]*resident{"accepted": enterVirtual(t, nw, a, hand).live(false)}
		dead["dialled"] = called(t, nw, other, func() {
			a.Learn(other.ID, "http://other:9113")
			_ = a.Send(other.ID, []byte("x"))
		}).live(false)
		talks := enterVirtual(t, nw, a, alive).live(false)
		for time.Since(begun) < 45*time.Second {
			talks.write(webFrame(0x8A, true, nil)) // a pong that nobody asked for
			time.Sleep(time.Second)
			synctest.Wait()
			for name, r := range dead {
				if _, over := r.ended(); over && time.Since(begun) < 45*time.Second {
					t.Fatalf("%s: over after %v", name, time.Since(begun))
				}
			}
		}
		time.Sleep(6 * time.Second)
		for name, r := range dead {
			if _, over := r.ended(); !over {
				t.Errorf("%s: still open after %v of silence", name, time.Since(begun))
			}
		}
		if _, over := talks.ended(); over {
			t.Error("a peer that says something was taken for dead")
		}
	})
}

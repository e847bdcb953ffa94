package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
)

// outlaw is a hand-made peer: it holds the cookie and an identity, and says of
// itself what it likes.
func (s *sim) outlaw(state *join.State, cluster muster.ClusterID) *link.Link {
	s.t.Helper()
	var keys []link.Key
	for _, k := range s.ring.LinkKeys() {
		keys = append(keys, link.Key{ID: k.ID, PSK: k.PSK})
	}
	self := state.Self()
	l, err := link.New(link.Config{
		Self: self, Keys: func() []link.Key { return keys }, Dial: s.net.Host("outlaw").Dial,
		Facts: func() link.Facts { return link.Facts{Cluster: cluster, Role: muster.RoleVoter} },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(ctx)
	}()
	s.quits = append(s.quits, func() { cancel(); <-done })
	return l
}

// quit ends the hand-made peers.
func (s *sim) quit() {
	for _, end := range s.quits {
		end()
	}
}

func (s *sim) state(disk *join.Memory, name string) *join.State {
	s.t.Helper()
	state, err := join.OpenMemory(disk, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// TestAnExpelledPeerGetsNoChannel by hand-made HELLOs, with whatever name, boot and
// cluster it claims, from any member.
func TestAnExpelledPeerGetsNoChannel(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(3)
		n1, n2, n3 := nodes[0], nodes[1], nodes[2]
		cluster := n1.server.Status().ClusterID
		id := n3.id()
		n2.mustExpel("n3")
		n3.told(10 * time.Second)
		s.within(time.Second, expelled(id, n1, n2))
		for _, claim := range []muster.ClusterID{cluster, "", muster.NewClusterID()} {
			for i, n := range []*simNode{n1, n2} {
				l := s.outlaw(s.state(n3.disk, fmt.Sprintf("other%d", i)), claim)
				_, err := l.Meet(s.t.Context(), n.url(), "")
				if muster.CodeOf(err) != muster.CodeExpelled {
					t.Errorf("an rpc link to %s as of cluster %q: %v, want expelled", n.name, claim, err)
				}
				l.Learn(n.id(), n.url())
				if conn, err := l.Stream(s.t.Context(), n.id()); muster.CodeOf(err) != muster.CodeExpelled {
					t.Errorf("a stream to %s: %v %v, want expelled", n.name, conn, err)
				}
				_ = l.Send(n.id(), []byte("x"))
				time.Sleep(time.Second)
				if up, err, _ := l.State(n.id()); up || muster.CodeOf(err) != muster.CodeExpelled {
					t.Errorf("a packet link to %s: up %v, %v; want expelled", n.name, up, err)
				}
			}
		}
		if err := expelled(id, n1, n2)(); err != nil {
			t.Error(err)
		}
		s.quit()
		s.end(n1, n2)
	})
}

// TestForgedTombstonesAreRefused: only a member that nobody has expelled may sign,
// for its own cluster, now.
func TestForgedTombstonesAreRefused(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(4)
		n1, n2, n3, n4 := nodes[0], nodes[1], nodes[2], nodes[3]
		cluster, target, gone := n1.server.Status().ClusterID, n3.id(), n4.id()
		n1.mustExpel("n4")
		n4.told(10 * time.Second)
		s.within(2*time.Second, expelled(gone, n1, n2, n3))

		member, former := s.state(n2.disk, "n2").Self(), s.state(n4.disk, "n4").Self()
		stranger := s.state(&join.Memory{}, "outlaw")
		draft := muster.SignedTombstone{Cluster: cluster, Tombstone: muster.Tombstone{NodeID: target, Name: "n3", Reason: "stolen laptop", At: time.Now(), By: "test"}}
		edit := func(change func(*muster.SignedTombstone)) muster.SignedTombstone {
			d := draft
			change(&d)
			return d
		}
		genuine := muster.SignTombstone(draft, member.Key)
		altered := genuine
		altered.Reason = "for fun"
		moved := genuine
		moved.NodeID = n1.id()
		borrowed := muster.SignTombstone(draft, stranger.Self().Key)
		borrowed.Via = member.ID
		l := s.outlaw(stranger, cluster)
		post := func(body []byte) int {
			t.Helper()
			m, err := l.Meet(s.t.Context(), n1.url(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			req, _ := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://peer/peer/v1/tombstones", bytes.NewReader(body))
			res, err := m.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			return res.StatusCode
		}
		for name, forged := range map[string]muster.SignedTombstone{
			"not signed":                   draft,
			"altered after it was signed":  altered,
			"moved to another node":        moved,
			"signed by a stranger":         muster.SignTombstone(draft, stranger.Self().Key),
			"signed in a member's name":    borrowed,
			"signed by an expelled member": muster.SignTombstone(draft, former.Key),
			"of another cluster":           muster.SignTombstone(edit(func(d *muster.SignedTombstone) { d.Cluster = muster.NewClusterID() }), member.Key),
			"more than a day old":          muster.SignTombstone(edit(func(d *muster.SignedTombstone) { d.At = d.At.Add(-muster.ProvisionalFor) }), member.Key),
			"of tomorrow":                  muster.SignTombstone(edit(func(d *muster.SignedTombstone) { d.At = d.At.Add(muster.ProvisionalFor) }), member.Key),
			"of nobody":                    muster.SignTombstone(edit(func(d *muster.SignedTombstone) { d.By = "" }), member.Key),
		} {
			body, _ := json.Marshal([]muster.SignedTombstone{forged})
			if status := post(body); status < 400 || status >= 500 {
				t.Errorf("a tombstone that is %s was answered %d", name, status)
			}
		}
		if status := post([]byte(`{"no":"list"}`)); status != http.StatusBadRequest {
			t.Errorf("garbage was answered %d", status)
		}
		time.Sleep(2 * time.Second)
		for _, n := range []*simNode{n1, n2, n3} {
			if m, err := n.holds(target); err != nil || m.State != muster.StateAlive {
				t.Errorf("%s holds the target %s, %v", n.name, m.State, err)
			}
		}
		body, _ := json.Marshal([]muster.SignedTombstone{genuine})
		if status := post(body); status != http.StatusNoContent {
			t.Errorf("a genuine one was answered %d: the test forges nothing", status)
		}
		n3.told(10 * time.Second)
		s.within(5*time.Second, func() error {
			var doc muster.Document
			return n2.get("/v1/config/tombstone/"+string(target), &doc)
		})
		s.quit()
		s.end(n1, n2)
	})
}

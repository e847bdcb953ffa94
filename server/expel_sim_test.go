package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// company starts n1, which forms, and others that join it.
func (s *sim) company(size int) []*simNode {
	s.t.Helper()
	nodes := []*simNode{s.node("n1", nil).start()}
	for i := 2; i <= size; i++ {
		nodes = append(nodes, s.node(fmt.Sprintf("n%d", i), joining(nodes[0])).start())
	}
	s.formed(15*time.Second, nodes...)
	return nodes
}

// end stops nodes and lets the last timers run out.
func (s *sim) end(nodes ...*simNode) {
	for _, n := range nodes {
		n.stop()
	}
	time.Sleep(time.Minute)
}

// expel orders an expulsion and returns the answer.
func (n *simNode) expel(who, body string) (status int, e muster.Expulsion, err error) {
	status, data, err := n.request(http.MethodPost, "/v1/members/"+who+":expel", body)
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(data, &e)
	} else if err == nil {
		err = fmt.Errorf("%d %s", status, data)
	}
	return status, e, err
}

// mustExpel fails the test unless the order is taken.
func (n *simNode) mustExpel(who string) muster.Expulsion {
	n.s.t.Helper()
	_, e, err := n.expel(who, `{"reason":"stolen laptop"}`)
	if err != nil {
		n.s.t.Fatalf("expel %s at %s: %v", who, n.name, err)
	}
	return e
}

// holds returns how the node sees the node with an id.
func (n *simNode) holds(id muster.NodeID) (muster.Member, error) {
	var list struct{ Members []muster.Member }
	if err := n.get("/cluster/members", &list); err != nil {
		return muster.Member{}, err
	}
	i := slices.IndexFunc(list.Members, func(m muster.Member) bool { return m.ID == id })
	if i < 0 {
		return muster.Member{}, fmt.Errorf("%s does not list %s", n.name, id)
	}
	return list.Members[i], nil
}

// expelled reports nil once all nodes hold a node expelled, with the reason, and
// count only themselves.
func expelled(id muster.NodeID, nodes ...*simNode) func() error {
	return func() error {
		for _, n := range nodes {
			m, err := n.holds(id)
			if err != nil {
				return err
			}
			if m.State != muster.StateExpelled || !strings.Contains(m.Reason, "stolen laptop") {
				return fmt.Errorf("%s holds it %s: %s", n.name, m.State, m.Reason)
			}
			st, err := n.status()
			if err != nil || st.ClusterSize != len(nodes) || st.Members != len(nodes) || st.HealthyMembers != len(nodes) {
				return fmt.Errorf("%s: size %d, members %d, healthy %d, %v; want %d", n.name, st.ClusterSize, st.Members, st.HealthyMembers, err, len(nodes))
			}
		}
		return nil
	}
}

// told waits until the process of an expelled node has ended, and returns what it
// said and how long it took.
func (n *simNode) told(limit time.Duration) (error, time.Duration) {
	n.s.t.Helper()
	begun := time.Now()
	select {
	case err := <-n.done:
		n.cancel()
		if muster.CodeOf(err) != muster.CodeExpelled || !strings.Contains(err.Error(), "was expelled by test at ") || !strings.Contains(err.Error(), "stolen laptop") {
			n.s.t.Errorf("%s ended with %v, want who, when and why", n.name, err)
		}
		return err, time.Since(begun)
	case <-time.After(limit):
		n.s.t.Fatalf("%s goes on %s after it was expelled", n.name, limit)
		return nil, 0
	}
}

func (n *simNode) complains(code muster.Code) (muster.Problem, bool) {
	st, err := n.status()
	if err != nil {
		n.s.t.Fatal(err)
	}
	i := slices.IndexFunc(st.Problems, func(p muster.Problem) bool { return p.Code == code })
	if i < 0 {
		return muster.Problem{}, false
	}
	return st.Problems[i], true
}

// TestAnExpelledMemberIsToldAndStops takes a live member out: the others drop it at
// once, it says so at /ready, ends, and does not get in again with its key, whoever
// it asks. Without its key it does, because it knows the cookie: a problem says so.
func TestAnExpelledMemberIsToldAndStops(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(3)
		n1, n2, n3 := nodes[0], nodes[1], nodes[2]
		id := n3.id()
		e := n2.mustExpel("n3")
		if e.Provisional || e.Rev == 0 || e.NodeID != id || e.Name != "n3" || len(e.KIDs) != 1 {
			t.Errorf("the order was answered with %+v", e)
		}
		took := s.within(time.Second, expelled(id, n1, n2))
		s.within(2*time.Second, func() error {
			status, data, err := n3.request(http.MethodGet, "/ready", "")
			if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(string(data), `"expelled"`) || !strings.Contains(string(data), "stolen laptop") {
				return fmt.Errorf("n3 is ready: %d %s %v", status, data, err)
			}
			return nil
		})
		if st, err := n3.status(); err != nil || st.State != muster.NodeExpelled {
			t.Errorf("n3 says it is %s, %v", st.State, err)
		}
		if err := n3.create("route/late", `{}`); err == nil || !strings.Contains(err.Error(), string(muster.CodeExpelled)) {
			t.Errorf("a write at the expelled node: %v", err)
		}
		_, ended := n3.told(10 * time.Second)
		t.Logf("expelled everywhere after %s, ended after %s more", took, ended)
		if _, knows := n1.complains(muster.CodeExpelledKnowsCookie); !knows {
			t.Error("nothing says that the expelled machine knows the cookie")
		}

		n3.start() // as a supervisor would
		n3.told(15 * time.Second)
		n3.change = joining(n2)
		n3.start()
		n3.told(15 * time.Second)
		if err := expelled(id, n1, n2)(); err != nil {
			t.Error(err)
		}
		fresh := s.node("n3", joining(n2)).start()
		s.formed(15*time.Second, n1, n2, fresh)
		s.end(n1, n2, fresh)
	})
}

// TestADeadMemberIsExpelledAndReturns: who was down when it was expelled is told
// when it comes back, by whichever member it meets, and is let in once readmitted.
func TestADeadMemberIsExpelledAndReturns(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(3)
		n1, n2, n3 := nodes[0], nodes[1], nodes[2]
		id := n3.id()
		n3.kill()
		s.within(10*time.Second, func() error {
			m, err := n1.holds(id)
			if err == nil && m.State != muster.StateDead {
				err = fmt.Errorf("n3 is %s", m.State)
			}
			return err
		})
		n1.mustExpel(string(id))
		s.within(2*time.Second, expelled(id, n1, n2))
		n3.revive()
		n3.told(15 * time.Second)

		status, data, err := n2.request(http.MethodPost, "/v1/members/n3:readmit?reason=found", "")
		if err != nil || status != http.StatusNoContent {
			t.Fatalf("readmit: %d %s %v", status, data, err)
		}
		n3.start()
		s.formed(20*time.Second, n1, n2, n3)
		if status, _, _ := n2.request(http.MethodPost, "/v1/members/n3:readmit", ""); status != http.StatusNotFound {
			t.Errorf("readmitting a member answered %d", status)
		}
		s.end(nodes...)
	})
}

// TestAStaleMemberDoesNotBringBackTheExpelled: two members are cut off, and the
// others expel one of them. The other one knows nothing and is first met again.
func TestAStaleMemberDoesNotBringBackTheExpelled(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(5)
		rest, stale, gone := nodes[:3], nodes[3], nodes[4]
		id := gone.id()
		for _, a := range rest {
			s.net.Cut(a.name, stale.name)
			s.net.Cut(a.name, gone.name)
		}
		s.within(10*time.Second, func() error {
			m, err := rest[1].holds(id)
			if err == nil && m.State != muster.StateDead {
				err = fmt.Errorf("it is %s", m.State)
			}
			return err
		})
		rest[0].mustExpel("n5")
		time.Sleep(time.Minute)
		if m, err := stale.holds(id); err != nil || m.State != muster.StateAlive {
			t.Fatalf("the stale member holds it %s, %v", m.State, err)
		}
		for _, a := range rest {
			s.net.Mend(a.name, stale.name)
		}
		took := s.within(15*time.Second, expelled(id, nodes[:4]...))
		gone.told(15 * time.Second)
		t.Logf("the stale member knew after %s", took)
		for range 40 {
			if err := expelled(id, nodes[:4]...)(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		s.end(nodes[:4]...)
	})
}

// TestExpulsionWithTheStoreDownHoldsByAMembersWord: the config home is down. The
// order is signed by the member that takes it, known to the others at once, kept
// over a restart, and a document as soon as the home is back.
func TestExpulsionWithTheStoreDownHoldsByAMembersWord(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(4)
		home, n2, n3, n4 := nodes[0], nodes[1], nodes[2], nodes[3]
		id := n4.id()
		home.kill()
		s.within(10*time.Second, func() error {
			code, err := n2.refusal("route/x")
			if err == nil && code != muster.CodeConfigHomeDown {
				err = fmt.Errorf("a write answers %s", code)
			}
			return err
		})
		e := n2.mustExpel("n4")
		if !e.Provisional || e.Rev != 0 || e.Expires.Sub(e.At) != muster.ProvisionalFor {
			t.Errorf("the order was answered with %+v", e)
		}
		if m, err := n3.holds(id); err != nil || m.State != muster.StateExpelled {
			t.Errorf("n3 holds it %s when the order is answered, %v", m.State, err)
		}
		n4.told(10 * time.Second)
		if status, data, _ := n3.request(http.MethodPost, "/v1/members/n4:readmit", ""); status != http.StatusServiceUnavailable {
			t.Errorf("readmitting without the store answered %d %s", status, data)
		}
		n3.stop()
		n3.start()
		s.within(15*time.Second, func() error {
			m, err := n3.holds(id)
			if err == nil && m.State != muster.StateExpelled {
				err = fmt.Errorf("n3 has forgotten: %s", m.State)
			}
			return err
		})
		n4.start()
		n4.told(15 * time.Second)

		home.revive()
		took := s.within(20*time.Second, func() error {
			for _, n := range []*simNode{home, n2, n3} {
				var doc muster.Document
				if err := n.get("/v1/config/tombstone/"+string(id), &doc); err != nil {
					return err
				}
				if doc.Reason != "stolen laptop" || !strings.HasPrefix(doc.UpdatedBy, "test") {
					t.Fatalf("the document says %+v", doc)
				}
			}
			return expelled(id, home, n2, n3)()
		})
		t.Logf("a document on all nodes %s after the home was started", took)
		if status, data, err := home.request(http.MethodPost, "/v1/members/n4:readmit", ""); status != http.StatusNoContent {
			t.Fatalf("readmit: %d %s %v", status, data, err)
		}
		n4.start()
		s.formed(20*time.Second, home, n2, n3, n4)
		s.end(nodes...)
	})
}

// TestAProvisionalExpulsionLapsesAfterADay when the store does not come back.
func TestAProvisionalExpulsionLapsesAfterADay(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(4)
		home, n2, n3, n4 := nodes[0], nodes[1], nodes[2], nodes[3]
		id := n4.id()
		home.kill()
		time.Sleep(5 * time.Second)
		n2.mustExpel("n4")
		n4.told(10 * time.Second)
		n2.stop()
		n3.stop()
		time.Sleep(muster.ProvisionalFor)
		n2.start()
		n3.start()
		n4.start()
		s.within(20*time.Second, func() error {
			m, err := n2.holds(id)
			if err == nil && m.State != muster.StateAlive {
				err = fmt.Errorf("it is %s", m.State)
			}
			return err
		})
		s.end(n2, n3, n4)
	})
}

// TestWhoMustNotBeExpelled: the config home never, the node that answers and a
// majority only by force.
func TestWhoMustNotBeExpelled(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := s.company(3)
		home, n2, n3 := nodes[0], nodes[1], nodes[2]
		refused := func(n *simNode, who, body, words string) {
			t.Helper()
			status, _, err := n.expel(who, body)
			if status != http.StatusConflict || err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("expel %s at %s with %s: %d %v, want a conflict that says %q", who, n.name, body, status, err, words)
			}
		}
		const why, forced = `{"reason":"stolen laptop"}`, `{"reason":"stolen laptop","force":true}`
		refused(n2, "n1", why, "keeps the configuration")
		refused(n2, "n1", forced, "keeps the configuration")
		refused(n2, "n2", why, "it would stop")
		spec := fmt.Sprintf(`{"node_id":%q,"at":"2030-01-01T00:00:00Z","by":"me"}`, home.id())
		if status, data, err := n2.request(http.MethodPut, "/v1/config/tombstone/"+string(home.id()), spec, "If-None-Match", "*"); status != http.StatusConflict {
			t.Errorf("a tombstone of the home as a plain document: %d %s %v", status, data, err)
		}
		if status, _, _ := n2.expel("n3", `{}`); status != http.StatusBadRequest {
			t.Errorf("an order without a reason answered %d", status)
		}
		id := n3.id()
		for _, other := range []*simNode{home, n3} {
			s.net.Cut(n2.name, other.name)
		}
		s.within(10*time.Second, func() error {
			m, err := n2.holds(id)
			if err == nil && m.State != muster.StateDead {
				err = fmt.Errorf("it is %s", m.State)
			}
			return err
		})
		refused(n2, "n3", why, "no majority")
		for _, other := range []*simNode{home, n3} {
			s.net.Mend(n2.name, other.name)
		}
		s.formed(30*time.Second, nodes...)
		if _, _, err := n2.expel("n2", forced); err != nil {
			t.Errorf("a node may expel itself by force: %v", err)
		}
		n2.told(15 * time.Second)
		s.end(home, n3)
	})
}

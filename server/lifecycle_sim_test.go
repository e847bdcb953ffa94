package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store/memory"
)

// order posts an order about a member, and wants the status.
func (n *simNode) order(member, verb, reason string, want int) []byte {
	n.s.t.Helper()
	status, data, err := n.request(http.MethodPost, "/v1/members/"+member+":"+verb+"?reason="+url.QueryEscape(reason), "")
	if err != nil || status != want {
		n.s.t.Fatalf("%s %s at %s: %d %s %v, want %d", verb, member, n.name, status, data, err, want)
	}
	return data
}

// says returns what a node says of a member.
func (n *simNode) says(member string) (m muster.Member, err error) {
	var list struct{ Members []muster.Member }
	if err := n.get("/cluster/members", &list); err != nil {
		return m, err
	}
	i := slices.IndexFunc(list.Members, func(m muster.Member) bool { return m.Name == member })
	if i < 0 {
		return m, fmt.Errorf("%s does not list %s: %w", n.name, member, errUnlisted)
	}
	return list.Members[i], nil
}

var errUnlisted = errors.New("not listed")

// forgotten reports nil once no observer lists the member, and all count so many.
func forgotten(member string, size int, observers ...*simNode) error {
	for _, n := range observers {
		if m, err := n.says(member); !errors.Is(err, errUnlisted) {
			return fmt.Errorf("%s still lists %s as %s (%v)", n.name, member, m.State, err)
		}
		if st, err := n.status(); err != nil || st.ClusterSize != size {
			return fmt.Errorf("%s counts %d, want %d (%v)", n.name, st.ClusterSize, size, err)
		}
	}
	return nil
}

// drained reports nil once all observers say that, by whom and why a member drains.
func drained(member, reason string, observers ...*simNode) error {
	for _, n := range observers {
		m, err := n.says(member)
		if err != nil {
			return err
		}
		if m.State != muster.StateDraining || !strings.Contains(m.Reason, reason) {
			return fmt.Errorf("%s says that %s is %s: %s", n.name, member, m.State, m.Reason)
		}
	}
	return nil
}

// readiness returns the status of /ready and the condition that fails.
func (n *simNode) readiness() (status int, failing muster.Condition, err error) {
	status, data, err := n.request(http.MethodGet, "/ready", "")
	if err != nil {
		return status, failing, err
	}
	var body struct{ Conditions []muster.Condition }
	err = json.Unmarshal(data, &body)
	for _, c := range body.Conditions {
		if !c.OK {
			return status, c, err
		}
	}
	return status, failing, err
}

// TestSimulatedDrainIsTheMembersOwn: ordered at one node, done by another, seen by a
// third, kept over a restart, lifted by resume.
func TestSimulatedDrainIsTheMembersOwn(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		s.within(time.Second, func() error { _, err := a.says("n3"); return err })
		a.order("n3", "drain", "new kernel", http.StatusOK)
		took := s.within(2*time.Second, func() error { return drained("n3", "drained by test", a, b, c) })
		s.t.Logf("drain known to all after %s", took)
		s.within(time.Second, func() error { return drained("n3", "new kernel", a, b, c) })
		if status, cond, err := c.readiness(); err != nil || status != http.StatusServiceUnavailable || cond.Code != muster.CodeDraining || !strings.Contains(cond.Text, "new kernel") {
			s.t.Errorf("/ready of the drained node: %d %+v %v", status, cond, err)
		}
		b.order("n3", "drain", "another reason", http.StatusOK)
		if err := c.create("route/by-drained", `{}`); err != nil {
			s.t.Errorf("a drained node is a member still: %v", err)
		}
		c.stop()
		s.within(5*time.Second, func() error { return call("n3", muster.StateLeft, a, b) })
		c.start()
		took = s.within(5*time.Second, func() error { return drained("n3", "new kernel", a, b, c) })
		s.t.Logf("restarted, draining still, known to all after %s", took)

		b.order("n3", "resume", "", http.StatusOK)
		s.t.Logf("resumed, known to all after %s", s.formed(2*time.Second, a, b, c))
		if status, _, err := c.readiness(); err != nil || status != http.StatusOK {
			s.t.Errorf("/ready of the resumed node: %d %v", status, err)
		}
		c.order("n3", "drain", "second time", http.StatusOK)
		s.within(15*time.Second, func() error { return drained("n3", "second time", a, b, c) })
		for _, n := range []*simNode{c, b, a} {
			n.stop()
		}
	})
}

func TestSimulatedOrdersToTheGoneAreRefused(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		c.kill()
		s.within(5*time.Second, func() error { return call("n3", muster.StateDead, a, b) })
		for _, verb := range []string{"drain", "resume"} {
			var p struct{ Code muster.Code }
			if err := json.Unmarshal(a.order("n3", verb, "", http.StatusConflict), &p); err != nil || p.Code != muster.CodeMemberGone {
				s.t.Errorf("%s a dead member: %+v %v", verb, p, err)
			}
			a.order("n9", verb, "", http.StatusNotFound)
		}
		b.stop()
		a.stop()
	})
}

// TestSimulatedRemovedMemberIsForgottenByAll, and comes back if it is started again.
func TestSimulatedRemovedMemberIsForgottenByAll(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		d := s.node("n4", joining(a)).start()
		s.formed(5*time.Second, a, b, c, d)
		var p struct {
			Code muster.Code
			Fix  string
		}
		if err := json.Unmarshal(b.order("n3", "remove", "", http.StatusConflict), &p); err != nil || p.Code != muster.CodeMemberAlive || !strings.Contains(p.Fix, "muster leave") {
			s.t.Errorf("removing a live member: %+v %v", p, err)
		}
		c.kill()
		s.within(5*time.Second, func() error { return call("n3", muster.StateDead, a, b, d) })
		b.order("n3", "remove", "disk failed", http.StatusNoContent)
		if err := forgotten("n3", 3, a, b, d); err != nil {
			s.t.Errorf("when the order was answered: %v", err)
		}
		s.formed(time.Second, a, b, d)
		stays := time.Now().Add(5 * time.Minute)
		s.within(10*time.Minute, func() error {
			if err := forgotten("n3", 3, a, b, d); err != nil {
				s.t.Fatalf("it came back without being started: %v", err)
			}
			time.Sleep(time.Second)
			if time.Now().Before(stays) {
				return errors.New("not yet")
			}
			return nil
		})
		c.revive()
		s.t.Logf("joined again after %s", s.formed(15*time.Second, a, b, c, d))
		for _, n := range []*simNode{d, c, b, a} {
			n.stop()
		}
	})
}

// TestSimulatedMemberThatMissesARemovalForgetsToo: the durable list says it all.
func TestSimulatedMemberThatMissesARemovalForgetsToo(t *testing.T) {
	simulate(t, func(s *sim) {
		s.shared = memory.New()
		a, b, c := s.node("n1", nil).start(), s.node("n2", nil).start(), s.node("n3", nil).start()
		s.formed(5*time.Second, a, b, c)
		c.kill()
		s.within(5*time.Second, func() error { return call("n3", muster.StateDead, a, b) })
		s.net.Partition([]string{"n1", "client"}, []string{"n2"})
		s.within(10*time.Second, func() error { return call("n2", muster.StateDead, a) })
		a.order("n3", "remove", "", http.StatusNoContent)
		s.net.MendAll()
		s.t.Logf("the other one forgot after %s", s.within(3*time.Minute, func() error { return forgotten("n3", 2, a, b) }))
		b.stop()
		a.stop()
	})
}

func reaping(left, dead time.Duration) func(*server.Config) {
	return func(cfg *server.Config) { cfg.ReapLeftAfter, cfg.ReapDeadAfter = left, dead }
}

func (n *simNode) plan() (plan muster.ReapPlan, err error) {
	err = n.get("/v1/members:reap", &plan)
	return plan, err
}

// TestSimulatedReapingTakesTheGoneByTheirAge: of five nodes one leaves and one dies.
func TestSimulatedReapingTakesTheGoneByTheirAge(t *testing.T) {
	const left, dead = 4 * time.Minute, 8 * time.Minute
	simulate(t, func(s *sim) {
		s.shared = memory.New()
		var nodes []*simNode
		for i := range 5 {
			nodes = append(nodes, s.node(fmt.Sprintf("n%d", i+1), reaping(left, dead)).start())
		}
		s.formed(10*time.Second, nodes...)
		rest := nodes[:3]
		nodes[3].stop()
		nodes[4].kill()
		begun := time.Now()
		s.within(30*time.Second, func() error { return call("n5", muster.StateDead, rest...) })
		for _, n := range rest {
			s.within(15*time.Second, func() error { return due(n, begun, left, dead) })
		}
		time.Sleep(left - time.Since(begun) - 15*time.Second)
		if st, err := rest[0].status(); err != nil || st.ClusterSize != 5 {
			s.t.Errorf("before anything is due the list has %d (%v)", st.ClusterSize, err)
		}
		s.within(2*time.Minute, func() error { return forgotten("n4", 4, rest...) })
		s.t.Logf("the one that left: off the list after %s", time.Since(begun))
		time.Sleep(dead - time.Since(begun) - 15*time.Second)
		if st, err := rest[0].status(); err != nil || st.ClusterSize != 4 {
			s.t.Errorf("before the dead one is due the list has %d (%v)", st.ClusterSize, err)
		}
		s.within(2*time.Minute, func() error { return forgotten("n5", 3, rest...) })
		s.t.Logf("the dead one: off the list after %s", time.Since(begun))
		s.formed(time.Second, rest...)
		for _, n := range rest {
			n.stop()
		}
	})
}

// due reports nil if a node plans to reap n4, that left, and later n5, that died.
func due(n *simNode, begun time.Time, left, dead time.Duration) error {
	plan, err := n.plan()
	if err != nil {
		return err
	}
	if plan.Held != "" || plan.Most != 2 || plan.Size != 5 || len(plan.Members) != 2 {
		return fmt.Errorf("plan %+v", plan)
	}
	for i, after := range []time.Duration{left, dead} {
		m := plan.Members[i]
		if off := m.Due.Sub(begun.Add(after)).Abs(); m.Name != fmt.Sprintf("n%d", 4+i) || m.Next || m.Never || off > 15*time.Second {
			return fmt.Errorf("%d. of the plan: %s off: %+v", i+1, off, m)
		}
	}
	return nil
}

// TestSimulatedPartitionReapsNobodyOnTheSmallSide, although it keeps the list and
// everybody on the other side is long due.
func TestSimulatedPartitionReapsNobodyOnTheSmallSide(t *testing.T) {
	simulate(t, func(s *sim) {
		home := s.node("n1", reaping(time.Minute, time.Minute)).start()
		nodes := []*simNode{home}
		for i := range 4 {
			n := s.node(fmt.Sprintf("n%d", i+2), nil)
			n.change = func(cfg *server.Config) { joining(home)(cfg); reaping(time.Minute, time.Minute)(cfg) }
			nodes = append(nodes, n.start())
		}
		s.formed(10*time.Second, nodes...)
		s.net.Partition([]string{"n1", "n2", "client"}, []string{"n3", "n4", "n5"})
		s.within(10*time.Second, func() error { return call("n5", muster.StateDead, nodes[:2]...) })
		time.Sleep(10 * time.Minute)
		plan, err := home.plan()
		if err != nil || plan.Size != 5 || !strings.Contains(plan.Held, "2 of 5") || len(plan.Members) != 3 {
			s.t.Errorf("plan in the minority: %+v %v", plan, err)
		}
		if slices.ContainsFunc(plan.Members, func(m muster.Reapable) bool { return m.Next || m.Due.After(time.Now()) }) {
			s.t.Errorf("all are due and none is next: %+v", plan.Members)
		}
		s.net.MendAll()
		s.t.Logf("whole again after %s", s.formed(30*time.Second, nodes...))
		if plan, err = home.plan(); err != nil || plan.Held != "" || plan.Size != 5 || len(plan.Members) != 0 {
			s.t.Errorf("plan afterwards: %+v %v", plan, err)
		}
		for _, n := range slices.Backward(nodes) {
			n.stop()
		}
	})
}

// TestSimulatedReapingWaitsForTheMajority: two of five left and are due, but nobody
// reaps them while a third one is down.
func TestSimulatedReapingWaitsForTheMajority(t *testing.T) {
	simulate(t, func(s *sim) {
		home := s.node("n1", reaping(90*time.Second, 0)).start()
		nodes := []*simNode{home}
		for i := range 4 {
			n := s.node(fmt.Sprintf("n%d", i+2), nil)
			n.change = func(cfg *server.Config) { joining(home)(cfg); reaping(90*time.Second, 0)(cfg) }
			nodes = append(nodes, n.start())
		}
		s.formed(10*time.Second, nodes...)
		nodes[4].stop()
		nodes[3].stop()
		nodes[2].kill()
		s.within(10*time.Second, func() error { return call("n3", muster.StateDead, nodes[:2]...) })
		time.Sleep(4 * time.Minute)
		plan, err := nodes[1].plan()
		if err != nil || plan.Size != 5 || !strings.Contains(plan.Held, "2 of 5") || !plan.Members[2].Never && !plan.Members[0].Never {
			s.t.Errorf("two of five are no majority, and the dead are never reaped here: %+v %v", plan, err)
		}
		nodes[2].revive()
		took := s.within(3*time.Minute, func() error {
			return errors.Join(forgotten("n4", 3, nodes[:3]...), forgotten("n5", 3, nodes[:3]...))
		})
		s.t.Logf("with a majority again, both went within %s", took)
		for _, n := range slices.Backward(nodes[:3]) {
			n.stop()
		}
	})
}

// TestSimulatedFormByForce: refused while a cluster is in sight, done when there is
// none, once.
func TestSimulatedFormByForce(t *testing.T) {
	simulate(t, func(s *sim) {
		other := s.node("n2", nil)
		waiting := s.node("n1", joining(other)).start()
		s.within(5*time.Second, func() error { _, err := waiting.status(); return err })
		form := func(n *simNode, want int) (info muster.ClusterInfo) {
			s.t.Helper()
			status, data, err := n.request(http.MethodPost, "/v1/cluster:form", "")
			if err != nil || status != want || json.Unmarshal(data, &info) != nil {
				s.t.Fatalf("form at %s: %d %s %v, want %d", n.name, status, data, err, want)
			}
			return info
		}
		var before muster.ClusterInfo
		if err := waiting.get("/v1/cluster", &before); err != nil || before.ID != "" || before.Formation != "none" {
			s.t.Errorf("before: %+v %v", before, err)
		}
		info := form(waiting, http.StatusOK)
		if !info.ID.Valid() || info.HomeName != "n1" || info.Store != "sqlite" || info.Size != 1 || len(info.Accepted) != 1 {
			s.t.Errorf("formed: %+v", info)
		}
		s.formed(5*time.Second, waiting)
		form(waiting, http.StatusConflict)

		third := s.node("n3", func(cfg *server.Config) { cfg.BootstrapExpect = 3; joining(waiting)(cfg) })
		s.net.Partition([]string{"n3", "client"}, []string{"n1"})
		third.start()
		s.within(5*time.Second, func() error { _, err := third.status(); return err })
		s.net.MendAll()
		form(third, http.StatusConflict)
		s.formed(30*time.Second, waiting, third)
		third.stop()
		waiting.stop()
	})
}

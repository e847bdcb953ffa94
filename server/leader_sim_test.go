package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store/memory"
)

// leader returns who all the nodes agree to be the leader, which says so of itself.
func leader(nodes ...*simNode) (*simNode, error) {
	var lead *simNode
	var id muster.NodeID
	for _, n := range nodes {
		st, err := n.status()
		if err != nil {
			return nil, err
		}
		if st.LeaderID == "" || id != "" && st.LeaderID != id || st.IsLeader != (st.LeaderID == st.NodeID) {
			return nil, fmt.Errorf("%s (%s) says that %q leads, itself: %t; others say %q", n.name, st.NodeID, st.LeaderID, st.IsLeader, id)
		}
		if id = st.LeaderID; st.IsLeader {
			lead = n
			if st.LeaderAddress != n.url() {
				return nil, fmt.Errorf("%s leads at %q", n.name, st.LeaderAddress)
			}
		}
	}
	if lead == nil {
		return nil, errors.New("the leader is none of them")
	}
	return lead, nil
}

// elected waits until all nodes agree on a leader other than not.
func (s *sim) elected(limit time.Duration, not *simNode, nodes ...*simNode) (lead *simNode, took time.Duration) {
	s.t.Helper()
	took = s.within(limit, func() (err error) {
		if lead, err = leader(nodes...); err == nil && lead == not {
			err = fmt.Errorf("%s leads still", lead.name)
		}
		return err
	})
	return lead, took
}

func without(out *simNode, nodes ...*simNode) (rest []*simNode) {
	for _, n := range nodes {
		if n != out {
			rest = append(rest, n)
		}
	}
	return rest
}

// gauge reads a metric without labels of a node.
func (n *simNode) gauge(name string) float64 {
	n.s.t.Helper()
	families, err := n.metrics.Gather()
	if err != nil {
		n.s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	n.s.t.Fatalf("%s has no metric %s", n.name, name)
	return 0
}

// withDatabase makes three nodes that share a database, and waits for a leader.
func withDatabase(s *sim) (nodes []*simNode, lead *simNode) {
	s.shared = memory.New()
	for _, name := range []string{"n1", "n2", "n3"} {
		nodes = append(nodes, s.node(name, nil).start())
	}
	s.formed(15*time.Second, nodes...)
	lead, _ = s.elected(5*time.Second, nil, nodes...)
	return nodes, lead
}

// TestSimulatedLeaderIsReplacedWhenItDies kills the leader again and again.
func TestSimulatedLeaderIsReplacedWhenItDies(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes, lead := withDatabase(s)
		var worst time.Duration
		for range 5 {
			time.Sleep(317 * time.Millisecond)
			rest := without(lead, nodes...)
			lead.kill()
			next, took := s.elected(3*time.Second, lead, rest...)
			worst = max(worst, took)
			lead.revive()
			s.formed(30*time.Second, nodes...)
			lead, _ = s.elected(time.Second, nil, nodes...)
			if lead != next {
				s.t.Errorf("%s took over from %s, which was well", lead.name, next.name)
			}
		}
		s.t.Logf("5 kills of the leader, all survivors agree on the next one after at most %s", worst)
		if worst > 2100*time.Millisecond {
			s.t.Errorf("that took %s, want at most the lease of 2 s and a look", worst)
		}
		for _, n := range nodes {
			if is := n.gauge("muster_cluster_is_leader"); (is == 1) != (n == lead) {
				s.t.Errorf("%s: muster_cluster_is_leader is %v", n.name, is)
			}
		}
		if n := lead.gauge("muster_cluster_leader_changes_total"); n < 1 {
			s.t.Errorf("muster_cluster_leader_changes_total is %v", n)
		}
		stopAll(nodes)
	})
}

// TestSimulatedLeaderHandsOver when it is drained, told to step down, and stopped.
func TestSimulatedLeaderHandsOver(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes, lead := withDatabase(s)
		handed := func(how string, next *simNode, took time.Duration) {
			s.t.Helper()
			s.t.Logf("%s: all agree on %s after %s", how, next.name, took)
			if took > 100*time.Millisecond { // asking three nodes one after the other takes part of it
				s.t.Errorf("%s: handed over after %s", how, took)
			}
		}
		drained := lead
		lead.order(lead.name, "drain", "new kernel", http.StatusOK)
		lead, took := s.elected(3*time.Second, drained, nodes...)
		handed("drain", lead, took)

		asked := without(lead, without(drained, nodes...)...)[0]
		if status, data, err := asked.request(http.MethodPost, "/v1/leases/leader:release?reason=test", ""); err != nil || status != http.StatusNoContent {
			s.t.Fatalf("release: %d %s %v", status, data, err)
		}
		before := lead
		lead, took = s.elected(3*time.Second, before, nodes...)
		handed("release", lead, took)
		if lead == drained {
			s.t.Errorf("the drained node leads")
		}
		drained.order(drained.name, "resume", "", http.StatusOK)
		s.formed(5*time.Second, nodes...)

		rest := without(lead, nodes...)
		gone := make(chan struct{})
		go func(n *simNode) { defer close(gone); n.stop() }(lead)
		_, took = s.elected(3*time.Second, lead, rest...)
		handed("stop", lead, took)
		<-gone
		stopAll(rest)
	})
}

// TestSimulatedLeasesAreListed at every node alike, with the errors of releasing.
func TestSimulatedLeasesAreListed(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes, lead := withDatabase(s)
		st, err := lead.status()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, n := range nodes {
			var body struct{ Leases []muster.LeaseInfo }
			if err := n.get("/v1/leases", &body); err != nil {
				s.t.Fatal(err)
			}
			if len(body.Leases) != 1 {
				s.t.Fatalf("%s: %+v", n.name, body)
			}
			if l := body.Leases[0]; l.Name != muster.LeaderLease || l.HolderID != st.NodeID || l.Holder != lead.name || l.Term == 0 || l.ExpiresIn <= 0 || l.ExpiresIn > 2 {
				s.t.Errorf("%s: %+v", n.name, l)
			}
		}
		if status, _, err := nodes[0].request(http.MethodPost, "/v1/leases/unheard-of:release", ""); err != nil || status != http.StatusNotFound {
			s.t.Errorf("release of no lease: %d %v", status, err)
		}
		stopAll(nodes)
	})
}

// TestSimulatedNobodyLeadsWithoutTheStore: with the config home down the leader stops
// by its own clock; the status says why, and who leads again when it is back.
func TestSimulatedNobodyLeadsWithoutTheStore(t *testing.T) {
	simulate(t, func(s *sim) {
		home, b, c := chain(s)
		s.formed(5*time.Second, home, b, c)
		s.elected(5*time.Second, nil, home, b, c)
		home.kill()
		took := s.within(3*time.Second, func() error {
			for _, n := range []*simNode{b, c} {
				if st, err := n.status(); err != nil || st.LeaderID != "" || st.IsLeader || st.LeaderAddress != "" {
					return fmt.Errorf("%s: %q leads (%v)", n.name, st.LeaderID, err)
				}
			}
			return nil
		})
		s.t.Logf("nobody leads %s after the config home was killed", took)
		s.within(6*time.Second, func() error {
			for _, n := range []*simNode{b, c} {
				p, st, err := n.problem(muster.CodeNoLeader)
				if err != nil {
					return err
				}
				if !strings.Contains(p.Text, string(muster.CodeConfigHomeDown)) || p.Fix == "" {
					return fmt.Errorf("%s: no word of why nobody leads: %+v", n.name, st.Problems)
				}
			}
			return nil
		})
		home.revive()
		lead, took := s.elected(30*time.Second, nil, home, b, c)
		s.t.Logf("%s leads %s after the config home is back", lead.name, took)
		if p, st, err := lead.problem(muster.CodeNoLeader); err != nil || p.Code != "" {
			s.t.Errorf("%+v %v", st.Problems, err)
		}
		stopAll([]*simNode{c, b, home})
	})
}

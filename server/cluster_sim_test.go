package server_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store/memory"
)

func joining(nodes ...*simNode) func(*server.Config) {
	return func(cfg *server.Config) {
		for _, n := range nodes {
			cfg.JoinEndpoints = append(cfg.JoinEndpoints, n.url())
		}
	}
}

// chain starts three nodes, 2 joining via 1 and 3 via 2.
func chain(s *sim) (a, b, c *simNode) {
	a = s.node("n1", nil).start()
	b = s.node("n2", joining(a)).start()
	c = s.node("n3", joining(b)).start()
	return a, b, c
}

func TestSimulatedThreeNodesLiveThroughAKill(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.t.Logf("formed after %s", s.formed(5*time.Second, a, b, c))
		killAndReturn(s, a, b, c)
		for _, n := range []*simNode{c, b, a} {
			n.stop()
		}
	})
}

func TestSimulatedThreeNodesOnOneDatabase(t *testing.T) {
	simulate(t, func(s *sim) {
		s.shared = memory.New()
		a, b, c := s.node("n1", nil).start(), s.node("n2", nil).start(), s.node("n3", nil).start()
		s.t.Logf("formed after %s", s.formed(5*time.Second, a, b, c))
		killAndReturn(s, a, b, c)
		for _, n := range []*simNode{a, b, c} {
			n.stop()
		}
	})
}

// killAndReturn writes, kills b, writes on, and brings b back.
func killAndReturn(s *sim, a, b, c *simNode) {
	s.t.Helper()
	if err := c.create("route/demo", `{"weight":10}`); err != nil {
		s.t.Fatal(err)
	}
	took := s.within(time.Second, func() error { return agree(1, a, b, c) })
	s.t.Logf("write on all after %s", took)
	before, err := b.status()
	if err != nil {
		s.t.Fatal(err)
	}
	b.kill()
	took = s.within(2*time.Second, func() error { return call("n2", muster.StateDead, a, c) })
	s.t.Logf("death known to both after %s", took)
	if st, err := a.status(); err != nil || !slices.ContainsFunc(st.Problems, func(p muster.Problem) bool {
		return p.Code == muster.CodeMembersMissing && p.Text == "n2 is dead" && p.Fix != ""
	}) {
		s.t.Errorf("no problem names the dead member and what to do: %+v %v", st.Problems, err)
	}
	if err := c.create("route/second", `{}`); err != nil {
		s.t.Fatalf("write with one node down: %v", err)
	}
	b.revive()
	took = s.formed(3*time.Second, a, b, c)
	s.t.Logf("back after %s", took)
	if err := agree(2, a, b, c); err != nil {
		s.t.Error(err)
	}
	if after, err := b.status(); err != nil || after.NodeID != before.NodeID {
		s.t.Errorf("node id is %s after the restart (%v), was %s", after.NodeID, err, before.NodeID)
	}
}

// agree reports nil if all nodes serve that revision with the same chain.
func agree(rev int64, nodes ...*simNode) error {
	var chain muster.Hash
	for i, n := range nodes {
		s, err := n.status()
		if err != nil {
			return err
		}
		if i == 0 {
			chain = s.Config.Chain
		}
		if s.Config.Rev != rev || s.Config.Chain != chain {
			return fmt.Errorf("%s is at %d/%s, want %d/%s", n.name, s.Config.Rev, s.Config.Chain.Short(), rev, chain.Short())
		}
	}
	return nil
}

// call reports nil if all observers say that the member is in the state.
func call(member string, want muster.State, observers ...*simNode) error {
	for _, n := range observers {
		var list struct{ Members []muster.Member }
		if err := n.get("/cluster/members", &list); err != nil {
			return err
		}
		i := slices.IndexFunc(list.Members, func(m muster.Member) bool { return m.Name == member })
		if i < 0 || list.Members[i].State != want {
			return fmt.Errorf("%s says of %s: %+v", n.name, member, list.Members)
		}
	}
	return nil
}

func TestSimulatedHomeDownKeepsReadsAndRefusesWrites(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		if err := b.create("route/demo", `{"weight":10}`); err != nil {
			s.t.Fatal(err)
		}
		s.within(time.Second, func() error { return agree(1, a, b, c) })
		a.kill()
		for _, n := range []*simNode{b, c} {
			var d muster.Document
			if err := n.get("/v1/config/route/demo", &d); err != nil || d.Rev != 1 {
				s.t.Errorf("read at %s: %+v %v", n.name, d, err)
			}
			if code, err := n.refusal("route/x"); err != nil || code != muster.CodeConfigHomeDown {
				s.t.Errorf("write at %s is refused with %q (%v), want config-home-down", n.name, code, err)
			}
		}
		a.revive()
		s.within(5*time.Second, func() error { return c.create("route/x", `{}`) })
		s.formed(10*time.Second, a, b, c)
		for _, n := range []*simNode{c, b, a} {
			n.stop()
		}
	})
}

func TestSimulatedDatabaseOutage(t *testing.T) {
	simulate(t, func(s *sim) {
		s.shared = memory.New()
		a, b := s.node("n1", nil).start(), s.node("n2", nil).start()
		s.formed(5*time.Second, a, b)
		if err := a.create("route/demo", `{"weight":10}`); err != nil {
			s.t.Fatal(err)
		}
		s.within(time.Second, func() error { return agree(1, a, b) })
		s.database(memory.Faults{Down: true})
		for _, n := range []*simNode{a, b} {
			var d muster.Document
			if err := n.get("/v1/config/route/demo", &d); err != nil || d.Rev != 1 {
				s.t.Errorf("read at %s: %+v %v", n.name, d, err)
			}
			if code, err := n.refusal("route/x"); err != nil || code != muster.CodeStoreUnavailable {
				s.t.Errorf("write at %s is refused with %q (%v), want store-unavailable", n.name, code, err)
			}
			var ready struct{ Ready bool }
			if err := n.get("/ready", &ready); err != nil || !ready.Ready {
				s.t.Errorf("/ready of %s with the store down: %v %v", n.name, ready, err)
			}
		}
		s.database(memory.Faults{})
		s.within(time.Second, func() error { return a.create("route/x", `{}`) })
		s.formed(10*time.Second, a, b)
		a.stop()
		b.stop()
	})
}

func TestSimulatedLateEndpointIsJoinedAndNobodyFormsAlone(t *testing.T) {
	simulate(t, func(s *sim) {
		late := s.node("late", nil)
		early := s.node("early", joining(late)).start()
		until := time.Now().Add(time.Minute)
		s.within(2*time.Minute, func() error {
			st, err := early.status()
			if err != nil {
				return err
			}
			if st.ClusterID != "" {
				s.t.Fatalf("formed %s of its own", st.ClusterID)
			}
			if time.Now().Before(until) {
				return fmt.Errorf("waiting")
			}
			return nil
		})
		late.start()
		s.t.Logf("joined after %s", s.formed(15*time.Second, early, late))
		early.stop()
		late.stop()
	})
}

func TestSimulatedWrongCookieIsExplainedToTheJoiner(t *testing.T) {
	simulate(t, func(s *sim) {
		a := s.node("n1", nil).start()
		s.formed(5*time.Second, a)
		stranger := s.node("stranger", func(cfg *server.Config) {
			cfg.Cookies = append(newRing(s.t), cfg.Cookies...)[:1]
			cfg.JoinEndpoints = []string{a.url()}
			cfg.AuthAnonymous = "read"
		}).start()
		s.within(10*time.Second, func() error {
			st := stranger.server.Status()
			if !slices.ContainsFunc(st.Problems, func(p muster.Problem) bool { return p.Code == muster.CodeCookieMismatch }) {
				return fmt.Errorf("problems: %+v", st.Problems)
			}
			return nil
		})
		s.formed(time.Second, a)
		stranger.stop()
		a.stop()
	})
}

func TestSimulatedBootstrapExpectFormsOneCluster(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := []*simNode{s.node("n1", nil), s.node("n2", nil), s.node("n3", nil)}
		for i, n := range nodes {
			next := nodes[(i+1)%3]
			n.change = func(cfg *server.Config) { cfg.BootstrapExpect, cfg.JoinEndpoints = 3, []string{next.url()} }
			n.start()
		}
		s.t.Logf("formed after %s", s.formed(5*time.Second, nodes...))
		for _, n := range nodes {
			n.stop()
		}
	})
}

func TestSimulatedPartitionHealsByItself(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		s.net.Partition([]string{"n1", "n2", "client"}, []string{"n3"})
		s.within(5*time.Second, func() error { return call("n3", muster.StateDead, a, b) })
		if err := a.create("route/demo", `{}`); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		s.net.MendAll()
		s.t.Logf("healed after %s", s.formed(15*time.Second, a, b, c))
		for _, n := range []*simNode{c, b, a} {
			n.stop()
		}
	})
}

func TestSimulatedUnreachableJoinerIsToldAndDisturbsNobody(t *testing.T) {
	simulate(t, func(s *sim) {
		a := s.node("n1", nil).start()
		s.formed(5*time.Second, a)
		lost := s.node("lost", func(cfg *server.Config) {
			cfg.Advertise = "http://nowhere:9113"
			cfg.JoinEndpoints = []string{a.url()}
		}).start()
		s.within(10*time.Second, func() error {
			problems := lost.server.Status().Problems
			if !slices.ContainsFunc(problems, func(p muster.Problem) bool { return p.Code == muster.CodeEndpointUnreachable }) {
				return fmt.Errorf("problems: %+v", problems)
			}
			return nil
		})
		if err := a.sees(1); err != nil {
			s.t.Errorf("the cluster was disturbed: %v", err)
		}
		lost.stop()
		a.stop()
	})
}

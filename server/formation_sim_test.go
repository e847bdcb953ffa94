package server_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/server"
)

// phonebook is a discovery method whose answer a test changes.
type phonebook struct {
	mu   sync.Mutex
	urls []string
}

func (p *phonebook) Name() string { return "phonebook" }

func (p *phonebook) Find(context.Context) (found []discovery.Candidate, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, url := range p.urls {
		found = append(found, discovery.Candidate{Endpoint: url})
	}
	return found, nil
}

func (p *phonebook) list(nodes ...*simNode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.urls = nil
	for _, n := range nodes {
		p.urls = append(p.urls, n.url())
	}
}

// endAll ends nodes at once, as gracefully as they can.
func endAll(nodes ...*simNode) {
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(n.stop)
	}
	wg.Wait()
	time.Sleep(10 * time.Second) // probes that were under way end by themselves
}

// shows reports nil once each of the nodes has a problem with that code.
func shows(code muster.Code, nodes ...*simNode) error {
	for _, n := range nodes {
		problems := n.server.Status().Problems
		if !slices.ContainsFunc(problems, func(p muster.Problem) bool { return p.Code == code }) {
			return fmt.Errorf("%s shows %+v, want %s", n.name, problems, code)
		}
	}
	return nil
}

// together starts nodes within a second with one and the same command.
func together(s *sim, size, expect int) (nodes []*simNode) {
	book := &phonebook{}
	for i := range size {
		nodes = append(nodes, s.node(fmt.Sprintf("n%d", i+1), func(cfg *server.Config) {
			cfg.BootstrapExpect, cfg.Discovery = expect, []discovery.Source{book}
		}))
	}
	book.list(nodes...)
	for _, n := range nodes {
		n.start()
		time.Sleep(time.Second / time.Duration(size))
	}
	return nodes
}

func TestSimulatedNodesThatExpectThreeAreOneClusterWithinThreeSeconds(t *testing.T) {
	for _, size := range []int{3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			simulate(t, func(s *sim) {
				nodes := together(s, size, 3)
				s.t.Logf("%d nodes are one cluster %s after the last start", size, s.formed(3*time.Second, nodes...))
				endAll(nodes...)
			})
		})
	}
}

func TestSimulatedNodesThatExpectEachOtherAreOneClusterWithinFiveSeconds(t *testing.T) {
	size := long(12, 50)
	simulate(t, func(s *sim) {
		nodes := together(s, size, size)
		took := s.within(5*time.Second, func() error { return seeAll(nodes) })
		s.t.Logf("%d nodes are one cluster %s after the last start", size, took)
		endAll(nodes...)
	})
}

// seeAll reports nil once every node sees all of them healthy in one cluster.
func seeAll(nodes []*simNode) error {
	id := nodes[0].server.Status().ClusterID
	for _, n := range nodes {
		if st := n.server.Status(); st.ClusterID != id || st.Members != len(nodes) || st.HealthyMembers != len(nodes) {
			return fmt.Errorf("%s in %q sees %d members, %d healthy", n.name, st.ClusterID, st.Members, st.HealthyMembers)
		}
	}
	return nil
}

func TestSimulatedClustersThatDiscoverEachOtherStayTwo(t *testing.T) {
	simulate(t, func(s *sim) {
		book := &phonebook{}
		finds := func(with ...*simNode) func(*server.Config) {
			return func(cfg *server.Config) {
				joining(with...)(cfg)
				cfg.Discovery, cfg.BootstrapExpect = []discovery.Source{book}, 1
			}
		}
		a1, b1 := s.node("a1", nil).start(), s.node("b1", nil).start()
		a2, b2 := s.node("a2", finds(a1)).start(), s.node("b2", finds(b1)).start()
		s.formed(5*time.Second, a1, a2)
		s.formed(5*time.Second, b1, b2)
		a, b := a1.server.Status().ClusterID, b1.server.Status().ClusterID
		book.list(a1, a2, b1, b2)
		s.t.Logf("alarm on all four after %s", s.within(10*time.Second, func() error {
			return shows(muster.CodeClusterMismatch, a1, a2, b1, b2)
		}))
		time.Sleep(10 * time.Minute)
		for n, want := range map[*simNode]muster.ClusterID{a1: a, a2: a, b1: b, b2: b} {
			if st := n.server.Status(); st.ClusterID != want || st.Members != 2 || st.HealthyMembers != 2 || st.ClusterSize != 2 {
				s.t.Errorf("%s: cluster %s, %d of %d members of %d; want %s and two", n.name, st.ClusterID, st.HealthyMembers, st.Members, st.ClusterSize, want)
			}
		}
		endAll(a1, a2, b1, b2)
	})
}

// A member comes back at another address; it is the same member to all.
func TestSimulatedMemberAtANewAddressIsKnownToAll(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		id := c.server.Status().NodeID
		c.stop()
		c.host = "n3-moved"
		c.change = func(cfg *server.Config) { cfg.NodeName = "n3"; joining(a)(cfg) }
		c.start()
		<-c.server.Ready()
		took := s.within(500*time.Millisecond, func() error {
			for _, n := range []*simNode{a, b} {
				var list struct{ Members []muster.Member }
				if err := n.get("/cluster/members", &list); err != nil {
					return err
				}
				i := slices.IndexFunc(list.Members, func(m muster.Member) bool { return m.ID == id })
				if len(list.Members) != 3 || i < 0 || list.Members[i].Endpoint != c.url() || list.Members[i].State != muster.StateAlive {
					return fmt.Errorf("%s lists %+v", n.name, list.Members)
				}
			}
			return nil
		})
		s.t.Logf("known to all %s after it was ready", took)
		s.formed(5*time.Second, a, b, c)
		endAll(a, b, c)
	})
}

// Every node of a cluster comes back somewhere else at once.
func TestSimulatedWholeClusterAtNewAddressesFindsItself(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := together(s, 5, 3)
		s.formed(5*time.Second, nodes...)
		id := nodes[0].server.Status().ClusterID
		for _, n := range nodes {
			n.kill()
		}
		moved := &phonebook{}
		for _, n := range nodes {
			name := n.name
			n.host += "-moved"
			n.change = func(cfg *server.Config) {
				cfg.NodeName, cfg.BootstrapExpect, cfg.Discovery = name, 3, []discovery.Source{moved}
			}
		}
		moved.list(nodes...)
		for _, n := range nodes {
			n.start()
		}
		s.t.Logf("one cluster at new addresses after %s", s.formed(10*time.Second, nodes...))
		for _, n := range nodes {
			if got := n.server.Status().ClusterID; got != id {
				s.t.Errorf("%s is in cluster %s, was in %s", n.name, got, id)
			}
		}
		endAll(nodes...)
	})
}

// Two halves restart apart from each other, so that neither has any memory of the
// other but on disk, and meet again.
func TestSimulatedHalvesThatRestartedApartMerge(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		d := s.node("n4", joining(a)).start()
		nodes := []*simNode{a, b, c, d}
		s.formed(5*time.Second, nodes...)
		id := a.server.Status().ClusterID
		time.Sleep(30 * time.Second) // the member list is on every disk
		for _, n := range nodes {
			n.kill()
			n.change = nil
		}
		s.net.Partition([]string{"n1", "n2", "client"}, []string{"n3", "n4"})
		for _, n := range nodes {
			n.revive()
		}
		time.Sleep(3 * time.Minute)
		s.net.MendAll()
		s.t.Logf("one cluster again after %s", s.formed(45*time.Second, nodes...))
		for _, n := range nodes {
			if got := n.server.Status().ClusterID; got != id {
				s.t.Errorf("%s is in cluster %s, was in %s", n.name, got, id)
			}
		}
		endAll(nodes...)
	})
}

// The node that everybody joined through is gone; the others restart and find each
// other.
func TestSimulatedClusterHealsWithoutItsSeed(t *testing.T) {
	simulate(t, func(s *sim) {
		seed := s.node("n1", nil).start()
		var others []*simNode
		for i := range 3 {
			others = append(others, s.node(fmt.Sprintf("n%d", i+2), joining(seed)).start())
		}
		s.formed(5*time.Second, append(others, seed)...)
		time.Sleep(30 * time.Second)
		seed.kill()
		for _, n := range others {
			n.kill()
			n.revive()
		}
		took := s.within(15*time.Second, func() error {
			for _, n := range others {
				if st := n.server.Status(); st.HealthyMembers != 3 {
					return fmt.Errorf("%s sees %d healthy members", n.name, st.HealthyMembers)
				}
			}
			return nil
		})
		s.t.Logf("the three others found each other after %s", took)
		endAll(others...)
	})
}

// A healthy cluster of five, with every way to name its members in use, makes no
// attempt to join (in ten minutes, in the long run).
func TestSimulatedHealthyClusterMakesNoJoinAttempts(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := together(s, 5, 3)
		s.formed(5*time.Second, nodes...)
		time.Sleep(time.Minute)
		before, health := attempts(s, nodes), time.Duration(long(2, 10))*time.Minute
		time.Sleep(health)
		if more := attempts(s, nodes) - before; more != 0 {
			s.t.Errorf("%v attempts to join in %s of health, want none", more, health)
		}
		endAll(nodes...)
	})
}

// attempts adds up what the nodes count.
func attempts(s *sim, nodes []*simNode) (sum float64) {
	s.t.Helper()
	for _, n := range nodes {
		families, err := n.metrics.Gather()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "muster_join_attempts_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

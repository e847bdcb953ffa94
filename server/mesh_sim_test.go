package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// firewall drops the new connections from one node to another that carry one of some
// channels: what an application-level proxy or a stateful filter does.
type firewall struct {
	from, to string
	channels []string // empty: all
	shut     atomic.Bool
}

// before puts the firewall before a node.
func (f *firewall) before(cfg *server.Config) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil || !strings.HasPrefix(address, f.to+":") {
			return c, err
		}
		return &filtered{Conn: c, f: f}, nil
	}
}

func (f *firewall) drops(request []byte) bool {
	return f.shut.Load() && (len(f.channels) == 0 || slices.ContainsFunc(f.channels, func(ch string) bool {
		return bytes.Contains(request, []byte("muster."+ch+".v1"))
	}))
}

// filtered is a connection through a firewall, which looks at the first write, the
// request, and swallows the whole connection if it does not like it.
type filtered struct {
	net.Conn
	f       *firewall
	once    sync.Once
	swallow bool
}

func (c *filtered) Write(b []byte) (int, error) {
	c.once.Do(func() { c.swallow = c.f.drops(b) })
	if c.swallow {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// cluster starts nodes that join by the first one and waits until all see all.
func cluster(s *sim, names []string, change func(name string, cfg *server.Config)) []*simNode {
	s.t.Helper()
	var nodes []*simNode
	for i, name := range names {
		n := s.node(name, func(cfg *server.Config) {
			if i > 0 {
				cfg.JoinEndpoints = []string{nodes[0].url()}
			}
			if change != nil {
				change(name, cfg)
			}
		})
		nodes = append(nodes, n.start())
	}
	s.formed(20*time.Second, nodes...)
	return nodes
}

func stopAll(nodes []*simNode) {
	for _, n := range slices.Backward(nodes) {
		n.stop()
	}
}

// problem returns the first problem of a code that a node shows.
func (n *simNode) problem(code muster.Code) (muster.Problem, muster.Status, error) {
	st, err := n.status()
	if err != nil {
		return muster.Problem{}, st, err
	}
	i := slices.IndexFunc(st.Problems, func(p muster.Problem) bool { return p.Code == code })
	if i < 0 {
		return muster.Problem{}, st, nil
	}
	return st.Problems[i], st, nil
}

// partial reports nil once all nodes show a partial mesh with that text and are DEGRADED.
func partial(text string, nodes []*simNode) error {
	for _, n := range nodes {
		p, st, err := n.problem(muster.CodePartialMesh)
		if err != nil {
			return err
		}
		if !strings.Contains(p.Text, text) || st.ClusterHealth != muster.Degraded || p.Fix == "" || p.Since.IsZero() {
			return fmt.Errorf("%s: %s, problem %+v", n.name, st.ClusterHealth, p)
		}
	}
	return nil
}

func TestSimulatedBlockedStreamsAreAPartialMeshOnAllNodes(t *testing.T) {
	for _, c := range []struct {
		name     string
		channels []string
		text     string
	}{
		{"streams of one direction", []string{"stream"}, "n1 does not reach n3: state streams: no answer in time (packets and calls pass); n3 reaches n1"},
		{"everything of one direction", nil, "n1 does not reach n3: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, func(s *sim) {
				wall := &firewall{from: "n1", to: "n3", channels: c.channels}
				nodes := cluster(s, []string{"n1", "n2", "n3", "n4"}, func(name string, cfg *server.Config) {
					if name == wall.from {
						wall.before(cfg)
					}
				})
				time.Sleep(10 * time.Second)
				if err := partial("", nodes); err == nil {
					s.t.Fatal("a partial mesh without a fault")
				}
				wall.shut.Store(true)
				took := s.within(10*time.Second, func() error { return partial(c.text, nodes) })
				s.t.Logf("all name both nodes after %s", took)
				wall.shut.Store(false)
				took = s.formed(10*time.Second, nodes...)
				s.t.Logf("cleared after %s", took)
				quiet(s, nodes)
				stopAll(nodes)
			})
		})
	}
}

// quiet fails for every member that a node has called suspect or dead.
func quiet(s *sim, nodes []*simNode) {
	s.t.Helper()
	for _, n := range nodes {
		for _, e := range n.events() {
			if e.Kind == muster.EventMemberState && (e.To == "suspect" || e.To == "dead") {
				s.t.Errorf("%s: %s", n.name, e.Text)
			}
		}
	}
}

// events returns the events of a node so far.
func (n *simNode) events() []muster.Event {
	n.s.t.Helper()
	var list struct{ Events []muster.Event }
	if err := n.get("/v1/events?wait=1ms", &list); err != nil {
		n.s.t.Fatal(err)
	}
	return list.Events
}

func TestSimulatedMatrixMarksTheDirectionThatDoesNotWork(t *testing.T) {
	simulate(t, func(s *sim) {
		wall := &firewall{from: "n1", to: "n2", channels: []string{"stream"}}
		nodes := cluster(s, []string{"n1", "n2", "n3"}, func(name string, cfg *server.Config) {
			if name == wall.from {
				wall.before(cfg)
			}
		})
		s.within(10*time.Second, func() error {
			return marks(nodes, []string{"self alive alive", "alive self alive", "alive alive self"})
		})
		wall.shut.Store(true)
		s.within(10*time.Second, func() error {
			return marks(nodes, []string{"self one-way alive", "alive self alive", "alive alive self"})
		})
		var m muster.Member
		if err := nodes[2].get("/v1/members/n2", &m); err != nil {
			s.t.Fatal(err)
		}
		if len(m.Observers) != 1 || m.Observers[0].Name != "n1" || m.Observers[0].Link != muster.LinkOneWay || m.Observers[0].State != muster.StateAlive {
			s.t.Errorf("observers of n2 at n3: %+v, want n1 alone, by a one-way link", m.Observers)
		}
		s.net.Kill("n3")
		s.within(10*time.Second, func() error {
			return marks(nodes[:2], []string{"self one-way dead", "alive self dead", "unknown unknown self"})
		})
		nodes[2].cancel()
		<-nodes[2].done
		stopAll(nodes[:2])
	})
}

// marks reports nil once all nodes show the same matrix.
func marks(nodes []*simNode, want []string) error {
	for _, n := range nodes {
		var x muster.Matrix
		if err := n.get("/v1/members/matrix", &x); err != nil {
			return err
		}
		got := []string{}
		for _, r := range x.Rows {
			words := []string{}
			for _, m := range r.Marks {
				words = append(words, string(m))
			}
			got = append(got, strings.Join(words, " "))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s: %q, want %q", n.name, got, want)
		}
	}
	return nil
}

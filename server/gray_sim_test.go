package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// slowness makes everything that a node reads late: it has too little of a processor.
// The data is there when it comes to read, however long that takes.
type slowness struct {
	mu   sync.Mutex
	rng  *rand.Rand
	most time.Duration // 0: not slow
}

func (s *slowness) set(most time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
}

func (s *slowness) wait() {
	s.mu.Lock()
	d := time.Duration(0)
	if s.most > 0 {
		d = s.most/4 + time.Duration(s.rng.Int64N(int64(s.most)))
	}
	s.mu.Unlock()
	time.Sleep(d)
}

// of puts a node into slowness.
func (s *slowness) of(cfg *server.Config) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return slowConn{c, s}, err
	}
	cfg.Listener = slowListener{cfg.Listener, s}
}

type slowListener struct {
	net.Listener
	s *slowness
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return slowConn{c, l.s}, err
}

type slowConn struct {
	net.Conn
	s *slowness
}

func (c slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.s.wait()
	}
	return n, err
}

// deafen lets nothing of the others arrive at a node; the operator still reaches it.
func (s *sim) deafen(node string, others []string, yes bool) {
	for _, o := range others {
		if yes {
			s.net.Block(o, node)
		} else {
			s.net.Unblock(o, node)
		}
	}
}

// mute lets nothing of a node arrive at the others.
func (s *sim) mute(node string, others []string, yes bool) {
	for _, o := range others {
		if yes {
			s.net.Block(node, o)
		} else {
			s.net.Unblock(node, o)
		}
	}
}

// ill is one way to be sick, and how the sick node must show it.
type ill struct {
	name  string
	sick  func(s *sim, node string, others []string, yes bool)
	slow  time.Duration
	lasts time.Duration
	ready bool // it stays ready
}

func illnesses() []ill {
	nothing := func(*sim, string, []string, bool) {}
	return []ill{
		{name: "deaf", sick: (*sim).deafen, lasts: time.Minute},
		{name: "mute", sick: (*sim).mute, lasts: time.Minute},
		{name: "starved", sick: nothing, slow: 900 * time.Millisecond, lasts: time.Minute, ready: true},
		{name: "cut off for 20 s", sick: func(s *sim, node string, others []string, yes bool) {
			s.deafen(node, others, yes)
			s.mute(node, others, yes)
		}, lasts: 20 * time.Second},
	}
}

// TestSimulatedSickMembersIsolateThemselvesAndKillNobody runs ten members, of which one
// is sick at a time.
func TestSimulatedSickMembersIsolateThemselvesAndKillNobody(t *testing.T) {
	seeds, whole := 1, 4*time.Minute
	switch {
	case os.Getenv("MUSTER_LONG") != "":
		seeds, whole = 3, 10*time.Minute
	case testing.Short(): // the race detector makes ten nodes dear
		whole = 90 * time.Second
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			simulate(t, func(s *sim) { grayFailures(s, uint64(seed), whole) })
		})
	}
}

func grayFailures(s *sim, seed uint64, whole time.Duration) {
	begun := time.Now()
	rng := rand.New(rand.NewPCG(seed, 8))
	names := []string{"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}
	slow := map[string]*slowness{}
	nodes := cluster(s, names, func(name string, cfg *server.Config) {
		slow[name] = &slowness{rng: rand.New(rand.NewPCG(seed, uint64(name[1])))}
		slow[name].of(cfg)
	})
	sick := map[string]bool{}
	for i, at := range rng.Perm(len(names))[:len(illnesses())] {
		what, name := illnesses()[i], names[at]
		sick[name] = true
		others := slices.DeleteFunc(slices.Clone(names), func(o string) bool { return o == name })
		s.t.Logf("%s: %s is %s", time.Since(begun), name, what.name)
		what.sick(s, name, others, true)
		slow[name].set(what.slow)
		over := time.Now().Add(min(what.lasts, whole/4))
		saysSo(s, nodes[at], what)
		time.Sleep(time.Until(over))
		what.sick(s, name, others, false)
		slow[name].set(0)
		s.t.Logf("%s: all well again after %s", what.name, s.formed(time.Minute, nodes...))
	}
	time.Sleep(time.Until(begun.Add(whole)))
	noFalseDeaths(s, nodes, sick)
	stopAll(nodes)
}

// saysSo waits until the sick node says that it is.
func saysSo(s *sim, n *simNode, what ill) {
	s.t.Helper()
	took := s.within(15*time.Second, func() error {
		if i := slices.IndexFunc(n.server.Status().Problems, func(p muster.Problem) bool { return p.Code == muster.CodeIsolated }); i < 0 {
			return fmt.Errorf("%s: %s does not say that it is isolated", what.name, n.name)
		}
		return nil
	})
	s.t.Logf("%s: %s says so after %s", what.name, n.name, took)
	if what.ready {
		return
	}
	s.within(15*time.Second, func() error {
		if status, body, err := n.request(http.MethodGet, "/ready", ""); err != nil || status != http.StatusServiceUnavailable {
			return fmt.Errorf("%s: /ready of %s is %d %s %v", what.name, n.name, status, body, err)
		}
		return nil
	})
}

// noFalseDeaths reads what the healthy nodes have said of healthy nodes.
func noFalseDeaths(s *sim, nodes []*simNode, sick map[string]bool) {
	s.t.Helper()
	suspicions := 0
	for _, n := range nodes {
		if sick[n.name] {
			continue
		}
		for _, e := range n.events() {
			if sick[e.Subject] || e.Kind != muster.EventMemberState {
				continue
			}
			switch e.To {
			case "dead":
				s.t.Errorf("%s at %s: %s", n.name, e.At.Format(time.TimeOnly), e.Text)
			case "suspect":
				suspicions++
			}
		}
	}
	s.t.Logf("suspicions of healthy members by healthy members: %d", suspicions)
}

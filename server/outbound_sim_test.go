package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// hiding joins via a node and lets nobody in.
func hiding(via *simNode) func(*server.Config) {
	return func(cfg *server.Config) {
		cfg.Advertise = "none"
		cfg.JoinEndpoints = []string{via.url()}
	}
}

// TestSimulatedOutboundOnlyMembersLive: two members that nobody can dial are alive to
// all, also to each other, for minutes, and take and make writes.
func TestSimulatedOutboundOnlyMembersLive(t *testing.T) {
	simulate(t, func(s *sim) {
		a := s.node("n1", nil).start()
		b := s.node("n2", joining(a)).start()
		s.formed(5*time.Second, a, b)
		c, d := s.node("n3", hiding(a)).start(), s.node("n4", hiding(b)).start()
		nodes := []*simNode{a, b, c, d}
		s.t.Logf("formed after %s", s.formed(20*time.Second, nodes...))
		begun := time.Now()
		for i := 0; time.Since(begun) < 3*time.Minute; i++ {
			if err := nodes[i%4].create(fmt.Sprintf("route/r%d", i), `{}`); err != nil {
				t.Fatal(err)
			}
			s.within(time.Second, func() error { return agree(int64(i+1), nodes...) })
			for _, n := range nodes {
				if err := allAlive(n, 4); err != nil {
					t.Fatalf("after %s: %v", time.Since(begun), err)
				}
			}
			time.Sleep(2 * time.Second)
		}
		for _, n := range []*simNode{d, c, b, a} {
			n.stop()
		}
	})
}

// allAlive reports nil if the node holds so many members alive and no other.
func allAlive(n *simNode, want int) error {
	var list struct{ Members []muster.Member }
	if err := n.get("/cluster/members", &list); err != nil {
		return err
	}
	if len(list.Members) != want {
		return fmt.Errorf("%s lists %d members", n.name, len(list.Members))
	}
	for _, m := range list.Members {
		if m.State != muster.StateAlive {
			return fmt.Errorf("%s says that %s is %s: %s", n.name, m.Name, m.State, m.Reason)
		}
	}
	return nil
}

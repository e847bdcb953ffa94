package server_test

import (
	"fmt"
	"testing"
	"time"
)

// TestSimulatedFiftyNodesSeeOneAnotherWithinFiveSeconds starts them 80 ms apart, all
// through one endpoint.
func TestSimulatedFiftyNodesSeeOneAnotherWithinFiveSeconds(t *testing.T) {
	size := 50
	if testing.Short() {
		size = 12 // the race detector makes handshakes dear
	}
	simulate(t, func(s *sim) {
		first := s.node("n1", nil).start()
		nodes := []*simNode{first}
		for i := 2; i <= size; i++ {
			time.Sleep(80 * time.Millisecond)
			nodes = append(nodes, s.node(fmt.Sprintf("n%d", i), joining(first)).start())
		}
		took := s.within(5*time.Second, func() error {
			for _, n := range nodes {
				if st := n.server.Status(); st.Members != size || st.HealthyMembers != size {
					return fmt.Errorf("%s sees %d members, %d healthy", n.name, st.Members, st.HealthyMembers)
				}
			}
			return nil
		})
		s.t.Logf("%d nodes see one another %s after the last start", size, took)
		for _, n := range nodes {
			n.stop()
		}
	})
}

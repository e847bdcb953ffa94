package server_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// long returns the larger number in the long run.
func long(normal, large int) int {
	if os.Getenv("MUSTER_LONG") != "" {
		return large
	}
	return normal
}

// TestSimulatedPartitionOfAnyLengthHeals: one node is cut off, the others go on
// writing; afterwards all are one cluster again and nothing acknowledged is lost.
func TestSimulatedPartitionOfAnyLengthHeals(t *testing.T) {
	for _, c := range []struct {
		length, bar time.Duration
	}{
		{5 * time.Second, 15 * time.Second},
		{45 * time.Second, 15 * time.Second},
		{10 * time.Minute, 15 * time.Second},
		{time.Duration(long(20, 24*60)) * time.Minute, 30 * time.Second},
	} {
		t.Run(c.length.String(), func(t *testing.T) {
			simulate(t, func(s *sim) {
				n1, n2, n3 := chain(s)
				s.formed(5*time.Second, n1, n2, n3)
				writes := s.apart(c.length, []*simNode{n1, n2}, []*simNode{n3})
				took := s.formed(c.bar, n1, n2, n3)
				s.t.Logf("healed %s after a partition of %s, %d writes meanwhile", took, c.length, writes)
				s.hold(writes, n1, n2, n3)
				for _, n := range []*simNode{n3, n2, n1} {
					n.stop()
				}
			})
		})
	}
}

// TestSimulatedPartitionHealsWithoutTheSeed: the node that the others joined through
// is gone for good when the partition ends.
func TestSimulatedPartitionHealsWithoutTheSeed(t *testing.T) {
	for _, length := range []time.Duration{5 * time.Second, 45 * time.Second, 10 * time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			simulate(t, func(s *sim) {
				home := s.node("n1", nil).start()
				seed := s.node("n2", joining(home)).start()
				n3 := s.node("n3", joining(seed)).start()
				n4 := s.node("n4", joining(seed)).start()
				s.formed(5*time.Second, home, seed, n3, n4)
				seed.kill()
				writes := s.apart(length, []*simNode{home, n3}, []*simNode{n4})
				left := []*simNode{home, n3, n4}
				took := s.within(15*time.Second, func() error {
					for _, n := range left {
						if st, err := n.status(); err != nil || st.HealthyMembers != 3 || !st.Converged {
							return fmt.Errorf("%s: %s %v", n.name, st.Summary, err)
						}
					}
					return call("n2", muster.StateDead, left...)
				})
				s.t.Logf("healed %s after a partition of %s", took, length)
				s.hold(writes, left...)
				for _, n := range []*simNode{n4, n3, home} {
					n.stop()
				}
			})
		})
	}
}

// apart keeps two sides from each other while the first one writes, and returns how
// many writes were acknowledged.
func (s *sim) apart(length time.Duration, here, there []*simNode) (writes int) {
	s.t.Helper()
	s.net.Partition(hosts(here), hosts(there))
	begun := time.Now()
	for i := 0; time.Since(begun) < length; i++ {
		if err := here[i%len(here)].create(fmt.Sprintf("route/p%d", i), `{}`); err != nil {
			s.t.Fatalf("write %s after the partition began: %v", time.Since(begun), err)
		}
		writes++
		time.Sleep(min(length/20, length-time.Since(begun)))
	}
	if length > 10*time.Second {
		if err := call(there[0].name, muster.StateDead, here...); err != nil {
			s.t.Errorf("at the end of the partition: %v", err)
		}
	}
	s.net.MendAll()
	return writes
}

func hosts(nodes []*simNode) (list []string) {
	for _, n := range nodes {
		list = append(list, n.host)
	}
	return list
}

// hold checks that all nodes serve the same history with every acknowledged write.
func (s *sim) hold(writes int, nodes ...*simNode) {
	s.t.Helper()
	if err := agree(int64(writes), nodes...); err != nil {
		s.t.Error(err)
	}
	for _, n := range nodes {
		for i := range writes {
			var d muster.Document
			if err := n.get(fmt.Sprintf("/v1/config/route/p%d", i), &d); err != nil {
				s.t.Errorf("acknowledged write p%d at %s: %v", i, n.name, err)
			}
		}
	}
}

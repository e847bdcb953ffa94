package join_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

// Three of six nodes could form one cluster while the other three form another:
// who is silent counts until it is known to be none of them.
func TestHalfOfTheCandidatesInSightNeverFormACluster(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		var nodes []*node
		for _, name := range names(6) {
			nodes = append(nodes, w.node(name, func(c *join.Config) {
				c.Expect, c.JoinEndpoints = 3, endpoints(names(6)...)
			}))
		}
		half := nodes[:3]
		for _, n := range half {
			n.start()
		}
		time.Sleep(30 * time.Second)
		if got := clusters(half...); len(got) != 0 {
			t.Fatalf("clusters = %v with three of six candidates and --bootstrap-expect 3, want none", got)
		}
		for _, n := range half {
			if _, ok := problemOf(n, muster.CodeExpectTooSmall); !ok {
				t.Errorf("%s: problems = %+v, want expect-too-small", n.name, n.seeker.Status().Problems)
			}
		}
	})
}

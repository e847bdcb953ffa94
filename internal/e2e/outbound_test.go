package e2e_test

import (
	"testing"
	"time"
)

// TestOutboundOnlyMembers: two members that nobody can dial, behind different
// members, see everybody and every write, and write themselves.
func TestOutboundOnlyMembers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	out1 := c.node("out1", "--mgmt-advertise", "none", "--cluster-join-endpoint", n1.url()).up()
	out2 := c.node("out2", "--mgmt-advertise", "none", "--cluster-join-endpoint", n2.url()).up()
	all(t, 15*time.Second, n1, n2, out1, out2)
	writeIsSeenEverywhere(t, out2, n1, n2, out1, out2)
	deadline := time.Now().Add(10 * time.Second)
	eventually(t, 15*time.Second, func() error {
		for _, n := range []*node{n1, n2, out1, out2} {
			if err := lost(n); err != nil {
				t.Fatal(err)
			}
		}
		return stillBefore(deadline)
	})
	all(t, time.Second, n1, n2, out1, out2)
}

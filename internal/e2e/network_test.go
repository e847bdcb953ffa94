package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestAllowedNetworksHoldForMembersToo: with their network listed they form a
// cluster, and a joiner from elsewhere is told by name.
func TestAllowedNetworksHoldForMembersToo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	fence := []string{"--mgmt-allowed-networks", "127.0.0.0/8,::1/128"}
	n1 := c.node("n1", fence...).up()
	n2 := c.node("n2", append(fence, "--cluster-join-endpoint", n1.url())...).up()
	all(t, 10*time.Second, n1, n2)

	closed := newCluster(t)
	shut := closed.node("shut", "--mgmt-allowed-networks", "127.0.0.9/32").up() // /health answers
	joiner := closed.node("joiner", "--cluster-join-endpoint", shut.url()).up()
	eventually(t, 10*time.Second, func() error {
		return tellsProblem(joiner, muster.CodeNetworkNotAllowed, "127.0.0.1", "--mgmt-allowed-networks")
	})
	if p, err := shut.problemOf(http.MethodGet, "/cluster/members", ""); err != nil || p.Status != 403 || p.Code != muster.CodeNetworkNotAllowed {
		t.Errorf("an administrator from a foreign network: %+v %v", p, err)
	}
}

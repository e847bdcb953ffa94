package server_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// TestNetworksThatLockOutAJoinEndpointStopTheStart before the node waits for ever
// for a member that cannot call it back.
func TestNetworksThatLockOutAJoinEndpointStopTheStart(t *testing.T) {
	t.Parallel()
	for endpoint, refused := range map[string]bool{
		"http://10.0.0.1:9113":       false,
		"http://10.9.0.1:9113":       true,
		"http://localhost:9113":      true,
		"http://[::1]:9113/x":        true,
		"http://192.0.2.7:8080":      false, // a trusted proxy: who is behind it is not known yet
		"http://node.example:9113/x": false, // a name: not looked up
	} {
		_, err := server.New(server.Config{
			DataDir: t.TempDir(), JoinEndpoints: []string{endpoint},
			AllowedNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
			TrustedProxies:  []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")},
		})
		told := err != nil && strings.Contains(err.Error(), "--mgmt-allowed-networks") && strings.Contains(err.Error(), string(muster.CodeBadConfig))
		if told != refused {
			t.Errorf("%s: %v, want refused: %t", endpoint, err, refused)
		}
	}
}

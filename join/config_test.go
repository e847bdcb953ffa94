package join_test

import (
	"context"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

func TestConfigReportsAllFaultsByTheirFlags(t *testing.T) {
	t.Parallel()
	state, err := join.OpenMemory(&join.Memory{}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	meet := func(context.Context, string, muster.NodeID) (join.Meeting, error) { return nil, errRefused }
	_, err = join.New(join.Config{
		State: state, Meet: meet, Endpoint: "ftp://x", JoinEndpoints: []string{"http://"}, Expect: 3, Listed: 6,
		Formation: "often", ClusterName: "a b",
	})
	if muster.CodeOf(err) != muster.CodeBadConfig {
		t.Fatalf("%v, want bad-config", err)
	}
	for _, flag := range []string{"--mgmt-advertise", "--cluster-join-endpoint", "--bootstrap-expect", "--formation", "--cluster-name"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%q does not name %s", err, flag)
		}
	}
}

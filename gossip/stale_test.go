package gossip_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

// TestAReplayedBootIsRefuted: what a member signed in an earlier boot is still signed.
// A member that repeats it under a high incarnation is contradicted by the one that it
// is about, and the end is as it was.
func TestAReplayedBootIsRefuted(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		victim := nodes[2]
		old := gossip.Meta{Boot: muster.Boot{Counter: 0, Random: 7}, Name: victim.self.Name, Endpoint: "http://old:9113"}
		raw, err := gossip.EncodeMeta(old, victim.self.Key)
		if err != nil {
			t.Fatal(err)
		}
		want := victim.facts().Endpoint
		nodes[0].inbox.Packet(nodes[1].self.ID, alivePacket(victim.self.ID, gossip.AddressOf(victim.self.ID), 1, raw))
		time.Sleep(2 * time.Second)
		for _, n := range nodes {
			v := n.view(victim)
			if v.Boot != victim.self.Boot || v.Endpoint != want || v.State != muster.StateAlive {
				t.Errorf("%s holds boot %+v at %s, %s; want %+v at %s, alive", n.name, v.Boot, v.Endpoint, v.State, victim.self.Boot, want)
			}
		}
	})
}

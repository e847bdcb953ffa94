package hosts_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// lasting is how long a fault lasts that must not change anything.
func lasting() time.Duration {
	if os.Getenv("MUSTER_LONG") != "" {
		return 10 * time.Minute
	}
	return 45 * time.Second
}

// steadyWrites writes one document a second at a node, and returns those that were
// acknowledged.
type steadyWrites struct {
	name string
	last time.Time
	acks []string
	no   []error
}

func (w *steadyWrites) step(n *node) {
	if time.Since(w.last) < time.Second {
		return
	}
	w.last = time.Now()
	key := fmt.Sprintf("route/%s-%d", w.name, len(w.acks)+len(w.no))
	if err := n.write(key); err != nil {
		w.no = append(w.no, err)
	} else {
		w.acks = append(w.acks, key)
	}
}

// TestPartitionHealsAndLosesNothing splits three nodes 2|1 for 45 s. Both sides
// serve reads, the side with the config home goes on writing, the other refuses;
// afterwards they are one cluster again with every acknowledged write.
func TestPartitionHealsAndLosesNothing(t *testing.T) {
	t.Parallel()
	c := form(t, 3)
	n1, n2, n3 := c.nodes[0], c.nodes[1], c.nodes[2]
	if err := n3.write("route/before"); err != nil {
		t.Fatal(err)
	}
	c.served(5*time.Second, "route/before", c.nodes...)
	c.both(n1.host, n3.host, weather{cut: true})
	c.both(n2.host, n3.host, weather{cut: true})
	major, minor := steadyWrites{name: "major"}, steadyWrites{name: "minor"}
	c.pass(45*time.Second, func() error {
		major.step(n2)
		minor.step(n3)
		for _, n := range c.nodes {
			if err := n.reads("route/before"); err != nil {
				return err
			}
		}
		return nil
	})
	if len(c.deaths(c.nodes...)) == 0 {
		t.Error("nobody noticed the partition")
	}
	if len(major.acks) < 35 || len(major.no) > 0 {
		t.Errorf("the side with the config home: %d writes, refused %v", len(major.acks), major.no)
	}
	if len(minor.acks) > 0 || len(minor.no) == 0 || !strings.Contains(minor.no[len(minor.no)-1].Error(), string(muster.CodeConfigHomeDown)) {
		t.Errorf("the other side: %d writes, refused with %v", len(minor.acks), minor.no)
	}
	c.both(n1.host, n3.host, weather{})
	c.both(n2.host, n3.host, weather{})
	healed := c.healthy(15*time.Second, c.nodes...)
	for _, key := range append(major.acks, "route/before") {
		c.served(time.Second, key, c.nodes...)
	}
	t.Logf("healed in %s; %d writes acknowledged meanwhile, none lost; %d refused on the other side", healed, len(major.acks), len(minor.no))
}

// TestOneWayLossBetweenTwoKillsNobody drops what n1 sends to n2, and nothing else:
// no TCP connection works between them, but n3 reaches both.
func TestOneWayLossBetweenTwoKillsNobody(t *testing.T) {
	t.Parallel()
	c := form(t, 3)
	c.set(c.nodes[0].host, c.nodes[1].host, weather{cut: true})
	c.pass(lasting(), func() error { return nobodyDied(c, c.nodes...) })
	t.Logf("0 deaths in %s", lasting())
}

func nobodyDied(c *cluster, among ...*node) error {
	if dead := c.deaths(among...); len(dead) > 0 {
		return fmt.Errorf("%d false deaths: %s", len(dead), strings.Join(dead, "; "))
	}
	return nil
}

// TestDeafNodeAccusesNobody drops everything that n5 is sent. The others go on
// without it and with one another.
func TestDeafNodeAccusesNobody(t *testing.T) {
	t.Parallel()
	c := form(t, 5)
	for _, n := range c.nodes[:4] {
		c.set(n.host, c.nodes[4].host, weather{cut: true})
	}
	sickness(t, c)
}

// TestMuteNodeAccusesNobody drops everything that n5 sends.
func TestMuteNodeAccusesNobody(t *testing.T) {
	t.Parallel()
	c := form(t, 5)
	for _, n := range c.nodes[:4] {
		c.set(c.nodes[4].host, n.host, weather{cut: true})
	}
	sickness(t, c)
}

// sickness watches the healthy nodes of a cluster whose fifth node is ill.
func sickness(t *testing.T, c *cluster) {
	t.Helper()
	well := c.nodes[:4]
	c.pass(lasting(), func() error { return nobodyDied(c, well...) })
	if err := well[1].write("route/meanwhile"); err != nil {
		t.Error(err)
	}
	took := c.served(2*time.Second, "route/meanwhile", well...)
	var m muster.Member
	if err := well[0].get("/v1/members/n5", &m); err != nil || m.Healthy {
		t.Errorf("the sick node: %+v, %v", m, err)
	}
	t.Logf("0 deaths among the healthy in %s, n5 is %s; a write was everywhere else after %s", lasting(), m.State, took)
}

func TestTenPercentLossKillsNobody(t *testing.T) {
	t.Parallel()
	rain(t, 5, weather{loss: 0.1}, 5*time.Second)
}

func TestTwentyPercentLossKillsNobody(t *testing.T) {
	t.Parallel()
	rain(t, 5, weather{loss: 0.2}, 10*time.Second)
}

func TestSlowNetworkKillsNobody(t *testing.T) {
	t.Parallel()
	rain(t, 3, weather{delay: 200 * time.Millisecond, jitter: 50 * time.Millisecond}, 2*time.Second)
}

// rain lets the weather between all nodes be bad. Nobody may die of it, and a write
// at a node that is not the config home must be everywhere within the limit.
func rain(t *testing.T, size int, w weather, limit time.Duration) {
	t.Helper()
	c := form(t, size)
	hosts := make([]*host, 0, size)
	for _, n := range c.nodes {
		hosts = append(hosts, n.host)
	}
	c.network.everywhere(w, hosts...)
	c.pass(lasting(), func() error { return nobodyDied(c, c.nodes...) })
	if err := c.nodes[size-1].write("route/rain"); err != nil {
		t.Error(err)
	}
	took := c.served(limit, "route/rain", c.nodes...)
	t.Logf("0 deaths in %s; a write was everywhere %s after its acknowledgement", lasting(), took)
}

// TestJoinerBehindAClosedPortIsRefused drops what others send to the joiner's port.
// It reaches them, but they do not reach it: it is told so and changes nothing.
func TestJoinerBehindAClosedPortIsRefused(t *testing.T) {
	t.Parallel()
	c := form(t, 2)
	number := byte(3)
	for _, n := range c.nodes {
		c.mu.Lock()
		c.rules[direction{n.number, number}] = weather{blockPort: 9113}
		c.mu.Unlock()
	}
	begun := time.Now()
	joiner := c.add(number)
	c.await(20*time.Second, func() error {
		var s muster.Status
		if err := joiner.get("/cluster/status", &s); err != nil {
			return err
		}
		for _, p := range s.Problems {
			if p.Code == muster.CodeEndpointUnreachable && strings.Contains(p.Text, joiner.address()) && strings.Contains(p.Text, "timeout") {
				t.Logf("after %s: %s; fix: %s", time.Since(begun), p.Text, p.Fix)
				return nil
			}
		}
		return fmt.Errorf("problems %+v", s.Problems)
	})
	if status, _, err := joiner.send(http.MethodGet, "/ready", ""); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("the refused joiner answers /ready with %d, %v", status, err)
	}
	c.healthy(time.Second, c.nodes[:2]...)
	for _, n := range c.nodes[:2] {
		var list struct{ Members []muster.Member }
		if err := n.get("/cluster/members", &list); err != nil || len(list.Members) != 2 {
			t.Errorf("%s lists %d members, %v", n.name, len(list.Members), err)
		}
	}
	for _, n := range c.nodes[:2] { // the port is opened
		c.set(n.host, joiner.host, weather{})
	}
	t.Logf("joined %s after the port was opened", c.healthy(15*time.Second, c.nodes...))
}

// TestNodeComesBackWithAnotherAddress moves a data directory to another host.
func TestNodeComesBackWithAnotherAddress(t *testing.T) {
	t.Parallel()
	c := form(t, 3)
	moved := c.nodes[2]
	moved.Kill()
	moved.host = c.host(77)
	begun := time.Now()
	moved.start()
	c.await(10*time.Second, func() error {
		for _, n := range c.nodes {
			if err := knows(n, moved); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(begun)
	t.Logf("known everywhere %s after the start", took)
	if took > 5*time.Second {
		t.Errorf("known everywhere after %s, want 5s", took)
	}
	c.healthy(5*time.Second, c.nodes...)
	for _, n := range c.nodes {
		if err := knows(n, moved); err != nil {
			t.Error(err)
		}
	}
}

// knows reports nil if a node lists three members, one of them moved, alive at its
// present address.
func knows(n, moved *node) error {
	var list struct{ Members []muster.Member }
	if err := n.get("/cluster/members", &list); err != nil {
		return err
	}
	if len(list.Members) != 3 {
		return fmt.Errorf("%s lists %d members", n.name, len(list.Members))
	}
	for _, m := range list.Members {
		if m.Name == moved.name && m.State == muster.StateAlive && strings.TrimSuffix(m.Endpoint, "/") == moved.url() {
			return nil
		}
	}
	return fmt.Errorf("%s does not list %s at %s: %+v", n.name, moved.name, moved.url(), list.Members)
}

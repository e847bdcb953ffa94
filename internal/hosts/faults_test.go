package hosts_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
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

// diary is what became of the writes at a node.
type diary struct {
	name string
	acks []string
	no   []error
}

func (d *diary) write(n *node) {
	key := fmt.Sprintf("route/%s-%d", d.name, len(d.acks)+len(d.no))
	if err := n.write(key); err != nil {
		d.no = append(d.no, err)
	} else {
		d.acks = append(d.acks, key)
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
	major, minor := diary{name: "major"}, diary{name: "minor"}
	c.pass(45*time.Second, func() error {
		major.write(n2)
		minor.write(n3)
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
	if len(major.acks) < 20 || len(major.no) > 0 {
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
	if c.nodes[0].reaches(c.nodes[1].host) || c.nodes[1].reaches(c.nodes[0].host) || !c.nodes[0].reaches(c.nodes[2].host) {
		t.Fatal("the network is not as the test wants it")
	}
	begun := time.Now()
	for _, n := range c.nodes {
		c.await(30*time.Second, func() error { return tells(n, muster.CodePartialMesh, "n1", "n2") })
	}
	t.Logf("all say after %s which link does not work", time.Since(begun))
	c.pass(lasting()-time.Since(begun), func() error { return nobodyDied(c, c.nodes...) })
	t.Logf("0 deaths in %s", lasting())
}

// tells reports nil if the status of a node has a problem that has these words.
func tells(n *node, code muster.Code, words ...string) error {
	var s muster.Status
	if err := n.get("/cluster/status", &s); err != nil {
		return err
	}
	for _, p := range s.Problems {
		missing := func(word string) bool { return !strings.Contains(p.Text, word) }
		if p.Code == code && !slices.ContainsFunc(words, missing) {
			return nil
		}
	}
	return fmt.Errorf("%s does not tell of %s with %v, but %+v", n.name, code, words, s.Problems)
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
	c := form(t, 5)
	c.rain(weather{loss: 0.1})
	c.pass(lasting(), func() error { return nobodyDied(c, c.nodes...) })
	c.writes(5 * time.Second)
}

// TestTwentyPercentLossIsLivedThrough: so many lost packets may break a connection for
// longer than the suspicion lasts. Whoever is taken for dead then is alive again
// soon, counts as healthy when it has been calm for up to 12 s, and the cluster goes on
// writing.
func TestTwentyPercentLossIsLivedThrough(t *testing.T) {
	t.Parallel()
	c := form(t, 5)
	c.rain(weather{loss: 0.2})
	c.pass(lasting(), func() error { return nil })
	c.writes(10 * time.Second)
	dead := c.deaths(c.nodes...)
	t.Logf("%d false deaths: %v", len(dead), dead)
	c.rain(weather{})
	t.Logf("healthy %s after the rain", c.healthy(30*time.Second, c.nodes...))
}

// TestSlowNetworkKillsNobody: 200 ms there and back, give or take 50.
func TestSlowNetworkKillsNobody(t *testing.T) {
	t.Parallel()
	c := form(t, 3)
	c.rain(weather{delay: 100 * time.Millisecond, jitter: 25 * time.Millisecond})
	c.pass(lasting(), func() error { return nobodyDied(c, c.nodes...) })
	c.writes(2 * time.Second)
}

// TestVerySlowNetworkKillsNobodyWithItsProfile: 200 ms each way.
func TestVerySlowNetworkKillsNobodyWithItsProfile(t *testing.T) {
	t.Parallel()
	c := form(t, 3, "--profile", "wan")
	c.rain(weather{delay: 200 * time.Millisecond, jitter: 50 * time.Millisecond})
	c.pass(lasting(), func() error { return nobodyDied(c, c.nodes...) })
	c.writes(2 * time.Second)
}

// rain makes the weather between all nodes.
func (c *cluster) rain(w weather) {
	hosts := make([]*host, 0, len(c.nodes))
	for _, n := range c.nodes {
		hosts = append(hosts, n.host)
	}
	c.everywhere(w, hosts...)
}

// writes writes at the last node, which is not the config home, and waits until
// everybody serves that.
func (c *cluster) writes(limit time.Duration) {
	c.t.Helper()
	begun := time.Now()
	if err := c.nodes[len(c.nodes)-1].write("route/rain"); err != nil {
		c.t.Error(err)
	}
	c.served(limit, "route/rain", c.nodes...)
	took := time.Since(begun)
	c.t.Logf("after %s a write was everywhere %s after it was sent", lasting(), took)
	if took > limit {
		c.t.Errorf("a write was everywhere after %s, want %s", took, limit)
	}
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
	c.await(20*time.Second, func() error { return tells(joiner, muster.CodeEndpointUnreachable, joiner.address(), "timeout") })
	t.Logf("refused %s after the start", time.Since(begun))
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

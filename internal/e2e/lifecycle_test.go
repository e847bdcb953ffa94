package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// cli runs a command line at a node and wants the exit code.
func (n *node) cli(want int, args ...string) (stdout, stderr string) {
	n.c.t.Helper()
	code, stdout, stderr := run(n.c.t, nil, append(args, "--addr", n.url(), "--cluster-cookie-file", n.c.cookie)...)
	if code != want {
		n.c.t.Fatalf("muster %v at %s: exit %d, want %d\n%s%s", args, n.name, code, want, stdout, stderr)
	}
	return stdout, stderr
}

// three starts three nodes, the others joining the first.
func three(t *testing.T) (n1, n2, n3 *node) {
	t.Helper()
	c := newCluster(t)
	n1 = c.node("n1").up()
	n2 = c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 = c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2, n3)
	return n1, n2, n3
}

// because reports nil once all observers give that reason for a member's state.
func because(want muster.State, name, reason string, observers ...*node) error {
	for _, n := range observers {
		m, err := n.member(name)
		if err != nil {
			return err
		}
		if m.State != want || !strings.Contains(m.Reason, reason) {
			return fmt.Errorf("%s says that %s is %s: %s", n.name, name, m.State, m.Reason)
		}
	}
	return nil
}

// TestDrainOutlivesAKill: ordered at n1, kept by n3 over kill -9, lifted at n2.
func TestDrainOutlivesAKill(t *testing.T) {
	t.Parallel()
	n1, n2, n3 := three(t)
	if out, _ := n1.cli(0, "node", "drain", "n3", "--reason", "new kernel"); !strings.Contains(out, "n3 is draining") || !strings.Contains(out, "new kernel") {
		t.Errorf("node drain says %q", out)
	}
	eventually(t, 3*time.Second, func() error { return because(muster.StateDraining, "n3", "new kernel", n1, n2, n3) })
	notReady := func() error {
		if res, data, err := n3.request(http.MethodGet, "/ready", ""); err != nil || res.StatusCode != 503 || !strings.Contains(string(data), "new kernel") {
			return fmt.Errorf("/ready of the drained node: %v %s %w", res, data, err)
		}
		return nil
	}
	if err := notReady(); err != nil {
		t.Error(err)
	}
	if _, err := n3.create("route/by-drained", `{}`); err != nil {
		t.Errorf("a drained node still takes writes: %v", err)
	}
	n3.kill()
	n3.up()
	eventually(t, 5*time.Second, func() error {
		return firstError(because(muster.StateDraining, "n3", "new kernel", n1, n2, n3), notReady())
	})
	if out, _ := n2.cli(0, "node", "show", "n3"); !strings.Contains(out, "draining") || !strings.Contains(out, "new kernel") {
		t.Errorf("node show says %q", out)
	}
	n2.cli(0, "node", "resume", "n3")
	all(t, 3*time.Second, n1, n2, n3)
	n3.cli(5, "node", "drain", "n9")
}

// TestRemoveTakesTheDeadOffEverywhere, refuses the living, and lets the removed
// come back.
func TestRemoveTakesTheDeadOffEverywhere(t *testing.T) {
	t.Parallel()
	n1, n2, n3 := three(t)
	if _, stderr := n2.cli(6, "node", "remove", "n3"); !strings.Contains(stderr, "muster leave") {
		t.Errorf("the refusal does not name the way out: %s", stderr)
	}
	n3.kill()
	eventually(t, 3*time.Second, func() error { return sees(muster.StateDead, "n3", n1, n2) })
	n2.cli(6, "node", "drain", "n3")
	if out, _ := n2.cli(0, "node", "reap", "--dry-run"); !strings.Contains(out, "n3") || !strings.Contains(out, "the limit is 72h0m0s") {
		t.Errorf("the plan does not hold n3: %s", out)
	}
	n2.cli(0, "node", "remove", "n3", "--reason", "disk failed")
	for _, n := range []*node{n1, n2} {
		if m, err := n.member("n3"); err == nil {
			t.Errorf("%s lists %s after the removal", n.name, m.Name)
		}
	}
	all(t, 3*time.Second, n1, n2)
	if size := n1.mustStatus().ClusterSize; size != 2 {
		t.Errorf("cluster_size is %d after the removal, want 2", size)
	}
	n3.up()
	all(t, 10*time.Second, n1, n2, n3)
}

// TestClusterIsFormedByForceAndForgotten follows a node from waiting for others that
// never come to a cluster of its own, and another one out of it again.
func TestClusterIsFormedByForceAndForgotten(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1", "--bootstrap-expect", "3", "--cluster-join-endpoint", fmt.Sprintf("http://127.0.0.1:%d", freePort(t))).up()
	if out, _ := n1.cli(3, "cluster", "show"); !strings.Contains(out, "promises of 3 nodes") {
		t.Errorf("cluster show of an unformed node says %q", out)
	}
	n1.cli(2, "cluster", "form")
	n1.cli(0, "cluster", "form", "--force")
	all(t, 5*time.Second, n1)
	n1.cli(6, "cluster", "form", "--force")

	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	before := n2.mustStatus()
	if out, _ := n2.cli(0, "cluster", "show"); !strings.Contains(out, string(before.ClusterID)) || !strings.Contains(out, "n1") {
		t.Errorf("cluster show says %q", out)
	}
	forgetAtRest(t, n2)
	n2.args = nil
	n2.up()
	all(t, 5*time.Second, n2)
	if after := n2.mustStatus(); after.NodeID != before.NodeID || after.ClusterID == before.ClusterID {
		t.Errorf("a node that forgot is %s in %s, was %s in %s: it keeps itself alone", after.NodeID, after.ClusterID, before.NodeID, before.ClusterID)
	}
}

// forgetAtRest runs cluster forget on a node: refused while it runs, shown, done, and
// then there is nothing more to do.
func forgetAtRest(t *testing.T, n *node) {
	t.Helper()
	dir := filepath.Join(n.c.dir, n.name)
	forget := func(want int, args ...string) string {
		t.Helper()
		code, out, stderr := run(t, nil, append([]string{"cluster", "forget", "--data-dir", dir}, args...)...)
		if code != want {
			t.Fatalf("cluster forget %v: exit %d, want %d\n%s%s", args, code, want, out, stderr)
		}
		return out + stderr
	}
	id := string(n.mustStatus().ClusterID)
	if out := forget(1, "--yes"); !strings.Contains(out, "stop the node first") {
		t.Errorf("on a running node it says %s", out)
	}
	n.terminate()
	if out := forget(3); !strings.Contains(out, id) || !strings.Contains(out, "--yes") {
		t.Errorf("without --yes it says %s", out)
	}
	if state, err := os.ReadFile(filepath.Join(dir, "node.json")); err != nil || !strings.Contains(string(state), id) {
		t.Errorf("without --yes it has changed the state (%v)", err)
	}
	if out := forget(0, "--yes"); !strings.Contains(out, id) || !strings.Contains(out, "mirror.db") {
		t.Errorf("it does not say what it forgot: %s", out)
	}
	state, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if err != nil || strings.Contains(string(state), id) {
		t.Errorf("the state still names the cluster (%v)", err)
	}
	for _, name := range []string{"node.json", "mirror.db"} {
		kept, err := filepath.Glob(filepath.Join(dir, "forgotten-*", name))
		if err != nil || len(kept) != 1 {
			t.Errorf("backup of %s: %v %v", name, kept, err)
		}
	}
	if out := forget(0, "--yes"); !strings.Contains(out, "nothing to forget") {
		t.Errorf("the second time it says %s", out)
	}
}

// TestFormIsRefusedInSightOfACluster: two clusters under one cookie are what it must
// never make.
func TestFormIsRefusedInSightOfACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	all(t, 5*time.Second, n1)
	// It reaches n1, whose answers it does not believe: another node is meant.
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url(), "--cluster-join-node-id", "somebody-else").up()
	if _, stderr := n2.cli(6, "cluster", "form", "--force"); !strings.Contains(stderr, string(n1.mustStatus().ClusterID)) {
		t.Errorf("the refusal does not name the cluster: %s", stderr)
	}
	if id := n2.mustStatus().ClusterID; id != "" {
		t.Errorf("it belongs to %s now", id)
	}
}

// TestGracefulLeaveIsNotADeath watches a SIGTERM from both sides: not ready first,
// draining for the others, then left and never suspect or dead; who is being
// answered is answered to the end.
func TestGracefulLeaveIsNotADeath(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url(), "--drain-delay", "1s").up()
	all(t, 10*time.Second, n1, n2)
	stream, poll := make(chan error, 1), make(chan error, 1)
	go func() { stream <- n2.followToTheEnd("/v1/events") }()
	go func() { poll <- n2.pollToTheEnd("/cluster/status?expected=9&wait=60s") }()
	begun := time.Now()
	exit := make(chan int, 1)
	go func() { exit <- n2.terminate() }()
	seen := n1.statesOf("n2", 10*time.Second, muster.StateLeft, func(state muster.State) {
		if state == muster.StateDraining {
			if res, _, err := n2.request(http.MethodGet, "/ready", ""); err != nil || res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("/ready of the leaving node: %v %v, want 503", res, err)
			}
		}
	})
	if got := fmt.Sprint(seen); got != "[draining left]" && got != "[alive draining left]" {
		t.Errorf("the other node saw %s, want alive, draining, left", got)
	}
	if code := <-exit; code != 0 {
		t.Errorf("SIGTERM: exit %d, want 0", code)
	}
	t.Logf("exit %s after SIGTERM, of which 1s drain delay", time.Since(begun))
	if err := errors.Join(<-stream, <-poll); err != nil {
		t.Errorf("what was under way: %v", err)
	}
	if s := n1.mustStatus(); s.ClusterSize != 2 || s.Members != 1 {
		t.Errorf("after SIGTERM: cluster_size %d, members %d; want 2 and 1", s.ClusterSize, s.Members)
	}
}

// statesOf follows what a node says of a member until it is in a state, and returns
// the states in order. At each new one it calls at.
func (n *node) statesOf(name string, limit time.Duration, last muster.State, at func(muster.State)) (seen []muster.State) {
	n.c.t.Helper()
	eventually(n.c.t, limit, func() error {
		m, err := n.member(name)
		if err != nil {
			return err
		}
		if len(seen) == 0 || seen[len(seen)-1] != m.State {
			seen = append(seen, m.State)
			at(m.State)
		}
		if m.State != last {
			return fmt.Errorf("%s is %s", name, m.State)
		}
		return nil
	})
	return seen
}

// open sends a request and returns the answer once its head is there.
func (n *node) open(path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(n.c.t.Context(), http.MethodGet, n.url()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.c.token)
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
}

// followToTheEnd reads a stream, which must end as streams do.
func (n *node) followToTheEnd(path string) error {
	res, err := n.open(path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return fmt.Errorf("the stream broke off: %w", err)
	}
	return nil
}

// pollToTheEnd waits for a condition that does not come true; the answer must be
// whole all the same.
func (n *node) pollToTheEnd(path string) error {
	res, err := n.open(path)
	if err != nil {
		return fmt.Errorf("the long poll was cut off: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	var s muster.Status
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil || res.StatusCode != http.StatusServiceUnavailable || s.LocalNode != n.name {
		return fmt.Errorf("the long poll answered %s %+v: %w", res.Status, s.LocalNode, err)
	}
	return nil
}

package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestThreeNodesOnSQLite is the product's main path: three processes, one cookie
// file, joined in a chain.
func TestThreeNodesOnSQLite(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n2.url()).up()
	lifeOfThree(t, n1, n2, n3)
}

// lifeOfThree walks three started nodes through a write, a kill -9 of the second
// and its return.
func lifeOfThree(t *testing.T, n1, n2, n3 *node) {
	t.Helper()
	all(t, 10*time.Second, n1, n2, n3)
	id, size := n2.mustStatus().NodeID, n1.mustStatus().ClusterSize
	if size != 3 {
		t.Errorf("cluster_size is %d, want 3", size)
	}
	writeIsSeenEverywhere(t, n3, n1, n2, n3)

	n2.kill()
	took := eventually(t, 2*time.Second, func() error { return sees(muster.StateDead, "n2", n1, n3) })
	t.Logf("kill -9 known to both others after %s", took)
	for i := range 20 {
		if _, err := n3.create(fmt.Sprintf("route/while-down-%d", i), `{"i":1}`); err != nil {
			t.Fatalf("a write with one node down: %v", err)
		}
	}
	before := n3.mustStatus().Config

	n2.start()
	lowest := int64(before.Rev)
	took = eventually(t, 3*time.Second, func() error {
		if s, err := n2.status(); err == nil && s.State == muster.NodeReady {
			lowest = min(lowest, s.Config.Rev)
		}
		return firstError(n1.healthy(3), n2.healthy(3), n3.healthy(3))
	})
	t.Logf("restarted node back after %s", took)
	after := n2.mustStatus()
	if after.NodeID != id {
		t.Errorf("node id changed over a restart: %s, was %s", after.NodeID, id)
	}
	if after.Config.Rev != before.Rev || after.Config.Chain != before.Chain {
		t.Errorf("restarted node serves %d/%s, want %d/%s", after.Config.Rev, after.Config.Chain, before.Rev, before.Chain)
	}
	if lowest < 1 {
		t.Errorf("the restarted node served revision %d while ready; it had applied 1 before", lowest)
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// sees reports nil once all observers say that the member is in that state.
func sees(want muster.State, name string, observers ...*node) error {
	for _, n := range observers {
		m, err := n.member(name)
		if err != nil {
			return err
		}
		if m.State != want {
			return fmt.Errorf("%s says that %s is %s", n.name, name, m.State)
		}
	}
	return nil
}

// writeIsSeenEverywhere creates a document at one node and reads it at all within
// a second, with equal revision and chain.
func writeIsSeenEverywhere(t *testing.T, writer *node, readers ...*node) {
	t.Helper()
	rev, err := writer.create("route/demo", `{"weight":10}`)
	if err != nil {
		t.Fatal(err)
	}
	took := eventually(t, time.Second, func() error {
		for _, n := range readers {
			d, err := n.read("route/demo")
			if err != nil {
				return err
			}
			if d.Rev != rev || string(d.Spec) != `{"weight":10}` {
				return fmt.Errorf("%s serves %s at revision %d, want %d", n.name, d.Spec, d.Rev, rev)
			}
		}
		return nil
	})
	t.Logf("write visible on %d nodes after %s", len(readers), took)
	want := writer.mustStatus().Config
	for _, n := range readers {
		if got := n.mustStatus().Config; got.Rev != want.Rev || got.Chain != want.Chain {
			t.Errorf("%s is at %d/%s, the writer at %d/%s", n.name, got.Rev, got.Chain, want.Rev, want.Chain)
		}
	}
}

// TestFormationWritesNoRevision: the first user write is revision 1.
func TestFormationWritesNoRevision(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	all(t, 5*time.Second, n)
	if rev, err := n.create("route/demo", `{"weight":10}`); err != nil || rev != 1 {
		t.Fatalf("first write: revision %d, %v; want 1", rev, err)
	}
}

func TestCompareAndSet(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	all(t, 5*time.Second, n)
	const path = "/v1/config/route/demo"
	if p, err := n.problemOf(http.MethodPut, path, `{}`); err != nil || p.Status != 428 || p.Code != muster.CodePreconditionRequired {
		t.Errorf("a write without a condition: %+v %v, want 428", p, err)
	}
	if _, err := n.create("route/demo", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
	res, data, err := n.request(http.MethodPut, path, `{"weight":20}`, "If-Match", `"1"`)
	if err != nil || res.StatusCode != 200 || res.Header.Get("ETag") != `"2"` {
		t.Errorf("write on the revision read: %v %v %s", err, res, data)
	}
	p, err := n.problemOf(http.MethodPut, path, `{"weight":30}`, "If-Match", `"1"`)
	if err != nil || p.Status != 412 || p.Code != muster.CodeConflict {
		t.Errorf("write on a stale revision: %+v %v, want 412 conflict", p, err)
	}
	res, _, err = n.request(http.MethodDelete, path, "", "If-Match", `"2"`)
	if err != nil || res.StatusCode != 204 || res.Header.Get("Muster-Revision") != "3" {
		t.Errorf("delete: %v %v, want 204 and revision 3", res, err)
	}
}

func TestBootstrapExpectFormsOneCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, d := c.node("a"), c.node("b"), c.node("d")
	ring := []*node{a, b, d}
	for i, n := range ring {
		n.args = []string{"--bootstrap-expect", "3", "--cluster-join-endpoint", ring[(i+1)%3].url()}
		n.start()
	}
	all(t, 10*time.Second, a, b, d)
	id := a.mustStatus().ClusterID
	for _, n := range ring {
		if got := n.mustStatus().ClusterID; got != id {
			t.Errorf("%s is in cluster %s, want %s", n.name, got, id)
		}
	}
}

// TestNodeWithJoinEndpointNeverFormsAlone also shows that a late endpoint is joined.
func TestNodeWithJoinEndpointNeverFormsAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	late := c.node("late")
	early := c.node("early", "--cluster-join-endpoint", late.url()).up()
	deadline := time.Now().Add(30 * time.Second)
	eventually(t, 40*time.Second, func() error {
		s, err := early.status()
		if err != nil {
			return err
		}
		if s.ClusterID != "" {
			t.Fatalf("formed cluster %s of its own", s.ClusterID)
		}
		return stillBefore(deadline)
	})
	if p, err := early.problemOf(http.MethodGet, "/ready", ""); err == nil && p.Status != 503 {
		t.Errorf("/ready answers %d before joining, want 503", p.Status)
	}
	late.up()
	took := eventually(t, 15*time.Second, func() error { return firstError(late.healthy(2), early.healthy(2)) })
	t.Logf("endpoint joined %s after it appeared", took)
}

func stillBefore(deadline time.Time) error {
	if left := time.Until(deadline); left > 0 {
		return fmt.Errorf("%s to wait", left)
	}
	return nil
}

func TestConfigHomeDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	home := c.node("home").up()
	other := c.node("other", "--cluster-join-endpoint", home.url()).up()
	all(t, 10*time.Second, home, other)
	if _, err := home.create("route/demo", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, func() error { _, err := other.read("route/demo"); return err })
	home.kill()
	if d, err := other.read("route/demo"); err != nil || d.Rev != 1 {
		t.Errorf("read with the home down: %+v %v", d, err)
	}
	p, err := other.problemOf(http.MethodPut, "/v1/config/route/x", `{}`, "If-None-Match", "*")
	if err != nil || p.Status != 503 || p.Code != muster.CodeConfigHomeDown || !strings.Contains(p.Detail, "home") {
		t.Errorf("write with the home down: %+v %v, want 503 config-home-down", p, err)
	}
	home.up()
	took := eventually(t, 5*time.Second, func() error { _, err := other.create("route/x", `{}`); return err })
	t.Logf("writes again %s after the home's port opened", took)
}

// TestLeaveTakesTheNodeOffTheDurableList, and SIGTERM does not.
func TestLeaveTakesTheNodeOffTheDurableList(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2, n3)
	if code, _, stderr := run(t, nil, "leave", "--addr", n3.url(), "--cluster-cookie-file", c.cookie); code != 0 {
		t.Fatalf("muster leave: exit %d: %s", code, stderr)
	}
	if code := n3.exit(10 * time.Second); code != 0 {
		t.Errorf("the node that left: exit %d, want 0", code)
	}
	all(t, 5*time.Second, n1, n2) // healthy, and two are all there are
	if size := n1.mustStatus().ClusterSize; size != 2 {
		t.Errorf("cluster_size is %d after a leave, want 2", size)
	}
	if code, _, stderr := run(t, nil, "leave", "--addr", n1.url(), "--cluster-cookie-file", c.cookie); code == 0 {
		t.Errorf("the config home may not leave while others need it; exit %d: %s", code, stderr)
	}
}

package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestAChangeIsFollowedThroughTheCluster: three processes. A write waits for all of
// them, is read at another node by its revision, and is traced; drift sees no
// difference. With one process killed the same commands name it, by exit codes too.
func TestAChangeIsFollowedThroughTheCluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 15*time.Second, n1, n2, n3)
	at := func(n *node) []string { return []string{"MUSTER_ADDR=" + n.url(), "MUSTER_TOKEN=" + c.token} }
	if code, out, said := run(t, at(n2), "config", "set", "route/demo", `{"weight":10}`, "--wait", "all"); code != 0 || !strings.Contains(out, "served by 3 of 3 members") {
		t.Errorf("set: exit %d %s %s", code, out, said)
	}
	if code, out, said := run(t, at(n3), "config", "get", "route/demo", "--raw", "--min-rev", "1"); code != 0 || out != "{\"weight\":10}\n" {
		t.Errorf("get: exit %d %s %s", code, out, said)
	}
	if code, _, said := run(t, at(n3), "config", "get", "route/demo", "--min-rev", "2", "--timeout", "2s"); code != 3 || !strings.Contains(said, "serves revision 1, 2 was asked for") {
		t.Errorf("get what is not there yet: exit %d %s", code, said)
	}
	traceOfThree(t, at(n3))
	if code, out, said := run(t, at(n1), "config", "drift"); code != 0 || !strings.Contains(out, "All 3 members serve revision 1 of epoch 1.") {
		t.Errorf("drift: exit %d %s %s", code, out, said)
	}

	n3.kill()
	eventually(t, 5*time.Second, func() error { return sees(muster.StateDead, "n3", n1, n2) })
	code, out, said := run(t, at(n2), "config", "set", "route/demo", `{"weight":20}`, "--wait", "all")
	if code != 9 || !strings.Contains(out, "served by 2 of 3 members only") || !strings.Contains(out, "n3      no: it is down") {
		t.Errorf("set with one down: exit %d %s %s", code, out, said)
	}
	if code, out, said := run(t, at(n2), "config", "delete", "route/demo", "--wait", "quorum"); code != 0 || !strings.Contains(out, "served by 2 of 3 members") {
		t.Errorf("delete with a quorum: exit %d %s %s", code, out, said)
	}
	if code, out, _ := run(t, at(n2), "config", "trace", "3"); code != 9 || !strings.Contains(out, "no answer from n3") {
		t.Errorf("trace with one down: exit %d %s", code, out)
	}
	if code, out, _ := run(t, at(n2), "config", "drift"); code != 3 || !strings.Contains(out, "no answer from n3") {
		t.Errorf("drift with one down: exit %d %s", code, out)
	}
	res, _, err := n1.request(http.MethodPut, "/v1/config/route/x?wait=all", `1`, "If-None-Match", "*")
	if err != nil || res.StatusCode != http.StatusCreated || res.Header.Get("Muster-Wait") != "partial" || res.Header.Get("Muster-Dead") != "n3" {
		t.Errorf("the headers of a partial wait: %v %v", res, err)
	}
}

// traceOfThree demands that one of three members wrote revision 1 and all serve it.
func traceOfThree(t *testing.T, env []string) {
	t.Helper()
	code, out, said := run(t, env, "config", "trace", "1", "-o", "json")
	var tr muster.Trace
	if err := json.Unmarshal([]byte(out), &tr); code != 0 || err != nil {
		t.Fatalf("trace: exit %d %s %s", code, out, said)
	}
	wrote := 0
	for _, n := range tr.Nodes {
		if n.Way == muster.WayWrite {
			wrote++
		}
		if n.Delay == nil || n.Way == "" || n.Text == "" {
			t.Errorf("%+v", n)
		}
	}
	if len(tr.Nodes) != 3 || wrote == 0 || !tr.Complete || tr.Reference != "write" || tr.Change.Name != "demo" {
		t.Errorf("trace: %+v", tr)
	}
	t.Logf("p50 %.2f ms, p99 %.2f ms, max %.2f ms", tr.P50, tr.P99, tr.Max)
}

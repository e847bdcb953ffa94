package mgmt_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
)

func keys(t *testing.T, a answer) []string {
	t.Helper()
	var list []string
	for key := range decode[map[string]any](t, a) {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

func TestStatusIsShortForStrangers(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	short := s.want(t, 200, call{method: "GET", path: "/cluster/status"})
	want := strings.Fields("cluster_health cluster_id cluster_name cluster_size converged healthy_members is_leader leader_id local_node members mode problems state")
	if diff := cmp.Diff(want, keys(t, short)); diff != "" {
		t.Errorf("anonymous (-want +got):\n%s", diff)
	}
	if !strings.Contains(short.body, `"problems":[{"code":"members-missing"}]`) {
		t.Errorf("problems are more than codes: %s", short.body)
	}
	if short.header.Get("Muster-Node-Id") != "" {
		t.Error("a stranger is told the node id")
	}
	full := s.want(t, 200, get("/cluster/status"))
	status := decode[muster.Status](t, full)
	if status.NodeID != testNode || status.Problems[0].Fix == "" || status.Store.Kind != "memory" {
		t.Errorf("full status %s", full.body)
	}
	for _, list := range []string{`"behind":[]`, `"discovery":[]`} {
		if !strings.Contains(full.body, list) {
			t.Errorf("no %s in %s", list, full.body)
		}
	}
	s.want(t, 401, call{method: "GET", path: "/cluster/status?key=store"})
	if a := s.want(t, 200, get("/cluster/status?key=store.kind")); strings.TrimSpace(a.body) != `"memory"` {
		t.Errorf("key: %s", a.body)
	}
	if a := s.want(t, 200, get("/cluster/status?key=store")); decode[muster.StoreStatus](t, a).State != "fresh" {
		t.Errorf("key: %s", a.body)
	}
}

func TestStatusTellsWhetherItIsAsExpected(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 200, call{method: "GET", path: "/cluster/status?expected=2"})
	a := s.want(t, 503, call{method: "GET", path: "/cluster/status?expected=3"})
	if a.header.Get("Retry-After") == "" || decode[muster.Status](t, a).HealthyMembers != 2 {
		t.Errorf("not yet: %v %s", a.header, a.body)
	}
	s.want(t, 200, call{method: "GET", path: "/cluster/status?wait_rev=0"})
	s.want(t, 503, get("/cluster/status?wait_rev=7"))
	s.node.edit(func(n *fakeNode) { n.status.Config.Rev = 7 })
	s.want(t, 200, get("/cluster/status?wait_rev=7"))
	s.node.edit(func(n *fakeNode) { n.status.Config.Behind = []string{"n2"} })
	s.want(t, 503, get("/cluster/status?wait_rev=7"))
	s.node.edit(func(n *fakeNode) {
		n.status.Config.Behind = nil
		n.members = slices.Clone(n.members)
		n.members[2].AppliedRevision = 6
	})
	s.want(t, 503, get("/cluster/status?wait_rev=7"))
	s.want(t, 200, get("/cluster/status?wait_rev=6"))
}

func TestStatusIsHeldBackUntilItIsAsExpected(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.node.edit(func(n *fakeNode) { n.conditions = []muster.Condition{{Code: muster.CodeNotSynced}} })
	waiting := make(chan answer, 2)
	go func() { waiting <- s.do(t, get("/cluster/status?expected=3&wait=30s")) }()
	go func() { waiting <- s.do(t, get("/ready?wait=30s")) }()
	poll(t, s.node.changed.awaited)
	s.node.edit(func(n *fakeNode) {
		n.status.HealthyMembers = 3
		n.conditions = []muster.Condition{{Code: muster.CodeNotSynced, OK: true}}
	})
	for range 2 {
		select {
		case a := <-waiting:
			if a.status != 200 {
				t.Errorf("answered %d %s", a.status, a.body)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the answer is held back although it is true")
		}
	}
	began := time.Now()
	s.want(t, 503, get("/cluster/status?expected=9&wait=300ms"))
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("gave up after %v", took)
	}
	s.want(t, 200, get("/cluster/status?wait=10ms")) // nothing changes, and that is an answer
}

func TestLongPollsEndWithTheServer(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	waiting := make(chan answer, 1)
	go func() { waiting <- s.do(t, get("/cluster/status?expected=9&wait=4m")) }()
	poll(t, s.node.changed.awaited)
	s.api.Drain()
	select {
	case a := <-waiting:
		if a.status != 503 {
			t.Errorf("answered %d", a.status)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the long poll outlives the server")
	}
}

// poll waits for something real, with a deadline.
func poll(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it does not happen")
		}
	}
}

func TestMembersAreSortedFilteredAndNeverNull(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for query, want := range map[string]string{
		"":                       "n1 n2 n3",
		"?state=alive":           "n1 n2",
		"?state=dead,left":       "n3",
		"?state=dead&state=left": "n3",
		"?zone=b":                "n2 n3",
		"?role=observer":         "n2",
		"?tag=rack":              "n1",
		"?tag=rack%3D7":          "n1",
		"?tag=rack%3D8":          "",
		"?region=moon":           "",
		"?zone=b&state=alive":    "n2",
	} {
		a := s.want(t, 200, get("/cluster/members"+query))
		var names []string
		for _, m := range decode[api.MemberList](t, a).Members {
			names = append(names, m.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
		if strings.Contains(a.body, "null") {
			t.Errorf("%q: null in %s", query, a.body)
		}
		nodes := decode[api.NodeList](t, s.want(t, 200, get("/cluster/nodes"+query)))
		if len(nodes.Nodes) != len(names) {
			t.Errorf("%q: %d nodes, %d members", query, len(nodes.Nodes), len(names))
		}
	}
	a := s.want(t, 200, get("/cluster/nodes?tag=rack"))
	if node := decode[struct{ Nodes []map[string]any }](t, a).Nodes[0]; node["node-id"] != string(testNode) || node["endpoint"] != "http://127.0.0.1:9113" {
		t.Errorf("node %v", node)
	}
}

// TestNodesAndMembersHaveTheSameFields keeps the two forms from drifting apart.
func TestNodesAndMembersHaveTheSameFields(t *testing.T) {
	t.Parallel()
	fields := func(v any) (list []string) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		for key := range m {
			list = append(list, strings.Replace(key, "node-id", "id", 1))
		}
		slices.Sort(list)
		return list
	}
	if diff := cmp.Diff(fields(muster.Member{}), fields(api.Node{})); diff != "" {
		t.Errorf("member and node differ:\n%s", diff)
	}
}

func TestMemberIsFoundByIDNameAndStart(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for want, name := range map[string]string{string(testNode): "n1", "n2": "n2", "7a00": "n2"} {
		if m := decode[muster.Member](t, s.want(t, 200, get("/v1/members/"+want))); m.Name != name {
			t.Errorf("%s is %s, want %s", want, m.Name, name)
		}
	}
	for path, want := range map[string]int{"n9": 404, "7a0": 404, "6f1c": 400} {
		s.want(t, want, get("/v1/members/"+path))
	}
	s.node.edit(func(n *fakeNode) {
		n.members = append(slices.Clone(n.members), muster.Member{ID: "99999999-0000-8000-8000-000000000009", Name: "n3", State: muster.StateAlive})
	})
	if m := decode[muster.Member](t, s.want(t, 200, get("/v1/members/n3"))); m.State != muster.StateAlive {
		t.Errorf("the dead holder of the name wins: %+v", m)
	}
}

func TestOneMemberHasAllItsObservers(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	seen := muster.Observer{ID: "7a000000-0000-8000-8000-000000000002", Name: "n2", State: muster.StateAlive, Link: muster.LinkOneWay, Reason: "calls: no answer in time"}
	s.node.edit(func(n *fakeNode) { n.observers = map[muster.NodeID][]muster.Observer{testNode: {seen}} })
	m := decode[muster.Member](t, s.want(t, 200, get("/v1/members/n1")))
	if diff := cmp.Diff([]muster.Observer{seen}, m.Observers); diff != "" {
		t.Errorf("observers (-want +got):\n%s", diff)
	}
	if a := s.want(t, 200, get("/v1/members/n2")); !strings.Contains(a.body, `"observers":[]`) {
		t.Errorf("nobody's observers are not an empty list: %s", a.body)
	}
}

func TestMatrixIsNoMemberOfThatName(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	x := muster.Matrix{
		Members: []muster.MatrixMember{{ID: testNode, Name: "n1"}},
		Rows:    []muster.MatrixRow{{ID: testNode, Name: "n1", Marks: []muster.Mark{muster.MarkSelf}}},
		Broken:  []muster.BrokenLink{{From: "n1", To: "n2", OneWay: true, Channels: []string{"stream"}, Reason: "no answer in time"}},
	}
	s.node.edit(func(n *fakeNode) { n.matrix = x })
	if diff := cmp.Diff(x, decode[muster.Matrix](t, s.want(t, 200, get("/v1/members/matrix")))); diff != "" {
		t.Errorf("matrix (-want +got):\n%s", diff)
	}
	s.want(t, 401, call{method: "GET", path: "/v1/members/matrix"})
}

func TestReadinessNamesItsCauses(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	stranger := call{method: "GET", path: "/ready"}
	if a := s.want(t, 200, stranger); !strings.HasPrefix(a.body, `{"conditions":[{"code":"not-formed","ok":true}`) || !strings.Contains(a.body, `"ready":true`) {
		t.Errorf("ready: %s", a.body)
	}
	s.node.edit(func(n *fakeNode) {
		n.conditions = []muster.Condition{{Code: muster.CodeWaitingForPeers, Text: "2/3", Fix: "start n3"}}
	})
	a := s.want(t, 503, stranger)
	if strings.Contains(a.body, "2/3") || !strings.Contains(a.body, `"waiting-for-peers"`) || a.header.Get("Retry-After") == "" {
		t.Errorf("stranger: %v %s", a.header, a.body)
	}
	full := decode[api.Readiness](t, s.want(t, 503, get("/ready")))
	if full.Ready || len(full.Conditions) != 1 || full.Conditions[0].Text != "2/3" || full.Problems != nil {
		t.Errorf("viewer: %+v", full)
	}
	verbose := decode[api.Readiness](t, s.want(t, 503, get("/ready?verbose")))
	if len(verbose.Problems) != 1 {
		t.Errorf("verbose: %+v", verbose)
	}
	if a := s.want(t, 503, call{method: "GET", path: "/ready?verbose"}); strings.Contains(a.body, "problems") {
		t.Errorf("verbose for a stranger: %s", a.body)
	}
	s.want(t, 200, call{method: "GET", path: "/ready?exclude=waiting-for-peers"})
	s.want(t, 200, call{method: "GET", path: "/ready?exclude=other,waiting-for-peers"})
	s.want(t, 401, call{method: "GET", path: "/ready", header: map[string]string{"Authorization": "Bearer x"}})
	s.want(t, 200, call{method: "GET", path: "/health", header: map[string]string{"Authorization": "Bearer x"}})
}

func TestMetricsCountOperations(t *testing.T) {
	t.Parallel()
	registry := newRegistry()
	s := setup(t, func(c *mgmt.Config) { c.Registry = registry })
	s.want(t, 200, get("/cluster/members"))
	s.want(t, 404, get("/nowhere"))
	s.want(t, 401, call{method: "GET", path: "/v1/config", header: map[string]string{"Authorization": "Bearer x"}})
	for name, want := range map[string]float64{
		`muster_http_requests_total{code="200",operation="listMembers"}`:   1,
		`muster_http_requests_total{code="404",operation="other"}`:         1,
		`muster_http_requests_total{code="401",operation="listConfig"}`:    1,
		`muster_auth_failures_total{reason="unauthenticated"}`:             1,
		`muster_http_request_duration_seconds{operation="listMembers"}`:    1,
		`muster_http_requests_total{code="200",operation="getMembersNot"}`: 0,
	} {
		if got := value(t, registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	s.want(t, 200, call{method: "GET", path: "/metrics", role: auth.RoleViewer})
}

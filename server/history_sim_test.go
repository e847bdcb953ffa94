package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/store/memory"
)

// batch writes documents as one through a node and returns status and body.
func (n *simNode) batch(items ...string) (int, string, error) {
	status, data, err := n.request(http.MethodPost, "/v1/config:apply", `{"items":[`+strings.Join(items, ",")+`]}`)
	return status, string(data), err
}

func batchItem(name, rest string) string {
	return fmt.Sprintf(`{"kind":"route","name":%q,%s}`, name, rest)
}

// rev is the revision that a node serves.
func (n *simNode) rev() int64 {
	s, err := n.status()
	if err != nil {
		n.s.t.Fatal(err)
	}
	return s.Config.Rev
}

func TestSimulatedBatchThroughAnyNodeIsAllOrNothing(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		s.allOrNothing(a, b, c)
		for _, n := range []*simNode{c, b, a} {
			n.stop()
		}
	})
}

func TestSimulatedBatchOnADatabaseIsAllOrNothing(t *testing.T) {
	simulate(t, func(s *sim) {
		s.shared = memory.New()
		a, b, c := s.node("n1", nil).start(), s.node("n2", nil).start(), s.node("n3", nil).start()
		s.formed(5*time.Second, a, b, c)
		s.allOrNothing(a, b, c)
		for _, n := range []*simNode{c, b, a} {
			n.stop()
		}
	})
}

// allOrNothing writes whole batches through each node, a refused one, and then races
// batches that want the same documents beside single writes.
func (s *sim) allOrNothing(a, b, c *simNode) {
	s.t.Helper()
	nodes := []*simNode{a, b, c}
	full := make([]string, 64)
	for i := range full {
		full[i] = batchItem(fmt.Sprintf("full-%d", i), `"spec":1,"if_absent":true`)
	}
	if status, body, err := c.batch(full...); err != nil || status != 200 {
		s.t.Fatalf("64 documents through n3: %d %s %v", status, body, err)
	}
	took := s.within(time.Second, func() error { return agree(64, nodes...) })
	s.t.Logf("64 documents on all nodes after %s", took)
	full[40] = batchItem("full-40", `"spec":2,"if_rev":7`)
	for i := range 40 {
		full[i] = batchItem(fmt.Sprintf("full-%d", i), fmt.Sprintf(`"spec":2,"if_rev":%d`, i+1))
	}
	status, body, err := b.batch(full...)
	if err != nil || status != 412 || !strings.Contains(body, "items[40]") || !strings.Contains(body, "route/full-40") {
		s.t.Errorf("a conflict in the middle: %d %s %v", status, body, err)
	}
	if rev := a.rev(); rev != 64 {
		s.t.Errorf("the refused batch has written: revision %d", rev)
	}
	s.race(nodes)
}

// race lets three nodes write batches of the same two documents at once, round after
// round; exactly one of each round may win, and the two never part.
func (s *sim) race(nodes []*simNode) {
	s.t.Helper()
	const rounds = 10
	for round := range rounds {
		before := nodes[0].rev()
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i, n := range nodes {
			condition := `"if_absent":true`
			wg.Go(func() {
				spec := fmt.Sprintf(`"spec":"%d-%d",`, round, i)
				x, y := batchItem(fmt.Sprintf("x-%d", round), spec+condition), batchItem(fmt.Sprintf("y-%d", round), spec+condition)
				if i == 1 {
					x, y = y, x
				}
				status, body, err := n.batch(x, y)
				if err != nil || status != 200 && status != 412 {
					s.t.Errorf("round %d at %s: %d %s %v", round, n.name, status, body, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if status == 200 {
					won++
				}
			})
		}
		wg.Wait()
		s.within(time.Second, func() error { return agree(before+2, nodes...) })
		if won != 1 {
			s.t.Errorf("round %d: %d batches won", round, won)
		}
		s.together(nodes[2], round)
	}
}

func (s *sim) together(n *simNode, round int) {
	s.t.Helper()
	var x, y struct{ Spec string }
	for name, into := range map[string]any{"x": &x, "y": &y} {
		if err := n.get(fmt.Sprintf("/v1/config/route/%s-%d", name, round), into); err != nil {
			s.t.Error(err)
		}
	}
	if x.Spec != y.Spec || x.Spec == "" {
		s.t.Errorf("round %d: half of one batch and half of another: %q and %q", round, x.Spec, y.Spec)
	}
}

// TestSimulatedHistoryIsTheSameOnAllNodes: who changed what is answered by any node,
// and a rollback through a node without the store is a new revision everywhere.
func TestSimulatedHistoryIsTheSameOnAllNodes(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		if err := b.create("route/demo", `{"w":1}`); err != nil {
			s.t.Fatal(err)
		}
		if status, body, err := c.request(http.MethodPut, "/v1/config/route/demo?reason=more", `{"w":2}`, "If-Match", `"1"`); err != nil || status != 200 {
			s.t.Fatalf("%d %s %v", status, body, err)
		}
		status, body, err := b.request(http.MethodPost, "/v1/revisions/1:rollback", "", "If-Match", `"2"`)
		if err != nil || status != 200 {
			s.t.Fatalf("rollback: %d %s %v", status, body, err)
		}
		s.within(time.Second, func() error { return agree(3, a, b, c) })
		s.sameHistory(a, b, c)
		a.kill() // the config home
		s.within(5*time.Second, func() error { return homeDown(c) })
		for _, n := range []*simNode{c, b} {
			n.stop()
		}
	})
}

func (s *sim) sameHistory(nodes ...*simNode) {
	s.t.Helper()
	var first string
	for _, n := range nodes {
		status, data, err := n.request(http.MethodGet, "/v1/revisions?kind=route&name=demo", "")
		if err != nil || status != 200 || first != "" && first != string(data) {
			s.t.Errorf("%s: %d %s %v, want %s", n.name, status, data, err, first)
		}
		first = string(data)
		var d api.DocumentDiff
		if err := n.get("/v1/revisions/3/diff", &d); err != nil || string(d.From.Spec) != `{"w":2}` || string(d.To.Spec) != `{"w":1}` || d.To.Reason != "rollback to revision 1" {
			s.t.Errorf("%s: %+v %v", n.name, d, err)
		}
	}
	var list api.RevisionList
	if err := json.Unmarshal([]byte(first), &list); err != nil {
		s.t.Fatal(err)
	}
	if len(list.Revisions) != 3 || list.Revisions[1].Reason != "more" || list.Revisions[1].Actor == "" || list.Revisions[1].Node == list.Revisions[2].Node {
		s.t.Errorf("the history does not say who, why and through which node: %s", first)
	}
}

// homeDown reports nil once the history is refused with the reason, at once.
func homeDown(n *simNode) error {
	status, data, err := n.request(http.MethodGet, "/v1/revisions", "")
	if err == nil && (status != 503 || !strings.Contains(string(data), "config-home-down")) {
		err = fmt.Errorf("%d %s", status, data)
	}
	return err
}

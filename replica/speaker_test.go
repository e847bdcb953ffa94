package replica_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// TestAPeerKeepsNoRecordButItsOwn: who calls is known from the connection, and a body
// that names another node changes nothing.
func TestAPeerKeepsNoRecordButItsOwn(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		home, mallory, victim := w.nodes[0], w.nodes[1], w.nodes[2]
		handler := peer.Handler(home.Backend())
		call := func(from *node, method, path, body string) int {
			ctx := t.Context()
			if from != nil {
				ctx = context.WithValue(ctx, callerKey{}, from.id)
			}
			rec := httptest.NewRecorder()
			handler.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, method, peer.Prefix+path, strings.NewReader(body)))
			return rec.Code
		}
		record := func(n *node, endpoint string) string {
			return `{"node_id":"` + string(n.id) + `","name":"n","endpoint":"` + endpoint + `","state":"alive"}`
		}
		if got := call(victim, http.MethodPut, "members", record(victim, "http://victim:9113")); got != http.StatusNoContent {
			t.Fatalf("own record: %d", got)
		}
		for name, got := range map[string]int{
			"record by another":  call(mallory, http.MethodPut, "members", record(victim, "http://mallory:9113")),
			"record by nobody":   call(nil, http.MethodPut, "members", record(victim, "http://mallory:9113")),
			"removal by another": call(mallory, http.MethodDelete, "members/"+string(victim.id), ""),
			"removal by nobody":  call(nil, http.MethodDelete, "members/"+string(victim.id), ""),
		} {
			if got != http.StatusForbidden {
				t.Errorf("%s: %d, want 403", name, got)
			}
		}
		members, err := w.data.Members(t.Context())
		if err != nil || len(members) != 1 || members[0].Endpoint != "http://victim:9113" {
			t.Errorf("the list is %+v, %v", members, err)
		}
		if got := call(victim, http.MethodDelete, "members/"+string(victim.id), ""); got != http.StatusNoContent {
			t.Errorf("own removal: %d", got)
		}
	})
}

func TestAWriteCameByTheNodeThatBroughtIt(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		home, mallory, victim := w.nodes[0], w.nodes[1], w.nodes[2]
		writes := []store.Write{{
			Op: muster.OpPut, Kind: "route", Name: "demo", Spec: []byte(`{}`), Actor: "a", Node: victim.id,
		}}
		if _, err := home.Backend().Apply(t.Context(), writes); muster.CodeOf(err) != muster.CodeForbidden {
			t.Errorf("a write by nobody: %v, want forbidden", err)
		}
		outcomes, err := home.Backend().Apply(context.WithValue(t.Context(), callerKey{}, mallory.id), writes)
		if err != nil || len(outcomes) != 1 || outcomes[0].Err != nil {
			t.Fatalf("%+v, %v", outcomes, err)
		}
		if got := outcomes[0].Change.Node; got != mallory.id {
			t.Errorf("the history says that the write came by %s, it came by %s", got, mallory.id)
		}
	})
}

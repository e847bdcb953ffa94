package mgmt_test

import (
	"errors"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/client"
)

// TestGoClientAndSurfaceUnderstandEachOther takes the Go client through a whole
// story; the transport checks every answer against the description.
func TestGoClientAndSurfaceUnderstandEachOther(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	c, err := client.New(client.Config{Addr: s.url, Token: s.token(t, auth.RoleOperator), HTTPClient: s.client})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := c.ConfigPut(t.Context(), client.Write{Kind: "route", Name: "demo", Spec: []byte(`{"w":1}`), Reason: "first try"})
	if err != nil || doc.Rev != 1 || doc.Reason != "first try" {
		t.Fatalf("put: %+v, %v", doc, err)
	}
	_, err = c.ConfigPut(t.Context(), client.Write{Kind: "route", Name: "demo", Spec: []byte("2"), Expect: 9})
	if conflict, ok := errors.AsType[*client.Conflict](err); !ok || conflict.Current.Rev != 1 {
		t.Errorf("conflict: %v", err)
	}
	if got, err := c.ConfigGet(t.Context(), "route", "demo"); err != nil || string(got.Spec) != `{"w":1}` {
		t.Errorf("get: %+v, %v", got, err)
	}
	if rev, err := c.ConfigDelete(t.Context(), client.Write{Kind: "route", Name: "demo", Expect: 1}); err != nil || rev != 2 {
		t.Errorf("delete: %d, %v", rev, err)
	}
	if list, rev, err := c.ConfigList(t.Context(), ""); err != nil || len(list) != 0 || rev != 2 {
		t.Errorf("list: %v at %d, %v", list, rev, err)
	}
	if changes, err := c.Changes(t.Context(), 0, 0); err != nil || len(changes) != 2 || changes[1].Op != muster.OpDelete {
		t.Errorf("changes: %v, %v", changes, err)
	}
	understandsHistory(t, c)
	if status, ok, err := c.StatusWhen(t.Context(), client.When{Expected: 3}); err != nil || ok || status.HealthyMembers != 2 {
		t.Errorf("status: %+v, %v, %v", status, ok, err)
	}
	if who, err := c.Caller(t.Context()); err != nil || who.Role != "operator" {
		t.Errorf("caller: %+v, %v", who, err)
	}
	s.events.add("one")
	for n, err := range c.Events(t.Context(), client.EventQuery{}) {
		if err == nil && n.Event == nil {
			continue // the stream is open
		}
		if err != nil || n.Event.Text != "one" || n.Cursor == "" {
			t.Errorf("event: %+v, %v", n, err)
		}
		break
	}
	if _, err := c.Member(t.Context(), "n9"); muster.CodeOf(err) != muster.CodeNotFound {
		t.Errorf("member: %v", err)
	}
}

// understandsHistory goes on from revision 2, which deleted route/demo.
func understandsHistory(t *testing.T, c *client.Client) {
	t.Helper()
	if list, err := c.Revisions(t.Context(), client.Past{Limit: 1}); err != nil || len(list.Revisions) != 1 || list.Next != 2 {
		t.Errorf("revisions: %+v, %v", list, err)
	}
	if d, err := c.Diff(t.Context(), client.Span{From: 2}); err != nil || string(d.From.Spec) != `{"w":1}` || d.To.Exists {
		t.Errorf("diff: %+v, %v", d, err)
	}
	if out, err := c.Rollback(t.Context(), client.Rollback{To: 1}); err != nil || out.Rev != 3 {
		t.Errorf("rollback: %+v, %v", out, err)
	}
	items := []client.Item{{Kind: "route", Name: "demo", Expect: 3}, {Kind: "a", Name: "b", Spec: []byte("true")}, {Kind: "a", Name: "c", Spec: []byte("1"), Expect: client.Any}}
	if out, err := c.Apply(t.Context(), client.Batch{Items: items}); err != nil || out.Rev != 6 {
		t.Errorf("apply: %+v, %v", out, err)
	}
	_, err := c.Apply(t.Context(), client.Batch{Items: []client.Item{{Kind: "a", Name: "b", Spec: []byte("2"), Expect: 4}}})
	if conflict, ok := errors.AsType[*client.Conflict](err); !ok || conflict.Current.Rev != 5 {
		t.Errorf("a conflict in a batch: %v", err)
	}
	if change, err := c.Revision(t.Context(), 6); err != nil || string(change.Spec) != "1" {
		t.Errorf("revision: %+v, %v", change, err)
	}
}

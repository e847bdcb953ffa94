package mgmt_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/store"
)

const lostNode muster.NodeID = "6f1c3f2e-0000-8000-8000-0000000000aa"

// fakeExpulsion knows of tombstones what the configuration says.
type fakeExpulsion struct {
	config *fakeConfig

	mu     sync.Mutex
	signed []muster.Tombstone
}

func (f *fakeExpulsion) Expelled(id muster.NodeID) (muster.Expulsion, bool) {
	doc, ok := f.config.View().Get(muster.TombstoneKind, string(id))
	if !ok {
		return muster.Expulsion{}, false
	}
	t, err := muster.ParseTombstone(doc.Spec)
	return muster.Expulsion{Tombstone: t, Rev: doc.Rev}, err == nil
}

func (f *fakeExpulsion) Draft(id muster.NodeID, _ bool) (muster.Tombstone, error) {
	return muster.Tombstone{NodeID: id, At: time.Unix(1700000000, 0).UTC(), Via: testNode}, nil
}

func (f *fakeExpulsion) Provisional(_ context.Context, t muster.Tombstone) (muster.Expulsion, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signed = append(f.signed, t)
	return muster.Expulsion{Tombstone: t, Provisional: true, Expires: t.At.Add(muster.ProvisionalFor)}, nil
}

// downConfig refuses writes as a node does whose store is down.
type downConfig struct{ mgmt.ConfigStore }

func (downConfig) Apply(context.Context, []store.Write) ([]store.Outcome, error) {
	return nil, muster.Errorf(muster.CodeConfigHomeDown, "the home is down")
}

// TestTombstonesHaveASchema and a role, also as plain documents: else an operator
// could take back what an administrator ordered.
func TestTombstonesHaveASchema(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *mgmt.Config) { c.Expulsion = &fakeExpulsion{config: c.Config.(*fakeConfig)} })
	path := "/v1/config/tombstone/" + string(lostNode)
	good := fmt.Sprintf(`{"node_id":%q,"at":"2030-01-01T00:00:00Z","by":"ada"}`, lostNode)
	write := func(body string, role auth.Role) call {
		return call{method: "PUT", path: path, body: body, role: role, header: map[string]string{"If-None-Match": "*"}}
	}
	s.want(t, http.StatusForbidden, write(good, auth.RoleOperator))
	for name, bad := range map[string]string{
		"another node":     fmt.Sprintf(`{"node_id":%q,"at":"2030-01-01T00:00:00Z","by":"ada"}`, testNode),
		"no node":          `{"at":"2030-01-01T00:00:00Z","by":"ada"}`,
		"no time":          fmt.Sprintf(`{"node_id":%q,"by":"ada"}`, lostNode),
		"no author":        fmt.Sprintf(`{"node_id":%q,"at":"2030-01-01T00:00:00Z"}`, lostNode),
		"an unknown field": fmt.Sprintf(`{"node_id":%q,"at":"2030-01-01T00:00:00Z","by":"ada","until":"friday"}`, lostNode),
	} {
		if a := s.do(t, write(bad, auth.RoleAdmin)); a.status != http.StatusBadRequest && a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: answered %d %s", name, a.status, a.body)
		}
	}
	s.want(t, http.StatusCreated, write(good, auth.RoleAdmin))
	s.want(t, http.StatusForbidden, call{method: "DELETE", path: path, role: auth.RoleOperator, header: map[string]string{"If-Match": "*"}})
}

// TestExpelIsAWriteLikeAnyOther: with author and reason in the history; a second
// order changes nothing, and readmission is the deletion.
func TestExpelIsAWriteLikeAnyOther(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *mgmt.Config) { c.Expulsion = &fakeExpulsion{config: c.Config.(*fakeConfig)} })
	s.node.edit(func(n *fakeNode) {
		n.members = append(n.members, muster.Member{ID: lostNode, Name: "lost", State: muster.StateAlive})
	})
	order := call{method: "POST", path: "/v1/members/lost:expel", body: `{"reason":"laptop stolen"}`, role: auth.RoleAdmin}
	e := decode[muster.Expulsion](t, s.want(t, 200, order))
	again := decode[muster.Expulsion](t, s.want(t, 200, order))
	if e.Rev == 0 || again.Rev != e.Rev || e.By == "" || e.Reason != "laptop stolen" {
		t.Errorf("first %+v, second %+v", e, again)
	}
	doc := decode[muster.Document](t, s.want(t, 200, get("/v1/config/tombstone/"+string(lostNode))))
	if doc.Reason != "laptop stolen" || doc.UpdatedBy != e.By {
		t.Errorf("the history says %s by %s", doc.Reason, doc.UpdatedBy)
	}
	s.want(t, 204, call{method: "POST", path: "/v1/members/lost:readmit?reason=found", role: auth.RoleAdmin})
	s.want(t, 404, get("/v1/config/tombstone/"+string(lostNode)))
	s.want(t, 404, call{method: "POST", path: "/v1/members/lost:readmit", role: auth.RoleAdmin})
	s.want(t, 404, call{method: "POST", path: "/v1/members/nobody:expel", body: order.body, role: auth.RoleAdmin})
	s.want(t, 200, call{method: "POST", path: "/v1/members/6f1c3f2e-0000-8000-8000-0000000000bb:expel", body: order.body, role: auth.RoleAdmin})
}

// TestExpelWithTheStoreDownIsSigned by the node that answers.
func TestExpelWithTheStoreDownIsSigned(t *testing.T) {
	t.Parallel()
	f := &fakeExpulsion{}
	s := setup(t, func(c *mgmt.Config) {
		f.config = c.Config.(*fakeConfig)
		c.Config, c.Expulsion = downConfig{f.config}, f
	})
	e := decode[muster.Expulsion](t, s.want(t, 200, call{
		method: "POST", path: "/v1/members/" + string(lostNode) + ":expel", body: `{"reason":"laptop stolen"}`, role: auth.RoleAdmin,
	}))
	if !e.Provisional || len(f.signed) != 1 || f.signed[0].Reason != "laptop stolen" || f.signed[0].By == "" {
		t.Errorf("answered %+v, signed %+v", e, f.signed)
	}
}

package mgmt

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Expulsion is what the surface asks of the node about nodes that are to go.
type Expulsion interface {
	// Expelled returns the tombstone of a node that counts now.
	Expelled(id muster.NodeID) (muster.Expulsion, bool)
	// Draft returns a tombstone that wants a reason and an author, or why the node
	// must not go; force overrules what is only unwise.
	Draft(id muster.NodeID, force bool) (muster.Tombstone, error)
	// Provisional makes a tombstone count without the config store, and tells the
	// other members.
	Provisional(ctx context.Context, t muster.Tombstone) (muster.Expulsion, error)
}

func noExpulsion() error { return muster.Errorf(muster.CodeNotFound, "this node expels nobody") }

// ExpelMember takes a node out of the cluster for good, by a document in the
// configuration, or by this node's word while the store is down.
func (h *handlers) ExpelMember(ctx context.Context, q server.ExpelMemberRequestObject) (server.ExpelMemberResponseObject, error) {
	if h.cfg.Expulsion == nil {
		return nil, noExpulsion()
	}
	if q.Body == nil || q.Body.Reason == "" {
		return nil, badField("reason", "say why: the node is told, and the history keeps it")
	}
	id, err := h.target(q.ID)
	if err != nil {
		return nil, err
	}
	if there, ok := h.cfg.Expulsion.Expelled(id); ok {
		return server.ExpelMember200JSONResponse(there), nil
	}
	w, draft, err := h.tombstone(ctx, id, expelOrder{q.Body.Reason, or(q.Body.Force, false)})
	if err != nil {
		return nil, err
	}
	change, err := h.commit(ctx, w)
	switch code := muster.CodeOf(err); {
	case code == muster.CodeStoreUnavailable || code == muster.CodeConfigHomeDown:
		there, err := h.cfg.Expulsion.Provisional(ctx, draft)
		if err != nil {
			return nil, err
		}
		scopeOf(ctx).note("provisional", true)
		return server.ExpelMember200JSONResponse(there), nil
	case err != nil:
		return h.outrun(id, err)
	}
	return server.ExpelMember200JSONResponse{Tombstone: draft, Rev: change.Rev}, nil
}

// outrun answers for a write that lost against another expulsion of the same node.
func (h *handlers) outrun(id muster.NodeID, err error) (server.ExpelMemberResponseObject, error) {
	conflict, ok := errors.AsType[*conflictError](err)
	if !ok || conflict.current == nil {
		return nil, err
	}
	t, bad := muster.ParseTombstone(conflict.current.Spec)
	if bad != nil || t.NodeID != id {
		return nil, err
	}
	return server.ExpelMember200JSONResponse{Tombstone: t, Rev: conflict.current.Rev}, nil
}

// target finds the node that is meant. A whole id may be of a node that is no
// member: it must not become one.
func (h *handlers) target(want string) (muster.NodeID, error) {
	if err := checkName("id", want); err != nil {
		return "", err
	}
	m, err := pick(h.members(filter{}), want)
	if muster.CodeOf(err) == muster.CodeNotFound && muster.NodeID(want).Valid() {
		return muster.NodeID(want), nil
	}
	return m.ID, err
}

// expelOrder is what an operator says of an expulsion.
type expelOrder struct {
	reason string
	force  bool
}

// tombstone makes the write that expels a node.
func (h *handlers) tombstone(ctx context.Context, id muster.NodeID, o expelOrder) (store.Write, muster.Tombstone, error) {
	w, err := h.begin(ctx, wish{muster.OpPut, muster.TombstoneKind, string(id), &o.reason, nil})
	if err != nil {
		return w, muster.Tombstone{}, err
	}
	t, err := h.cfg.Expulsion.Draft(id, o.force)
	if err != nil {
		return w, t, err
	}
	t.Reason, t.By = w.Reason, muster.Printable(w.Actor)
	if err := t.Check(); err != nil {
		return w, t, err
	}
	raw, err := json.Marshal(t)
	if err == nil {
		w.Spec, err = config.Canonical(raw)
	}
	return w, t, err
}

// ReadmitMember deletes a tombstone.
func (h *handlers) ReadmitMember(ctx context.Context, q server.ReadmitMemberRequestObject) (server.ReadmitMemberResponseObject, error) {
	if h.cfg.Expulsion == nil {
		return nil, noExpulsion()
	}
	there, err := h.buried(q.ID)
	if err != nil {
		return nil, err
	}
	if there.Provisional {
		return nil, muster.Errorf(muster.CodeStoreUnavailable, "%s is expelled by the word of node %s, because the config store is down; only the store can take it back",
			there.NodeID.Short(), there.Via.Short()).
			WithFix("bring the config store back and repeat the command; without it the expulsion ends by itself at %s", there.Expires.UTC().Format("2006-01-02T15:04:05Z"))
	}
	w, err := h.begin(ctx, wish{muster.OpDelete, muster.TombstoneKind, string(there.NodeID), q.Params.Reason, nil})
	if err != nil {
		return nil, err
	}
	w.Expect = there.Rev
	change, err := h.apply(ctx, w)
	if err != nil {
		return nil, err
	}
	return server.ReadmitMember204Response{Headers: server.ReadmitMember204ResponseHeaders{MusterRevision: &change.Rev}}, nil
}

// buried finds an expelled node. A live member of the same name is not meant.
func (h *handlers) buried(want string) (muster.Expulsion, error) {
	if err := checkName("id", want); err != nil {
		return muster.Expulsion{}, err
	}
	gone := slices.DeleteFunc(h.members(filter{}), func(m muster.Member) bool {
		_, expelled := h.cfg.Expulsion.Expelled(m.ID)
		return !expelled
	})
	m, err := pick(gone, want)
	if muster.CodeOf(err) == muster.CodeNotFound {
		return muster.Expulsion{}, muster.Errorf(muster.CodeNotFound, "no expelled node has the name or id %s", want).
			WithFix("list them: muster members --state expelled")
	}
	there, _ := h.cfg.Expulsion.Expelled(m.ID) // it was a moment ago; else the write finds nothing
	return there, err
}

// checkTombstone holds a write of a tombstone that comes as a plain document
// against its schema, and against what an expulsion must not do.
func (a *API) checkTombstone(who caller, w store.Write) error {
	if w.Kind != muster.TombstoneKind {
		return nil
	}
	if !who.Role.Allows(auth.RoleAdmin) {
		return muster.Errorf(muster.CodeForbidden, "documents of kind %s need the role %s, %s has the role %s",
			muster.TombstoneKind, auth.RoleAdmin, muster.Printable(who.Subject), who.Role)
	}
	if w.Op == muster.OpDelete {
		return nil
	}
	t, err := muster.ParseTombstone(w.Spec)
	if err != nil {
		return err
	}
	if string(t.NodeID) != w.Name {
		return muster.Errorf(muster.CodeBadDocument, "%s/%s is about node %s: the name of a tombstone is its node_id", w.Kind, w.Name, t.NodeID)
	}
	if a.cfg.Expulsion == nil {
		return nil
	}
	if _, there := a.cfg.Expulsion.Expelled(t.NodeID); there {
		return nil // a correction
	}
	_, err = a.cfg.Expulsion.Draft(t.NodeID, false)
	return err
}

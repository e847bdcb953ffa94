package mgmt

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/store"
)

// ListRevisions answers the history of the configuration, newest first.
func (h *handlers) ListRevisions(ctx context.Context, q server.ListRevisionsRequestObject) (server.ListRevisionsResponseObject, error) {
	past, err := pastOf(q.Params)
	if err != nil {
		return nil, err
	}
	view, err := h.view(ctx, least{})
	if err != nil {
		return nil, err
	}
	history, err := h.cfg.Config.History(ctx, past)
	if err != nil {
		return nil, err
	}
	if past.Before > 0 && history.Compacted > 0 && past.Before <= history.Compacted+1 {
		return nil, compacted(past.Before-1, history.Compacted)
	}
	list := api.RevisionList{
		Revisions: append([]muster.Change{}, history.Changes...), Rev: view.Position().Rev, CompactedRev: history.Compacted,
	}
	if n := len(list.Revisions); n == past.Limit && list.Revisions[n-1].Rev > history.Compacted+1 {
		list.Next = list.Revisions[n-1].Rev
	}
	return server.ListRevisions200JSONResponse(list), nil
}

// pastOf reads the parameters of a list of revisions.
func pastOf(p api.ListRevisionsParams) (store.Past, error) {
	past := store.Past{Kind: or(p.Kind, ""), Name: or(p.Name, ""), Before: or(p.Before, 0)}
	if p.Before != nil && past.Before < 1 {
		return past, badField("before", "want a revision, 1 or more")
	}
	if p.Kind != nil {
		if err := checkName("kind", past.Kind); err != nil {
			return past, err
		}
	}
	if p.Name != nil {
		if p.Kind == nil {
			return past, badField("kind", "a name alone names no document")
		}
		if err := checkName("name", past.Name); err != nil {
			return past, err
		}
	}
	var err error
	past.Limit, err = limited(p.Limit)
	return past, err
}

// compacted refuses a revision that the log has forgotten.
func compacted(rev, upTo int64) error {
	return muster.Errorf(muster.CodeCompacted, "revision %d is gone: the change log begins at revision %d", rev, upTo+1).
		WithFix("ask for a newer one; GET /v1/revisions lists what the log still holds")
}

// GetRevision answers one change.
func (h *handlers) GetRevision(ctx context.Context, q server.GetRevisionRequestObject) (server.GetRevisionResponseObject, error) {
	change, err := h.changeOf(ctx, q.Rev)
	return server.GetRevision200JSONResponse(change), err
}

// changeOf returns the change of one revision that this node serves.
func (a *API) changeOf(ctx context.Context, rev int64) (muster.Change, error) {
	if err := a.reached(ctx, rev); err != nil {
		return muster.Change{}, err
	}
	if rev < 1 {
		return muster.Change{}, badField("rev", "want a revision, 1 or more")
	}
	changes, err := a.cfg.Config.Changes(ctx, rev-1, 1)
	switch {
	case errors.Is(err, store.ErrCompacted):
		return muster.Change{}, muster.Errorf(muster.CodeCompacted, "revision %d is gone: the change log no longer reaches back that far", rev).
			WithFix("ask for a newer one; GET /v1/revisions lists what the log still holds")
	case err != nil:
		return muster.Change{}, err
	case len(changes) != 1 || changes[0].Rev != rev:
		return muster.Change{}, fmt.Errorf("the store answered %d changes for revision %d", len(changes), rev)
	}
	return changes[0], nil
}

// reached refuses a revision that this node does not serve yet.
func (a *API) reached(ctx context.Context, rev int64) error {
	view, err := a.view(ctx, least{})
	if err != nil {
		return err
	}
	if at := view.Position().Rev; rev > at {
		return muster.Errorf(muster.CodeNotFound, "there is no revision %d: this node serves revision %d", rev, at).
			WithFix("list the revisions: muster config log")
	}
	return nil
}

// docKey names a document.
type docKey struct{ kind, name string }

// subject finds the document that a request about a revision means: the one that it
// names, or that of the revision, whose change is then returned too.
func (a *API) subject(ctx context.Context, rev int64, kind, name *string) (docKey, *muster.Change, error) {
	if kind != nil || name != nil {
		k := docKey{or(kind, ""), or(name, "")}
		return k, nil, checkKey(k.kind, k.name)
	}
	change, err := a.changeOf(ctx, rev)
	return docKey{change.Kind, change.Name}, &change, err
}

// DiffRevision answers a document at two revisions.
func (h *handlers) DiffRevision(ctx context.Context, q server.DiffRevisionRequestObject) (server.DiffRevisionResponseObject, error) {
	key, change, err := h.subject(ctx, q.Rev, q.Params.Kind, q.Params.Name)
	if err != nil {
		return nil, err
	}
	before, after := q.Rev-1, q.Rev
	if q.Params.To != nil {
		before, after = q.Rev, *q.Params.To
	}
	d := api.DocumentDiff{Kind: key.kind, Name: key.name}
	if q.Params.To == nil && change != nil && change.Generation == 1 {
		d.From = api.DocumentAt{At: before} // what the log need not tell
	} else if d.From, err = h.documentAt(ctx, key, before); err != nil {
		return nil, err
	}
	if d.To, err = h.documentAt(ctx, key, after); err != nil {
		return nil, err
	}
	d.Equal = d.From.Exists == d.To.Exists && bytes.Equal(d.From.Spec, d.To.Spec)
	return server.DiffRevision200JSONResponse(d), nil
}

// documentAt returns a document as it was at a revision. What still is as it was then
// comes from memory, all else from the log.
func (a *API) documentAt(ctx context.Context, key docKey, rev int64) (api.DocumentAt, error) {
	absent := api.DocumentAt{At: rev}
	if rev < 0 {
		return absent, badField("to", "want a revision, 0 or more")
	}
	if err := a.reached(ctx, rev); err != nil || rev == 0 {
		return absent, err
	}
	if doc, ok := a.cfg.Config.View().Get(key.kind, key.name); ok && doc.Rev <= rev {
		return api.DocumentAt{
			At: rev, Exists: true, Spec: doc.Spec, Rev: doc.Rev, UpdatedAt: doc.UpdatedAt, UpdatedBy: doc.UpdatedBy, Reason: doc.Reason,
		}, nil
	}
	past, err := a.cfg.Config.History(ctx, store.Past{Kind: key.kind, Name: key.name, Before: rev + 1, Limit: 1, Specs: true})
	switch {
	case err != nil:
		return absent, err
	case len(past.Changes) == 0 && past.Compacted > 0:
		return absent, muster.Errorf(muster.CodeCompacted, "how %s/%s was at revision %d is not known any more: the change log begins at revision %d",
			key.kind, key.name, rev, past.Compacted+1).WithFix("muster config log %s/%s lists what the log still holds", key.kind, key.name)
	case len(past.Changes) == 0:
		return absent, nil
	}
	c := past.Changes[0]
	return api.DocumentAt{
		At: rev, Exists: c.Op == muster.OpPut, Spec: c.Spec, Rev: c.Rev, UpdatedAt: c.At, UpdatedBy: c.Actor, Reason: c.Reason,
	}, nil
}

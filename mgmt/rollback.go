package mgmt

import (
	"bytes"
	"context"
	"fmt"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/store"
)

// RollbackRevision restores a document as it was at a revision, by a new revision.
func (h *handlers) RollbackRevision(ctx context.Context, q server.RollbackRevisionRequestObject) (server.RollbackRevisionResponseObject, error) {
	p := q.Params
	key, _, err := h.subject(ctx, q.Rev, p.Kind, p.Name)
	if err != nil {
		return nil, err
	}
	then, err := h.documentAt(ctx, key, q.Rev)
	if err != nil {
		return nil, err
	}
	w, err := h.restoring(ctx, then, wish{kind: key.kind, name: key.name, reason: p.Reason, key: p.IdempotencyKey})
	if err != nil {
		return nil, err
	}
	if w.Expect, err = h.expectation(w, p.IfMatch, p.IfNoneMatch); err != nil {
		return nil, err
	}
	if err := h.permit(ctx, w); err != nil {
		return nil, err
	}
	if still, ok := h.asItWas(then, w); ok {
		return server.RollbackRevision200JSONResponse(h.outcomeOf(on(p.DryRun), []api.ConfigResult{still})), nil
	}
	outcome, _, err := h.together(ctx, []store.Write{w}, on(p.DryRun))
	return server.RollbackRevision200JSONResponse(outcome), err
}

// restoring makes the write that brings a state back.
func (h *handlers) restoring(ctx context.Context, then api.DocumentAt, want wish) (store.Write, error) {
	if or(want.reason, "") == "" {
		want.reason = new(fmt.Sprintf("rollback to revision %d", then.At))
	}
	want.op = muster.OpDelete
	if then.Exists {
		want.op = muster.OpPut
	}
	w, err := h.begin(ctx, want)
	if then.Exists {
		w.Spec = then.Spec
	}
	return w, err
}

// asItWas reports whether there is nothing to restore: the present document is the
// one that the write expects, and as it was then.
func (h *handlers) asItWas(then api.DocumentAt, w store.Write) (api.ConfigResult, bool) {
	now, exists := h.cfg.Config.View().Get(w.Kind, w.Name)
	same := exists == then.Exists && bytes.Equal(now.Spec, then.Spec)
	met := w.Expect == store.Any || w.Expect == now.Rev
	return api.ConfigResult{Kind: w.Kind, Name: w.Name, Outcome: outcomeUnchanged, Rev: now.Rev}, same && met
}

package mgmt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// What became of a document.
const (
	outcomeCreated   = "created"
	outcomeChanged   = "changed"
	outcomeDeleted   = "deleted"
	outcomeUnchanged = "unchanged"
)

// batchGroup binds the writes of one batch.
const batchGroup = "batch"

// ApplyConfig writes several documents, all or none.
func (h *handlers) ApplyConfig(ctx context.Context, q server.ApplyConfigRequestObject) (server.ApplyConfigResponseObject, error) {
	if q.Body == nil || len(q.Body.Items) == 0 {
		return nil, badField("items", "want 1 to 64 documents")
	}
	items := q.Body.Items
	if len(items) > store.MaxBatch {
		return nil, badField("items", fmt.Sprintf("%d documents, the limit of what is written all or none is %d: make several batches of them", len(items), store.MaxBatch))
	}
	if h.cfg.Config.View() == nil {
		return nil, muster.Errorf(muster.CodeNotSynced, "this node has no copy of the configuration yet")
	}
	writes, err := h.batch(ctx, items, q.Params)
	if err != nil {
		return nil, err
	}
	scopeOf(ctx).note("items", len(writes), "dry_run", on(q.Params.DryRun), "reason", writes[0].Reason)
	outcome, refused, err := h.together(ctx, writes, on(q.Params.DryRun))
	if err != nil && refused >= 0 {
		err = inItem(refused, writes[refused].Kind+"/"+writes[refused].Name, err)
	}
	return server.ApplyConfig200JSONResponse(outcome), err
}

// batch makes the writes of a batch, and names the item that cannot be one.
func (h *handlers) batch(ctx context.Context, items []api.ConfigItem, p api.ApplyConfigParams) ([]store.Write, error) {
	if len(or(p.Reason, "")) > maxText {
		return nil, badField("reason", "want at most 200 bytes")
	}
	s, writes, seen := scopeOf(ctx), []store.Write{}, map[docKey]int{}
	for i, item := range items {
		w, err := itemWrite(item)
		w.Actor, w.Node, w.Reason, w.Group = s.caller.Actor(), h.cfg.NodeID, muster.Printable(or(p.Reason, "")), batchGroup
		if err == nil {
			err = h.permit(ctx, w)
		}
		if first, twice := seen[docKey{w.Kind, w.Name}]; err == nil && twice {
			err = badField("name", fmt.Sprintf("items[%d] is about the same document", first))
		}
		if err == nil && p.IdempotencyKey != nil {
			w.RequestID, err = itemID(s, *p.IdempotencyKey, i, len(items))
		}
		if err != nil {
			return nil, inItem(i, item.Kind+"/"+item.Name, err)
		}
		seen[docKey{w.Kind, w.Name}] = i
		writes = append(writes, w)
	}
	return writes, nil
}

// itemID is the request id of one item of a batch that may be repeated.
func itemID(s *scope, key string, i, of int) (string, error) {
	if _, err := requestID(s, &key); err != nil {
		return "", err
	}
	return derivedID(s, fmt.Sprintf("batch\x00%d\x00%d\x00%s", i, of, key)), nil
}

// itemWrite reads one item.
func itemWrite(item api.ConfigItem) (store.Write, error) {
	w := store.Write{Op: muster.OpPut, Kind: item.Kind, Name: item.Name}
	if err := checkKey(item.Kind, item.Name); err != nil {
		return w, err
	}
	var err error
	switch op := string(or(item.Op, "put")); {
	case op == "delete" && len(item.Spec) > 0:
		return w, badField("spec", "what is deleted has none")
	case op == "delete":
		w.Op = muster.OpDelete
	case op != "put":
		return w, badField("op", "want put or delete")
	case len(item.Spec) == 0:
		return w, badField("spec", "it is missing")
	default:
		if w.Spec, err = config.Canonical(item.Spec); err != nil {
			return w, err
		}
	}
	w.Expect, err = itemExpect(item, w.Op)
	return w, err
}

// itemExpect reads what an item replaces.
func itemExpect(item api.ConfigItem, op muster.Op) (int64, error) {
	absent, force := or(item.IfAbsent, false), or(item.Force, false)
	given := 0
	for _, is := range []bool{item.IfRev != nil, absent, force} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return 0, muster.Errorf(muster.CodePreconditionRequired, "it names no condition").
			WithFix("give the item if_rev with the revision you read, if_absent to create, or force")
	case given > 1:
		return 0, badField("if_rev", "want one of if_rev, if_absent and force")
	case absent && op == muster.OpDelete:
		return 0, badField("if_absent", "what is absent cannot be deleted")
	case absent:
		return 0, nil
	case force:
		return store.Any, nil
	case *item.IfRev < 1:
		return 0, badField("if_rev", "want a revision, 1 or more; if_absent creates")
	}
	return *item.IfRev, nil
}

// inItem says which item of a batch an error is about.
func inItem(i int, subject string, err error) error {
	e := coded(err)
	if e == nil {
		return err
	}
	place := fmt.Sprintf("items[%d]", i)
	named := &muster.Error{Code: e.Code, Text: fmt.Sprintf("%s (%s): %s; nothing was written", place, muster.Printable(subject), e.Text), Fix: e.Fix}
	if e.Code == muster.CodeConflict {
		named = named.WithFix("read that document again, apply your change, and give the item its revision as if_rev")
	}
	fields := &fieldsError{named, []api.FieldError{{Field: place, Detail: e.Text}}}
	if conflict, ok := errors.AsType[*conflictError](err); ok {
		return errors.Join(fields, &conflictError{named, conflict.current})
	}
	return fields
}

// together writes all or none, or finds out what would become of it. With the error
// comes the write that was refused, or -1 if it is about none of them.
func (h *handlers) together(ctx context.Context, writes []store.Write, dry bool) (api.ConfigOutcome, int, error) {
	outcomes, err := h.run(ctx, writes, dry)
	if err == nil && len(outcomes) != len(writes) {
		err = fmt.Errorf("the store answered %d writes with %d outcomes", len(writes), len(outcomes))
	}
	if err != nil {
		return api.ConfigOutcome{}, -1, err
	}
	if i := culprit(outcomes, writes); i >= 0 {
		return api.ConfigOutcome{}, i, &conflictError{outcomes[i].Err, outcomes[i].Current}
	}
	results := make([]api.ConfigResult, len(writes))
	for i, o := range outcomes {
		if o.Repeated && !same(o.Change, writes[i]) {
			return api.ConfigOutcome{}, i, badField("Idempotency-Key", "it was used for another write")
		}
		results[i] = h.resultOf(o.Change, dry)
	}
	answer := h.outcomeOf(dry, results)
	if !dry {
		answer.Rev = outcomes[len(outcomes)-1].Change.Rev
		scopeOf(ctx).note("rev", answer.Rev)
	}
	return answer, -1, nil
}

func (h *handlers) run(ctx context.Context, writes []store.Write, dry bool) ([]store.Outcome, error) {
	if !dry {
		return h.cfg.Config.Apply(ctx, writes)
	}
	view := h.cfg.Config.View()
	outcomes, _, err := store.Run(rehearsal{view}, view.Position(), time.Now(), writes)
	return outcomes, err
}

// rehearsal is a transaction on the configuration that this node serves, which
// writes nothing.
type rehearsal struct{ view *config.Snapshot }

// Document implements store.Tx.
func (r rehearsal) Document(kind, name string) (*muster.Document, error) {
	if doc, ok := r.view.Get(kind, name); ok {
		return &doc, nil
	}
	return nil, nil
}

// ChangeOf implements store.Tx.
func (rehearsal) ChangeOf(string) (*muster.Change, error) { return nil, nil }

// Record implements store.Tx.
func (rehearsal) Record(muster.Change, *muster.Document) error { return nil }

// culprit returns the write for which a group was refused, or -1.
func culprit(outcomes []store.Outcome, writes []store.Write) int {
	at := -1
	for i, o := range outcomes {
		if o.Err != nil && (at < 0 || !o.Bystander(writes[i])) {
			at = i
		}
	}
	return at
}

// resultOf says what a change has done, or would do.
func (h *handlers) resultOf(c *muster.Change, dry bool) api.ConfigResult {
	r := api.ConfigResult{Kind: c.Kind, Name: c.Name, Outcome: outcomeChanged, Rev: c.Rev}
	switch {
	case c.Op == muster.OpDelete:
		r.Outcome = outcomeDeleted
	case c.Generation == 1:
		r.Outcome = outcomeCreated
	}
	if dry {
		doc, _ := h.cfg.Config.View().Get(c.Kind, c.Name)
		r.Rev = doc.Rev
	}
	return r
}

func (h *handlers) outcomeOf(dry bool, items []api.ConfigResult) api.ConfigOutcome {
	return api.ConfigOutcome{DryRun: dry, Rev: h.cfg.Config.View().Position().Rev, Items: slices.Clip(items)}
}

package client

import (
	"context"
	"encoding/json"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// Past says which revisions are wanted; a zero field wants all.
type Past struct {
	Kind, Name string // of the documents; a name only together with its kind
	Before     int64  // only older revisions
	Limit      int    // at most 1000
}

// Revisions returns changes without their specifications, newest first.
func (c *Client) Revisions(ctx context.Context, p Past) (list api.RevisionList, err error) {
	q := &api.ListRevisionsParams{Kind: text(p.Kind), Name: text(p.Name)}
	if p.Before > 0 {
		q.Before = &p.Before
	}
	if p.Limit > 0 {
		q.Limit = &p.Limit
	}
	resp, err := c.api.ListRevisions(ctx, q)
	_, err = c.take(resp, err, &list)
	return list, err
}

// Revision returns one change with its specification.
func (c *Client) Revision(ctx context.Context, rev int64) (change muster.Change, err error) {
	resp, err := c.api.GetRevision(ctx, rev)
	_, err = c.take(resp, err, &change)
	return change, err
}

// Span is a document and two revisions of the history.
type Span struct {
	Kind, Name string // empty: the document of revision From
	From       int64
	To         int64 // 0: compare From with what was before it
}

// Diff returns a document at two revisions.
func (c *Client) Diff(ctx context.Context, s Span) (d api.DocumentDiff, err error) {
	q := &api.DiffRevisionParams{Kind: text(s.Kind), Name: text(s.Name)}
	if s.To > 0 {
		q.To = &s.To
	}
	resp, err := c.api.DiffRevision(ctx, s.From, q)
	_, err = c.take(resp, err, &d)
	return d, err
}

// Rollback asks to restore a document as it was at a revision.
type Rollback struct {
	Kind, Name string // empty: the document of the revision
	To         int64
	Expect     int64  // revision that is to be replaced; 0: there is none now; Any
	Reason     string // default: rollback to revision To
	Key        string // Idempotency-Key; optional
	DryRun     bool   // only say what would become of it
}

// Rollback restores a document by a new revision. The error is a *Conflict when
// something else is there than was expected.
func (c *Client) Rollback(ctx context.Context, r Rollback) (out api.ConfigOutcome, err error) {
	q := &api.RollbackRevisionParams{
		Kind: text(r.Kind), Name: text(r.Name), Reason: text(r.Reason), IdempotencyKey: text(r.Key), IfMatch: condition(r.Expect), DryRun: dry(r.DryRun),
	}
	if r.Expect == 0 {
		q.IfMatch, q.IfNoneMatch = nil, new("*")
	}
	resp, err := c.api.RollbackRevision(ctx, r.To, q)
	_, err = c.take(resp, err, &out)
	return out, err
}

// Item is one write of a Batch.
type Item struct {
	Kind, Name string
	Spec       json.RawMessage // nil: delete the document
	Expect     int64           // revision that is to be replaced; 0: there is none yet; Any
}

// Batch asks to write up to 64 documents, all or none.
type Batch struct {
	Items  []Item
	Reason string
	Key    string // Idempotency-Key; optional
	DryRun bool   // only say what would become of them
}

// Apply writes a batch. The error names the item that was refused; it is a *Conflict
// when something else is there than was expected.
func (c *Client) Apply(ctx context.Context, b Batch) (out api.ConfigOutcome, err error) {
	body := api.ConfigBatch{Items: make([]api.ConfigItem, len(b.Items))}
	for i, item := range b.Items {
		if err := checkNames(item.Kind, item.Name); err != nil {
			return out, err
		}
		body.Items[i] = item.wire()
	}
	q := &api.ApplyConfigParams{Reason: text(b.Reason), IdempotencyKey: text(b.Key), DryRun: dry(b.DryRun)}
	resp, err := c.api.ApplyConfig(ctx, q, body)
	_, err = c.take(resp, err, &out)
	return out, err
}

// wire is the item in the words of the API.
func (i Item) wire() api.ConfigItem {
	w := api.ConfigItem{Kind: i.Kind, Name: i.Name, Spec: i.Spec}
	if i.Spec == nil {
		w.Op = new(api.ConfigItemOp("delete"))
	}
	switch i.Expect {
	case Any:
		w.Force = new(true)
	case 0:
		w.IfAbsent = new(true)
	default:
		w.IfRev = &i.Expect
	}
	return w
}

func dry(run bool) *string {
	if !run {
		return nil
	}
	return new("true")
}

package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// retryPause lies between two attempts to learn how a write ended.
const retryPause = 100 * time.Millisecond

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if err := store.CheckBatch(writes); err != nil {
		return nil, err
	}
	if len(writes) == 0 {
		return []store.Outcome{}, nil
	}
	ctx, cancel := s.bound(ctx, Deadline)
	defer cancel()
	id, err := s.clusterID(ctx)
	if err != nil {
		return nil, err
	}
	b := newBatch(id, writes)
	if len(b.sent) == 0 {
		return b.outcomes, nil
	}
	return s.send(ctx, b)
}

// clusterID returns the cluster that writes are meant for. A database that was
// exchanged under a running node refuses them.
func (s *Store) clusterID(ctx context.Context) (muster.ClusterID, error) {
	s.mu.Lock()
	id := s.cluster
	s.mu.Unlock()
	if id != "" {
		return id, nil
	}
	c, err := s.Cluster(ctx)
	return c.ID, err
}

// send calls the server until it knows the outcome or time is up. Once an attempt
// may have committed, only a repetition with the same request ids can tell.
func (s *Store) send(ctx context.Context, b *batch) ([]store.Outcome, error) {
	unknown := false
	for try := 0; ; try++ {
		err := s.call(ctx, b)
		if err == nil {
			return b.outcomes, nil
		}
		unknown = unknown || mayHaveCommitted(err)
		switch {
		case unknown && !b.repeatable:
			return nil, s.outcomeUnknown(ctx, err)
		case unknown && s.pause(ctx):
			s.again(ctx, err)
		case unknown:
			return nil, s.outcomeUnknown(ctx, err)
		case try > 0 || !s.again(ctx, err):
			return nil, s.explain(ctx, "write", err)
		}
	}
}

func (s *Store) call(ctx context.Context, b *batch) error {
	pool, err := s.open(ctx)
	if err != nil {
		return &notSent{err}
	}
	return b.call(ctx, pool)
}

// notSent marks an error of a call that did not reach the server.
type notSent struct{ error }

func (e *notSent) Unwrap() error { return e.error }

// mayHaveCommitted reports whether a call that failed with err may have taken
// effect: it was sent, and no answer of the server excludes it.
func mayHaveCommitted(err error) bool {
	if _, ok := errors.AsType[*notSent](err); ok || pgconn.SafeToRetry(err) {
		return false
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		// A server that shuts down may end the session after the commit.
		return server.Code == "57P01" || server.Code == "57P02"
	}
	return true
}

// pause waits a moment and reports whether time is left for another attempt.
func (s *Store) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(retryPause):
		return true
	}
}

func (s *Store) outcomeUnknown(ctx context.Context, err error) error {
	cause := s.explain(ctx, "write", err)
	text := cause.Error()
	if e, ok := errors.AsType[*muster.Error](cause); ok {
		text = e.Text
	}
	return muster.Errorf(muster.CodeOutcomeUnknown, "the write may or may not have happened: %s", text)
}

// isBroken reports whether another connection may fare better.
func isBroken(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return !errors.Is(err, store.ErrNoCluster) && !errors.Is(err, store.ErrCompacted) && !errors.Is(err, errClosed) &&
			muster.CodeOf(err) == muster.CodeInternal
	}
	switch server.Code {
	case "57P01", "57P02", "40001", "40P01":
		return true
	}
	return false
}

// batch is one call of config_apply_v1.
type batch struct {
	cluster    muster.ClusterID
	writes     []store.Write
	sent       []int // the writes that go to the server: those that pass Check
	repeatable bool  // each of them has a request id
	outcomes   []store.Outcome
	groups     []int32 // of each write
}

// newBatch sorts out the writes that no store accepts, with their groups.
func newBatch(cluster muster.ClusterID, writes []store.Write) *batch {
	b := &batch{cluster: cluster, writes: writes, repeatable: true, outcomes: make([]store.Outcome, len(writes)), groups: make([]int32, len(writes))}
	start := 0
	for g, group := range store.Groups(writes) {
		outcomes := b.outcomes[start : start+len(group)]
		refused := -1
		for i, w := range group {
			b.groups[start+i] = int32(g)
			if err := w.Check(); err != nil && refused < 0 {
				outcomes[i].Err, refused = err, i
			}
		}
		if refused >= 0 {
			store.Refuse(group, outcomes, refused)
		} else {
			for i, w := range group {
				b.sent = append(b.sent, start+i)
				b.repeatable = b.repeatable && w.RequestID != ""
			}
		}
		start += len(group)
	}
	return b
}

func (b *batch) call(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return &notSent{err}
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, "select * from config_apply_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", b.arguments()...)
	if err != nil {
		return err
	}
	defer rows.Close()
	refused := make(map[int32]int) // group to the write that was refused
	for rows.Next() {
		if err := b.outcome(rows, refused); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	b.settle(refused)
	return nil
}

func (b *batch) arguments() []any {
	n := len(b.sent)
	ops, expects, groups := make([]int16, n), make([]int64, n), make([]int32, n)
	kinds, names, specs := make([]string, n), make([]string, n), make([]*string, n)
	actors, nodes, reasons, requests := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	for i, at := range b.sent {
		w := b.writes[at]
		ops[i], expects[i], groups[i] = int16(w.Op), w.Expect, b.groups[at]
		kinds[i], names[i] = w.Kind, w.Name
		actors[i], nodes[i], reasons[i] = w.Actor, string(w.Node), w.Reason
		if w.Op == muster.OpPut {
			specs[i] = new(string(w.Spec))
		}
		if w.RequestID != "" {
			requests[i] = &w.RequestID
		}
	}
	return []any{string(b.cluster), ops, kinds, names, specs, expects, actors, nodes, reasons, requests, groups}
}

// outcome reads one row of the answer.
func (b *batch) outcome(rows pgx.Rows, refused map[int32]int) error {
	var idx int
	var code string
	var r changeRow
	if err := rows.Scan(append([]any{&idx, &code}, r.fields()...)...); err != nil {
		return err
	}
	at := b.sent[idx-1]
	w := b.writes[at]
	switch code {
	case "":
		c := r.change()
		c.Spec = w.Spec
		b.outcomes[at] = store.Outcome{Change: &c}
		return nil
	case "repeated":
		b.outcomes[at] = store.Outcome{Change: new(r.change()), Repeated: true}
		return nil
	}
	b.outcomes[at] = r.refusal(w, code)
	refused[b.groups[at]] = at
	return nil
}

func (r *changeRow) refusal(w store.Write, code string) store.Outcome {
	if code == "bad-document" {
		return store.Outcome{Err: muster.Errorf(muster.CodeBadDocument, "write of %s/%s: the database refuses the document: %s", w.Kind, w.Name, muster.Printable(value(r.reason)))}
	}
	var current *muster.Document
	if r.rev != nil {
		current = new(r.document())
	}
	return store.Outcome{Err: w.Decide(current), Current: current}
}

// settle fills in the outcomes of groups with a refused write.
func (b *batch) settle(refused map[int32]int) {
	start := 0
	for g, group := range store.Groups(b.writes) {
		if at, ok := refused[int32(g)]; ok {
			store.Refuse(group, b.outcomes[start:start+len(group)], at-start)
		}
		start += len(group)
	}
}

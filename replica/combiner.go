package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Bounds of writing.
const (
	queueSize   = 256                    // jobs that wait; beyond that callers are refused
	lookWait    = 100 * time.Millisecond // a write waits so long for a store that may be back
	settleWait  = 2 * time.Second        // for the revisions of others before ours
	reaskPause  = 100 * time.Millisecond // before asking for a lost outcome
	maxReasking = 3
)

// job is one caller's writes on their way through the combiner.
type job struct {
	ctx    context.Context //nolint:containedctx // request-scoped: tells that the caller is gone
	writes []store.Write
	hop    bool // forwarded to us: must not go on to another node
	claim  atomic.Int32
	answer chan answer // 1
}

type answer struct {
	outcomes []store.Outcome
	err      error
}

// Who has a job: the queue, the combiner, or nobody since the caller left.
const (
	queued int32 = iota
	taken
	abandoned
)

// Apply writes documents. All waiting callers share one call to the store; each
// gets the outcomes of its own writes. What was applied is served here before
// Apply returns. An error other than CodeOutcomeUnknown means that nothing was
// written; a caller who gives up while its writes are under way gets that code.
func (r *Replica) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	return r.submit(ctx, writes, false)
}

func (r *Replica) submit(ctx context.Context, writes []store.Write, hop bool) ([]store.Outcome, error) {
	if len(writes) == 0 {
		return nil, nil
	}
	if err := store.CheckBatch(writes); err != nil {
		return nil, err
	}
	if err := r.admit(ctx, hop); err != nil {
		return nil, err
	}
	j := &job{ctx: ctx, writes: r.signed(writes), hop: hop, answer: make(chan answer, 1)}
	select {
	case r.queue <- j:
	default:
		return nil, muster.Errorf(muster.CodeTooManyRequests, "%d writes are waiting already", len(r.queue))
	}
	select {
	case a := <-j.answer:
		return a.outcomes, a.err
	case <-r.done:
	case <-ctx.Done():
	}
	return r.leave(ctx, j)
}

// leave ends a job whose caller does not wait any longer.
func (r *Replica) leave(ctx context.Context, j *job) ([]store.Outcome, error) {
	if !j.claim.CompareAndSwap(queued, abandoned) {
		select {
		case a := <-j.answer:
			return a.outcomes, a.err
		default:
		}
		return nil, muster.Errorf(muster.CodeOutcomeUnknown, "the write was under way when its caller gave up")
	}
	if ctx.Err() == nil {
		return nil, muster.Errorf(muster.CodeDraining, "write: the node is shutting down")
	}
	return nil, muster.Errorf(muster.CodeTimeout, "write: %w", context.Cause(ctx))
}

// signed fills in what makes a write safe to repeat and to attribute, and keeps the
// groups of different callers apart.
func (r *Replica) signed(writes []store.Write) []store.Write {
	writes = slices.Clone(writes)
	number := r.jobs.Add(1)
	for i := range writes {
		if writes[i].Group != "" {
			writes[i].Group = fmt.Sprintf("%d %s", number, writes[i].Group)
		}
		if writes[i].RequestID == "" {
			writes[i].RequestID = muster.NewUUID()
		}
		if writes[i].Node == "" {
			writes[i].Node = r.cfg.Self.ID
		}
	}
	return writes
}

// admit refuses a write at once while the store is down or has diverged, after
// giving a store that may just be back a short chance.
func (r *Replica) admit(ctx context.Context, hop bool) error {
	if r.cfg.Cluster() == "" {
		return muster.Errorf(muster.CodeNotFormed, "write: this node belongs to no cluster yet")
	}
	fallback := r.cfg.Fallback != nil && !hop
	looked := r.store.looked()
	v := r.store.now()
	err := v.refusal(fallback)
	if err == nil || v.state == Diverged {
		return err
	}
	r.Poke()
	timer := time.NewTimer(lookWait)
	defer timer.Stop()
	select {
	case <-looked:
	case <-timer.C:
	case <-ctx.Done():
	}
	return r.store.now().refusal(fallback)
}

// combine is the only writer: it takes all waiting jobs, up to one batch, to the
// store in one call.
func (r *Replica) combine(ctx context.Context) {
	var held *job // did not fit into the batch before
	for ctx.Err() == nil {
		first := held
		if held = nil; first == nil {
			select {
			case first = <-r.queue:
			case <-ctx.Done():
				return
			}
		}
		var batch []*job
		batch, held = r.gather(first)
		r.run(ctx, batch)
	}
}

// gather adds waiting jobs to first until the batch is full.
func (r *Replica) gather(first *job) (batch []*job, held *job) {
	batch, count := []*job{first}, len(first.writes)
	for count < store.MaxBatch {
		select {
		case next := <-r.queue:
			if count+len(next.writes) > store.MaxBatch {
				return batch, next
			}
			batch, count = append(batch, next), count+len(next.writes)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// run writes one batch and answers its jobs. A caller that left before takes its
// writes along; one that leaves now changes nothing for the others.
func (r *Replica) run(ctx context.Context, batch []*job) {
	batch = slices.DeleteFunc(batch, func(j *job) bool { return !j.take() })
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	r.metrics.batches.Observe(float64(len(batch)))
	v := r.store.now()
	if err := v.refusal(r.cfg.Fallback != nil); err != nil {
		answerAll(batch, err)
		return
	}
	if v.own != nil {
		r.runElsewhere(ctx, batch, v.own)
		return
	}
	switch err := r.commit(ctx, r.cfg.Store, batch); {
	case err == nil:
	case unreachable(err), unknown(err):
		r.store.lost(err)
		r.Poke()
		r.runElsewhere(ctx, batch, err)
	case len(batch) > 1 && !hopeless(err):
		r.runEach(ctx, batch)
	default:
		answerAll(batch, err)
	}
}

// runEach takes the jobs of a refused batch to the store one by one, so that only
// the one at fault is refused.
func (r *Replica) runEach(ctx context.Context, batch []*job) {
	for _, j := range batch {
		if err := r.commit(ctx, r.cfg.Store, []*job{j}); err != nil {
			answerAll([]*job{j}, err)
		}
	}
}

func unknown(err error) bool {
	return errors.Is(err, &muster.Error{Code: muster.CodeOutcomeUnknown})
}

// take claims a job for the combiner, unless its caller is gone.
func (j *job) take() bool {
	return j.ctx.Err() == nil && j.claim.CompareAndSwap(queued, taken)
}

func answerAll(batch []*job, err error) {
	for _, j := range batch {
		j.answer <- answer{err: err}
	}
}

// hopeless reports whether an error is about the store and not about one write,
// so that trying one by one would not help.
func hopeless(err error) bool {
	switch muster.CodeOf(err) {
	case muster.CodeStoreSchema, muster.CodeStoreMismatch, muster.CodeNotFormed, muster.CodeDiverged:
		return true
	}
	return errors.Is(err, store.ErrNoCluster)
}

// runElsewhere sends a batch through the fallback; why is the state of the own way.
// What was forwarded to this node goes no further.
func (r *Replica) runElsewhere(ctx context.Context, batch []*job, why error) {
	ours := batch[:0:0]
	for _, j := range batch {
		if j.hop || r.cfg.Fallback == nil {
			answerAll([]*job{j}, why)
		} else {
			ours = append(ours, j)
		}
	}
	if len(ours) == 0 {
		return
	}
	err := r.commit(ctx, r.cfg.Fallback, ours)
	switch {
	case err == nil:
	case unknown(why): // the store knows by now what we could not hear; nobody could ask it
		answerAll(ours, why)
	default:
		answerAll(ours, err)
	}
}

// commit writes a batch to one store, applies the result here and answers. On an
// error nothing was answered.
func (r *Replica) commit(ctx context.Context, s store.Store, batch []*job) error {
	var writes []store.Write
	for _, j := range batch {
		writes = append(writes, j.writes...)
	}
	outcomes, err := applySurely(ctx, s, writes)
	if err != nil {
		return err
	}
	changes := r.count(outcomes)
	if err := r.settle(ctx, changes, s.Kind() != store.KindPeer); err != nil {
		return err
	}
	for _, j := range batch {
		n := len(j.writes)
		j.answer <- answer{outcomes: outcomes[:n:n]}
		outcomes = outcomes[n:]
	}
	return nil
}

// applySurely asks again, by request id, for an outcome that got lost.
func applySurely(ctx context.Context, s store.Store, writes []store.Write) ([]store.Outcome, error) {
	outcomes, err := s.Apply(ctx, writes)
	var lost error
	for range maxReasking {
		if unknown(err) {
			lost = err
		}
		if lost == nil || err == nil || ctx.Err() != nil {
			break
		}
		sleep(ctx, reaskPause)
		outcomes, err = s.Apply(ctx, writes)
	}
	switch {
	case err != nil && lost != nil:
		return nil, lost
	case err != nil:
		return nil, err
	case len(outcomes) != len(writes):
		return nil, muster.Errorf(muster.CodeOutcomeUnknown, "the store gave %d outcomes for %d writes", len(outcomes), len(writes))
	}
	return outcomes, nil
}

// count returns the changes that were made now, in order, and counts conflicts.
func (r *Replica) count(outcomes []store.Outcome) []muster.Change {
	var changes []muster.Change
	for _, o := range outcomes {
		switch {
		case o.Err != nil && o.Err.Code == muster.CodeConflict:
			r.metrics.conflicts.Inc()
		case o.Change != nil:
			changes = append(changes, *o.Change)
		}
	}
	slices.SortFunc(changes, func(a, b muster.Change) int { return int(a.Rev - b.Rev) })
	return slices.CompactFunc(changes, func(a, b muster.Change) bool { return a.Rev == b.Rev })
}

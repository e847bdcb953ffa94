package replica

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Bounds of writing.
const (
	queueSize = 256                    // jobs that wait; beyond that callers are refused
	lookWait  = 100 * time.Millisecond // a write waits so long for a store that may be back
)

// job is one caller's writes on their way through the combiner.
type job struct {
	ctx    context.Context // of the one request that the job is: tells that its caller is gone
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
// store in one call. While it does so, settleAll brings the batch before into the
// copy.
func (r *Replica) combine(ctx context.Context) {
	defer close(r.committed)
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
		runtime.Gosched() // the callers just answered may have more
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

// take claims a job for the combiner, unless its caller is gone.
func (j *job) take() bool {
	return j.ctx.Err() == nil && j.claim.CompareAndSwap(queued, taken)
}

func answerAll(batch []*job, err error) {
	for _, j := range batch {
		j.answer <- answer{err: err}
	}
}

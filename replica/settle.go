package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// settleWait bounds the wait for the revisions of others before ours.
const settleWait = 2 * time.Second

// committed is a batch that is durable in the store and not yet served here.
type committed struct {
	jobs     []*job
	outcomes []store.Outcome
	tell     bool // nobody else tells the peers
}

// settleAll brings committed batches into the copy, in order, and answers them. It
// goes on when ctx ends, until the last batch is answered.
func (r *Replica) settleAll(ctx context.Context) {
	for c := range r.committed {
		if err := r.settle(ctx, r.count(c.outcomes), c.tell); err != nil {
			answerAll(c.jobs, err)
			continue
		}
		for _, j := range c.jobs {
			n := len(j.writes)
			j.answer <- answer{outcomes: c.outcomes[:n:n]}
			c.outcomes = c.outcomes[n:]
		}
	}
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

// settle brings what was just written into the copy before anybody is answered,
// and tells the peers. An answer is never held back for long: the write is durable
// whatever happens here. An error means that the store has another history.
func (r *Replica) settle(ctx context.Context, changes []muster.Change, tell bool) error {
	if len(changes) == 0 {
		return nil
	}
	last := changes[len(changes)-1]
	err := r.copy.advance(ctx, changes, 0, origin{source: fromStore, way: muster.WayWrite})
	switch {
	case err == nil:
	case errors.Is(err, config.ErrChain):
		r.metrics.failures.Inc()
		return r.diverge(nil, "written as revision %d of a store that has lost history: %w", last.Rev, err)
	case errors.Is(err, config.ErrGap), errors.Is(err, errNoCopy):
		// Another node wrote in between.
	default:
		r.metrics.failIf(r.log, "own write is not served yet", err)
	}
	if tell {
		r.tell(changes)
	}
	if r.position().Rev < last.Rev {
		r.need()
		ctx, cancel := context.WithTimeout(ctx, settleWait)
		defer cancel()
		if err := r.Wait(ctx, last.Rev); err != nil {
			r.log.Warn("own write is not served yet", "error", err)
		}
	}
	return nil
}

// tell hands the newest run of consecutive changes to the fan-out.
func (r *Replica) tell(changes []muster.Change) {
	start := len(changes) - 1
	for start > 0 && changes[start-1].Rev == changes[start].Rev-1 {
		start--
	}
	r.fan.offer(changes[start:])
}

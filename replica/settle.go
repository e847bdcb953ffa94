package replica

import (
	"context"
	"errors"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

// settle brings what was just written into the copy before anybody is answered,
// and tells the peers. An answer is never held back for long: the write is durable
// whatever happens here. An error means that the store has another history.
func (r *Replica) settle(ctx context.Context, changes []muster.Change, tell bool) error {
	if len(changes) == 0 {
		return nil
	}
	last := changes[len(changes)-1]
	err := r.copy.advance(ctx, changes, 0, fromStore)
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

package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// How a lost outcome is asked for.
const (
	reaskPause  = 100 * time.Millisecond
	maxReasking = 3
)

// run takes one batch to the store and answers the jobs that fail. A caller that left before takes its
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

// commit writes a batch to one store and hands it on to be settled and answered.
// On an error nothing was answered.
func (r *Replica) commit(ctx context.Context, s store.Store, batch []*job) error {
	var writes []store.Write
	for _, j := range batch {
		writes = append(writes, j.writes...)
	}
	outcomes, err := applySurely(ctx, s, writes)
	if err != nil {
		return err
	}
	r.committed <- committed{batch, outcomes, s.Kind() != store.KindPeer}
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

package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// keep looks at the store: every few seconds while it answers, often while it
// does not, and at once when it is poked.
func (r *Replica) keep(ctx context.Context) {
	for {
		r.look(ctx)
		sleep(ctx, lookGap)
		if !r.rest(ctx, r.lookPause()) {
			return
		}
	}
}

// lookPause is short while writes wait for the store to come back.
func (r *Replica) lookPause() time.Duration {
	v := r.store.now()
	switch {
	case r.View() == nil, v.own != nil && v.state != Fresh:
		return retryEvery
	case v.own != nil: // the fallback works
		return fallbackEvery
	}
	return headEvery + rand.N(headJitter)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// look judges the store, by the node's own way and else by the fallback.
func (r *Replica) look(ctx context.Context) {
	own := r.judge(ctx, r.cfg.Store, nil)
	if own == nil || ctx.Err() != nil {
		return
	}
	if r.cfg.Fallback != nil && unreachable(own) {
		if r.judge(ctx, r.cfg.Fallback, own) == nil {
			return
		}
	}
	r.stale(own)
	signal(r.pull) // from peers, if one is further
}

// judge compares the store with the copy and brings the copy to its head. Own is
// why the node's own store was not reached, if s is the fallback. It returns an
// error if s gave no answer; a diverged store did.
func (r *Replica) judge(ctx context.Context, s store.Store, own error) error {
	at := r.position() // before the store is asked: it may only be ahead
	cluster, head, err := askHead(ctx, s)
	switch {
	case errors.Is(err, store.ErrNoCluster) && at.Rev > 0:
		_ = r.diverge(own, "the config store holds no cluster, this node serves revision %d of %s", at.Rev, r.cfg.Cluster())
		return nil
	case err != nil:
		return err
	case cluster.ID != r.cfg.Cluster():
		_ = r.diverge(own, "the config store belongs to cluster %s, this node to %s", cluster.ID, r.cfg.Cluster())
		return nil
	}
	head.Epoch = max(head.Epoch, cluster.Epoch)
	none := at == muster.Position{} // there was no copy then; one may have come from a peer meanwhile
	if text := conflictText(at, head.Position); !none && text != "" {
		_ = r.diverge(own, "%s%s", text, r.signers(head.Position))
		return nil
	}
	return r.follow(ctx, s, head, own)
}

func askHead(ctx context.Context, s store.Store) (store.Cluster, store.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	cluster, err := s.Cluster(ctx)
	if err != nil {
		return cluster, store.Head{}, err
	}
	head, err := s.Head(ctx)
	return cluster, head, err
}

// follow brings the copy to the head of a store that does not contradict it.
func (r *Replica) follow(ctx context.Context, s store.Store, head store.Head, own error) error {
	if r.View() != nil && r.position() == head.Position {
		r.fresh(own) // nothing to ask for
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	if err := r.catchUp(ctx, supply{s, followTimeout, pulled(fromStore, false, "")}, head); err != nil {
		if r.contradicts(err, own) {
			return nil
		}
		return err
	}
	if got := r.position().Rev; got < head.Rev {
		return muster.Errorf(muster.CodeStoreUnavailable, "the config store names revision %d and gives changes up to %d", head.Rev, got)
	}
	r.fresh(own)
	return nil
}

// contradicts judges an error of applying what the store said.
func (r *Replica) contradicts(err, own error) bool {
	if errors.Is(err, config.ErrChain) || errors.Is(err, &muster.Error{Code: muster.CodeStoreMismatch}) {
		r.metrics.failures.Inc()
		_ = r.diverge(own, "what the store says does not continue what this node serves: %w", err)
		return true
	}
	return false
}

// signers names members that serve more than a store that lost its end has.
func (r *Replica) signers(head muster.Position) string {
	ahead := r.claims.beyond(head)
	if len(ahead) == 0 {
		return ""
	}
	return "; " + ahead[0].Short() + " also serves more than the store has"
}

// chat exchanges digests with one live peer after another, so that a quiet cluster
// levels too: often while the store does not answer, since nothing else would.
func (r *Replica) chat(ctx context.Context) {
	for {
		pause := headEvery + rand.N(headJitter)
		if r.store.now().own != nil {
			pause = chatWhileStale
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		live := r.cfg.Peers.Live()
		r.claims.keep(live)
		if len(live) > 0 {
			_ = r.askDigest(ctx, live[rand.N(len(live))]) // the next one is asked in a moment
		}
	}
}

package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Bounds of pulling.
const (
	storeTry       = 500 * time.Millisecond // at the store, while a peer can tell instead
	hintGrace      = 50 * time.Millisecond  // for the hint that a digest ran ahead of
	pullPause      = 100 * time.Millisecond // between pulls that got nowhere
	chatWhileStale = time.Second
	farBehind      = 50_000 // revisions; beyond that a snapshot is cheaper than the log
)

// need asks for everything up to now, at once.
func (r *Replica) need() { signal(r.pull) }

// pullLoop is the puller: one pull at a time, however many ask for it.
func (r *Replica) pullLoop(ctx context.Context) {
	for {
		select {
		case <-r.pull:
			r.pullOnce(ctx)
		case <-r.soft:
			before := r.position()
			if r.arrives(ctx) {
				r.told.Store(false)
				continue
			}
			if r.pullOnce(ctx); r.position() == before {
				r.calm(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// calm ignores digests for a moment: nobody could give what they promise.
func (r *Replica) calm(ctx context.Context) {
	timer := time.NewTimer(pullPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.pull:
		signal(r.pull)
	case <-ctx.Done():
	}
}

// arrives waits a moment for the hints that digests ran ahead of, and reports
// whether they made a pull unnecessary. It does not wait once there is a need.
func (r *Replica) arrives(ctx context.Context) bool {
	grace := time.NewTimer(hintGrace)
	defer grace.Stop()
	for {
		moved := r.copy.moved()
		if r.View() != nil && r.claims.highest() <= r.position().Rev {
			return true
		}
		select {
		case <-moved:
		case <-grace.C:
			return false
		case <-r.pull:
			return false
		case <-ctx.Done():
			return true
		}
	}
}

// pullOnce asks the store. If that does not answer or has lost history, it asks the
// peers: they may have more of what was acknowledged.
func (r *Replica) pullOnce(ctx context.Context) {
	told := r.told.Swap(false)
	if v := r.store.now(); v.own == nil && v.state != Diverged {
		err := r.pullStore(ctx, told)
		if err == nil || r.contradicts(err, nil) {
			return
		}
		r.log.Debug("pull from the store gave nothing", "error", err)
		if unreachable(err) {
			r.store.lost(err)
			signal(r.kick)
		}
	}
	r.pullPeers(ctx, told)
}

// pullStore brings the copy to the head of the node's own store.
func (r *Replica) pullStore(ctx context.Context, told bool) error {
	patience := checkTimeout
	if len(r.sources()) > 0 {
		patience = storeTry
	}
	if r.View() == nil {
		return errNoCopy // the keeper takes the first copy, after it has judged the store
	}
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	return r.catchUp(ctx, supply{r.cfg.Store, patience, pulled(fromStore, told, "")}, store.Head{Position: r.position()})
}

// supply is a store to pull from.
type supply struct {
	store.Store

	patience time.Duration // for its first answer
	origin   origin
}

// pulled is the origin of what was pulled, because of a digest or not.
func pulled(source string, told bool, peer muster.NodeID) origin {
	way := muster.Way(source)
	if told {
		way = muster.WayDigest
	}
	return origin{source, way, peer}
}

// catchUp applies all that s has beyond the copy. Head is what is known of it.
func (r *Replica) catchUp(ctx context.Context, s supply, head store.Head) error {
	select {
	case r.storePull <- struct{}{}:
		defer func() { <-r.storePull }()
	case <-ctx.Done(): // the store may keep the other pull waiting for long
		return ctx.Err()
	}
	at, patience := r.position(), s.patience
	if r.View() == nil || head.Compacted > at.Rev || head.Rev-at.Rev > max(farBehind, head.Items) {
		return r.takeSnapshot(ctx, s)
	}
	for {
		changes, err := changesWithin(ctx, s, at.Rev, patience)
		if errors.Is(err, store.ErrCompacted) {
			return r.takeSnapshot(ctx, s)
		}
		if err != nil {
			return err
		}
		if err := r.take(ctx, changes, head, s.origin); err != nil {
			return err
		}
		if len(changes) == 0 || at == r.position() {
			return nil
		}
		at, patience = r.position(), followTimeout
	}
}

func changesWithin(ctx context.Context, s store.Store, after int64, patience time.Duration) ([]muster.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.Changes(ctx, after, store.MaxChanges)
}

// take applies changes that a source sent; the epoch counts once the copy stands
// at the head that the source named.
func (r *Replica) take(ctx context.Context, changes []muster.Change, head store.Head, from origin) error {
	epoch := int64(0)
	last := r.position()
	if n := len(changes); n > 0 {
		last.Rev = changes[n-1].Rev
	}
	if last.Rev >= head.Rev {
		epoch = head.Epoch
	}
	err := r.copy.advance(ctx, changes, epoch, from)
	if err == nil && len(changes) > 0 {
		r.metrics.pulled.WithLabelValues(from.source).Add(float64(len(changes)))
		r.applyEarly(ctx)
	}
	return err
}

func (r *Replica) takeSnapshot(ctx context.Context, s supply) error {
	snap, err := s.Snapshot(ctx)
	if err != nil {
		return err
	}
	return r.copy.replace(ctx, r.cfg.Cluster(), snap, s.origin)
}

// sources returns the live peers that are further than this node, in any order;
// without a copy, all live peers are.
func (r *Replica) sources() []muster.NodeID {
	live := slices.Clone(r.cfg.Peers.Live())
	if r.View() != nil {
		at := r.position()
		live = slices.DeleteFunc(live, func(id muster.NodeID) bool { return !r.claims.ahead(id, at) })
	}
	rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
	return live
}

// pullPeers asks peers until the copy is as far as any of them claims to be.
func (r *Replica) pullPeers(ctx context.Context, told bool) {
	for _, id := range r.sources() {
		err := r.pullPeer(ctx, id, pulled(fromPeer, told, id))
		switch {
		case err == nil:
		case errors.Is(err, config.ErrChain), errors.Is(err, errOlder):
			r.claims.refuse(id)
			r.metrics.failures.Inc()
			r.log.Warn("peer serves another history", "peer", id, "error", err)
		default:
			r.log.Debug("pull from peer gave nothing", "peer", id, "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// pullPeer brings the copy to where one peer stands.
func (r *Replica) pullPeer(ctx context.Context, id muster.NodeID, from origin) error {
	if r.View() == nil {
		return r.takePeerSnapshot(ctx, id, from)
	}
	for {
		at := r.position()
		changes, head, err := r.fetchChanges(ctx, id, at.Rev)
		if errors.Is(err, store.ErrCompacted) {
			return r.takePeerSnapshot(ctx, id, from)
		}
		if err != nil {
			return err
		}
		if head.Rev < at.Rev || len(changes) == 0 {
			return nil
		}
		if err := r.take(ctx, changes, store.Head{Position: head}, from); err != nil {
			return err
		}
		if r.position().Rev >= head.Rev {
			return nil
		}
	}
}

func (r *Replica) takePeerSnapshot(ctx context.Context, id muster.NodeID, from origin) error {
	snap, err := r.fetchSnapshot(ctx, id)
	if err != nil {
		return err
	}
	return r.copy.replace(ctx, r.cfg.Cluster(), snap, from)
}

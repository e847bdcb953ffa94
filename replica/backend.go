package replica

import (
	"context"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Backend returns this node's store as other nodes may use it, for peer.Handler.
// Their writes go through the combiner of this node and no further; changes come
// from memory where it reaches back, all else from the store itself. Its kind is
// that of the store, so that peer.Handler refuses second hops.
func (r *Replica) Backend() store.Store { return backend{r.cfg.Store, r} }

// backend is the node's own store with the combiner and the memory before it.
type backend struct {
	store.Store

	r *Replica
}

// Apply goes through the combiner.
func (b backend) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	return b.r.submit(ctx, writes, true)
}

// Changes come from memory if it has any beyond after.
func (b backend) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	if changes, ok := b.r.copy.after(after, clampLimit(limit)); ok && len(changes) > 0 && b.trusted() {
		return changes, nil
	}
	return b.Store.Changes(ctx, after, limit)
}

// Snapshot comes from memory if that is at the head of the store.
func (b backend) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	if !b.trusted() {
		return b.Store.Snapshot(ctx)
	}
	head, err := b.Store.Head(ctx)
	if err != nil {
		return nil, err
	}
	if view := b.r.View(); view != nil && view.Position() == head.Position {
		return snapshotOf(view), nil
	}
	return b.Store.Snapshot(ctx)
}

// trusted reports whether memory is known to be of the store's history.
func (b backend) trusted() bool { return b.r.store.now().state == Fresh }

// Close does nothing: the store belongs to this node.
func (b backend) Close() error { return nil }

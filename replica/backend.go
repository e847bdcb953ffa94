package replica

import (
	"context"
	"slices"

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

// Apply goes through the combiner. Which node a write came by is known from the
// connection.
func (b backend) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if b.r.cfg.Caller != nil {
		from, ok := b.r.cfg.Caller(ctx)
		if !ok {
			return nil, muster.Errorf(muster.CodeForbidden, "only members may write")
		}
		writes = slices.Clone(writes)
		for i := range writes {
			writes[i].Node = from
		}
	}
	return b.r.submit(ctx, writes, true)
}

// Acquire takes a lease for the node at the other end of the connection only.
func (b backend) Acquire(ctx context.Context, c store.Claim) (store.Lease, error) {
	if err := b.own(ctx, c); err != nil {
		return store.Lease{}, err
	}
	return b.Store.Acquire(ctx, c)
}

// Renew prolongs a lease of the node at the other end only.
func (b backend) Renew(ctx context.Context, c store.Claim) (store.Lease, error) {
	if err := b.own(ctx, c); err != nil {
		return store.Lease{}, err
	}
	return b.Store.Renew(ctx, c)
}

// Release frees a lease of the node at the other end only.
func (b backend) Release(ctx context.Context, c store.Claim) error {
	if err := b.own(ctx, c); err != nil {
		return err
	}
	return b.Store.Release(ctx, c)
}

// own refuses claims in the name of another node.
func (b backend) own(ctx context.Context, c store.Claim) error {
	if b.r.cfg.Caller == nil {
		return nil
	}
	from, ok := b.r.cfg.Caller(ctx)
	if !ok || from != c.Holder {
		return muster.Errorf(muster.CodeForbidden, "lease %s: node %s asks in the name of node %s", muster.Printable(c.Name), from.Short(), c.Holder.Short())
	}
	return nil
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

// PutMember stores the record of the node that calls: a peer speaks for itself only.
func (b backend) PutMember(ctx context.Context, m store.Member) error {
	if err := b.owns(ctx, m.ID); err != nil {
		return err
	}
	return b.Store.PutMember(ctx, m)
}

// RemoveMember removes the record of the node that calls, and of no other.
func (b backend) RemoveMember(ctx context.Context, id muster.NodeID) error {
	if err := b.owns(ctx, id); err != nil {
		return err
	}
	return b.Store.RemoveMember(ctx, id)
}

// owns returns an error unless the caller is the node that a record is about.
func (b backend) owns(ctx context.Context, id muster.NodeID) error {
	if b.r.cfg.Caller == nil {
		return nil
	}
	if from, ok := b.r.cfg.Caller(ctx); !ok || from != id {
		return muster.Errorf(muster.CodeForbidden, "node %s may not change the record of node %s",
			muster.Printable(from.Short()), muster.Printable(id.Short())).WithFix("each node keeps its own record in the member list")
	}
	return nil
}

// trusted reports whether memory is known to be of the store's history.
func (b backend) trusted() bool { return b.r.store.now().state == Fresh }

// Close does nothing: the store belongs to this node.
func (b backend) Close() error { return nil }

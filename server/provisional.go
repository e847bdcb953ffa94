package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// tombstonesPath takes tombstones that members have signed.
const tombstonesPath = "/peer/v1/tombstones"

const (
	maxSigned      = 64 // at a time
	maxSignedBody  = 256 << 10
	settleTimeout  = 10 * time.Second
	historyPerPage = 1000
)

// Provisional signs a tombstone, makes it count here and tells the live members.
// See mgmt.Expulsion.
func (g *graves) Provisional(ctx context.Context, t muster.Tombstone) (muster.Expulsion, error) {
	s := muster.SignedTombstone{Tombstone: t, Cluster: g.n.state.Cluster().ID}
	if view := g.n.View(); view != nil {
		s.Rev = view.Position().Rev
	}
	s = muster.SignTombstone(s, g.n.self.Key)
	if err := g.take([]muster.SignedTombstone{s}); err != nil {
		return muster.Expulsion{}, err
	}
	g.spread(ctx)
	return muster.Expulsion{Tombstone: s.Tombstone, Provisional: true, Expires: s.Expires()}, nil
}

// take verifies tombstones, keeps them on disk and acts on them. One that does not
// count is refused with all that came with it.
func (g *graves) take(list []muster.SignedTombstone) error {
	for _, s := range list {
		if err := g.check(s); err != nil {
			return err
		}
	}
	if err := g.edit(func(held []muster.SignedTombstone) []muster.SignedTombstone {
		for _, s := range list {
			if !slices.ContainsFunc(held, func(h muster.SignedTombstone) bool { return h.NodeID == s.NodeID }) {
				held = append(held, s)
			}
		}
		return held
	}); err != nil {
		return err
	}
	g.refresh()
	return nil
}

// check returns why a tombstone does not count here. The signer must be a member
// that nobody has expelled.
func (g *graves) check(s muster.SignedTombstone) error {
	if err := s.Verify(g.n.state.Cluster().ID, time.Now()); err != nil {
		return err
	}
	switch {
	case g.has(s.Via):
		return muster.Errorf(muster.CodeForbidden, "node %s signed the tombstone, and was expelled itself", s.Via.Short())
	case !g.n.knows(s.Via):
		return muster.Errorf(muster.CodeForbidden, "node %s signed the tombstone, and is no member", s.Via.Short())
	case len(*g.signed.Load()) >= maxSigned:
		return muster.Errorf(muster.CodeTooManyRequests, "%d provisional tombstones are held already", maxSigned)
	}
	return nil
}

// knows reports whether a node is a member, this one included.
func (n *node) knows(id muster.NodeID) bool {
	return slices.ContainsFunc(n.gossip.Members(), func(v gossip.View) bool { return v.ID == id }) ||
		slices.ContainsFunc(n.roster.list(), func(m store.Member) bool { return m.ID == id })
}

// edit replaces the list, on disk first.
func (g *graves) edit(change func([]muster.SignedTombstone) []muster.SignedTombstone) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := *g.signed.Load()
	after := change(slices.Clone(before))
	if len(after) == len(before) {
		return nil
	}
	if err := g.n.state.SetTombstones(after); err != nil {
		return err
	}
	g.signed.Store(&after)
	return nil
}

// drop removes tombstones that count no more, or that a document has replaced.
func (g *graves) drop(gone func(muster.SignedTombstone) bool) {
	err := g.edit(func(held []muster.SignedTombstone) []muster.SignedTombstone { return slices.DeleteFunc(held, gone) })
	if err != nil {
		g.n.log.Warn("a tombstone was not removed from the data directory", "error", err)
	}
}

func (g *graves) lapse() {
	g.drop(func(s muster.SignedTombstone) bool {
		lapsed := !time.Now().Before(s.Expires())
		if lapsed {
			g.n.log.Warn("an expulsion has lapsed: the config store did not come back within a day", "member", s.Name, "member_id", s.NodeID)
		}
		return lapsed
	})
}

// spread tells every live member what it was not told yet.
func (g *graves) spread(ctx context.Context) {
	held := *g.signed.Load()
	if len(held) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, spreadTimeout)
	defer cancel()
	var calls sync.WaitGroup
	for _, id := range g.n.live() {
		if list := g.untold(id, held); len(list) > 0 {
			calls.Go(func() { g.tell(ctx, id, list) })
		}
	}
	calls.Wait()
}

func (g *graves) untold(id muster.NodeID, held []muster.SignedTombstone) (list []muster.SignedTombstone) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range held {
		if !g.told[id][string(s.Signature)] && s.NodeID != id {
			list = append(list, s)
		}
	}
	return list
}

// tell sends tombstones to a member. What it refuses is not sent again: it has its
// reasons.
func (g *graves) tell(ctx context.Context, id muster.NodeID, list []muster.SignedTombstone) {
	if err := g.n.tell(ctx, id, tombstonesPath, list); err != nil {
		g.n.log.Debug("a member was not told of an expulsion", "member", id, "error", err)
		if muster.CodeOf(err) != muster.CodeForbidden {
			return
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.told[id] == nil {
		g.told[id] = map[string]bool{}
	}
	for _, s := range list {
		g.told[id][string(s.Signature)] = true
	}
}

// serve takes tombstones from a member.
func (g *graves) serve(w http.ResponseWriter, r *http.Request) {
	var list []muster.SignedTombstone
	err := json.NewDecoder(io.LimitReader(r.Body, maxSignedBody)).Decode(&list)
	switch {
	case err != nil:
		peer.WriteProblem(w, muster.Errorf(muster.CodeBadRequest, "tombstones: %w", err))
		return
	case len(list) > maxSigned:
		peer.WriteProblem(w, muster.Errorf(muster.CodeBadRequest, "tombstones: want at most %d", maxSigned))
		return
	}
	list = slices.DeleteFunc(list, func(s muster.SignedTombstone) bool { return g.has(s.NodeID) || g.outdated(r.Context(), s) })
	if err := g.take(list); err != nil {
		from, _ := caller(r.Context())
		g.n.log.WarnContext(r.Context(), "tombstone refused", "from", from, "error", err)
		why, ok := errors.AsType[*muster.Error](err)
		if !ok {
			why = muster.Errorf(muster.CodeInternal, "%w", err)
		}
		peer.WriteProblem(w, why)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// settle makes documents of the tombstones once the store answers. Every member
// that holds one tries: the first one wins, and the one that signed may be gone.
func (g *graves) settle(ctx context.Context) {
	held := *g.signed.Load()
	if len(held) == 0 || g.n.replicaStatus().StoreState != replica.Fresh {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for _, s := range held {
		if err := g.record(ctx, s); err != nil {
			g.n.log.DebugContext(ctx, "a tombstone did not get into the config store", "member", s.NodeID, "error", err)
			continue
		}
		g.drop(func(h muster.SignedTombstone) bool { return h.NodeID == s.NodeID })
		g.refresh()
	}
}

// record writes the document, unless the history has more to say of the node since
// it was signed: it may have been expelled and readmitted meanwhile.
func (g *graves) record(ctx context.Context, s muster.SignedTombstone) error {
	settled, err := g.overtaken(ctx, s)
	if settled || err != nil {
		return err
	}
	spec, err := json.Marshal(s.Tombstone)
	if err == nil {
		spec, err = config.Canonical(spec)
	}
	if err != nil {
		return err
	}
	outcomes, err := g.n.Apply(ctx, []store.Write{{
		Op: muster.OpPut, Kind: muster.TombstoneKind, Name: string(s.NodeID), Spec: spec,
		Actor: s.By, Node: g.n.self.ID, Reason: s.Reason, RequestID: muster.NewUUID(),
	}})
	if err != nil {
		return err
	}
	if out := outcomes[0]; out.Err != nil && out.Err.Code != muster.CodeConflict {
		return out.Err
	}
	return nil // written, or somebody else was faster
}

// outdated is overtaken for a node that knows the store to be in step with it.
func (g *graves) outdated(ctx context.Context, s muster.SignedTombstone) bool {
	if g.n.replicaStatus().StoreState != replica.Fresh {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, spreadTimeout)
	defer cancel()
	settled, err := g.overtaken(ctx, s)
	return err == nil && settled
}

// overtaken reports whether the document was written or deleted after the tombstone
// was signed.
func (g *graves) overtaken(ctx context.Context, s muster.SignedTombstone) (bool, error) {
	for after := s.Rev; ; {
		changes, err := g.n.Changes(ctx, after, historyPerPage)
		if muster.CodeOf(err) == muster.CodeCompacted || errors.Is(err, store.ErrCompacted) {
			return false, nil // better expelled twice than not at all
		}
		if err != nil || len(changes) == 0 {
			return false, err
		}
		if slices.ContainsFunc(changes, func(c muster.Change) bool { return supersedes(c, s) }) {
			return true, nil
		}
		after = changes[len(changes)-1].Rev
	}
}

package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
)

// gravesEvery is how often tombstones that only a member has signed are looked
// after.
const gravesEvery = time.Second

// graves is who was expelled: by a document in the configuration, which is the
// authority, or for a day by the word of a member, while the config store is down.
// The configuration is the node's own copy, so that an expulsion holds with the
// store down too.
type graves struct {
	n         *node
	documents *config.Typed[muster.Tombstone]
	signed    atomic.Pointer[[]muster.SignedTombstone] // verified
	last      atomic.Pointer[graveList]

	mu    sync.Mutex
	acted map[muster.NodeID]bool            // whose links were dropped
	told  map[muster.NodeID]map[string]bool // members, and the signatures they hold
}

// graveList is what one snapshot and one list of signed tombstones amount to.
type graveList struct {
	view   *config.Snapshot
	signed *[]muster.SignedTombstone
	known  map[muster.NodeID]muster.Expulsion
}

func newGraves(n *node) *graves {
	g := &graves{
		n: n, documents: config.NewTyped[muster.Tombstone](muster.TombstoneKind),
		acted: map[muster.NodeID]bool{}, told: map[muster.NodeID]map[string]bool{},
	}
	kept := slices.DeleteFunc(n.state.Tombstones(), func(s muster.SignedTombstone) bool {
		return s.Verify(n.state.Cluster().ID, time.Now()) != nil
	})
	g.signed.Store(&kept)
	return g
}

// list returns who is expelled now. It costs nothing while nothing changes:
// memberlist asks under its lock.
func (g *graves) list() map[muster.NodeID]muster.Expulsion {
	view, signed := g.n.View(), g.signed.Load()
	if last := g.last.Load(); last != nil && last.view == view && last.signed == signed {
		return last.known
	}
	next := &graveList{view: view, signed: signed, known: g.collect(view, *signed)}
	g.last.Store(next)
	return next.known
}

// collect gives the documents precedence, and no word to members that were expelled
// by one.
func (g *graves) collect(view *config.Snapshot, signed []muster.SignedTombstone) map[muster.NodeID]muster.Expulsion {
	known := map[muster.NodeID]muster.Expulsion{}
	if view != nil {
		for name, t := range g.documents.All(view) {
			if doc, ok := view.Get(muster.TombstoneKind, name); ok && string(t.NodeID) == name {
				known[t.NodeID] = muster.Expulsion{Tombstone: *t, Rev: doc.Rev}
			}
		}
	}
	byDocument := maps.Clone(known)
	for _, s := range signed {
		_, mute := byDocument[s.Via]
		if _, there := known[s.NodeID]; !there && !mute {
			known[s.NodeID] = muster.Expulsion{Tombstone: s.Tombstone, Provisional: true, Expires: s.Expires()}
		}
	}
	return known
}

// Expelled returns the tombstone of a node. See mgmt.Expulsion.
func (g *graves) Expelled(id muster.NodeID) (muster.Expulsion, bool) {
	e, ok := g.list()[id]
	return e, ok
}

func (g *graves) has(id muster.NodeID) bool {
	_, ok := g.list()[id]
	return ok
}

// refusal is what an expelled node is told; nil for others.
func (g *graves) refusal(id muster.NodeID) *muster.Error {
	if e, ok := g.list()[id]; ok {
		return e.Refusal()
	}
	return nil
}

// why is the reason that the member list shows.
func (g *graves) why(id muster.NodeID) (string, bool) {
	e, ok := g.list()[id]
	if !ok {
		return "", false
	}
	return e.Sentence(), true
}

// run acts on tombstones until ctx ends.
func (g *graves) run(ctx context.Context) error {
	tick := time.NewTicker(gravesEvery)
	defer tick.Stop()
	for {
		g.lapse()
		g.refresh()
		g.spread(ctx)
		g.settle(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// refresh acts on what has changed: an expelled node loses its links at once, a
// readmitted one may be called again.
func (g *graves) refresh() {
	known := g.list()
	g.mu.Lock()
	var gone, back []muster.NodeID
	for id := range known {
		if !g.acted[id] && id != g.n.self.ID {
			g.acted[id] = true
			gone = append(gone, id)
		}
	}
	for id := range g.acted {
		if _, still := known[id]; !still {
			delete(g.acted, id)
			back = append(back, id)
		}
	}
	g.mu.Unlock()
	for _, id := range gone {
		g.bury(known[id])
	}
	for _, id := range back {
		g.raise(id)
	}
	if len(gone)+len(back) > 0 {
		g.n.gossip.Reconsider()
		g.n.changed.fire()
	}
	g.judgeSelf(known)
}

func (g *graves) bury(e muster.Expulsion) {
	g.n.link.Drop(e.NodeID)
	g.n.link.Forget(e.NodeID)
	g.n.record(slog.LevelWarn, "node expelled", muster.Event{
		Kind: muster.EventMemberExpel, Subject: e.Name, To: string(muster.StateExpelled), Rev: e.Rev,
		Code: muster.CodeExpelled, Text: e.Sentence(),
	}, "member", e.Name, "member_id", e.NodeID, "by", e.By, "reason", e.Reason, "provisional", e.Provisional)
}

func (g *graves) raise(id muster.NodeID) {
	views := g.n.gossip.Members()
	if i := slices.IndexFunc(views, func(v gossip.View) bool { return v.ID == id }); i >= 0 {
		g.n.learn([]store.Member{{ID: id, Endpoint: views[i].Endpoint}})
	}
	g.n.record(slog.LevelInfo, "node readmitted", muster.Event{
		Kind: muster.EventMemberExpel, Subject: id.Short(), From: string(muster.StateExpelled),
		Text: fmt.Sprintf("node %s is not expelled any more", id.Short()),
	}, "member_id", id)
}

// judgeSelf believes what the configuration says of this node once the store has
// confirmed it: the copy on disk may be older than a readmission.
func (g *graves) judgeSelf(known map[muster.NodeID]muster.Expulsion) {
	own, expelled := known[g.n.self.ID]
	if expelled && !own.Provisional && g.n.replicaStatus().StoreState == replica.Fresh {
		g.n.oust(own.Refusal())
	}
}

// changedBy is told of changes to the configuration. A change that is made while
// this node runs needs no confirmation.
func (g *graves) changedBy(changes []muster.Change) {
	if !slices.ContainsFunc(changes, func(c muster.Change) bool { return c.Kind == muster.TombstoneKind }) {
		return
	}
	g.drop(func(s muster.SignedTombstone) bool {
		return slices.ContainsFunc(changes, func(c muster.Change) bool { return supersedes(c, s) })
	})
	g.refresh()
	for _, c := range changes {
		news := c.Kind == muster.TombstoneKind && c.Name == string(g.n.self.ID) && c.Chain != (muster.Hash{})
		if own := g.refusal(g.n.self.ID); news && own != nil {
			g.n.oust(own)
		}
	}
}

// supersedes reports whether the history says more of a node than was known when a
// member signed.
func supersedes(c muster.Change, s muster.SignedTombstone) bool {
	return c.Kind == muster.TombstoneKind && c.Name == string(s.NodeID) && c.Rev > s.Rev
}

// Draft returns what a tombstone of a node says, or why the node must not go. See
// mgmt.Expulsion.
func (g *graves) Draft(id muster.NodeID, force bool) (muster.Tombstone, error) {
	n := g.n
	t := muster.Tombstone{NodeID: id, At: time.Now().UTC().Truncate(time.Second), Via: n.self.ID, KIDs: n.cookies.now().KIDs()}
	members := n.members()
	counted, healthy := n.size(), 0
	for _, m := range members {
		switch {
		case m.ID == id:
			t.Name = m.Name
			counted--
		case m.Healthy:
			healthy++
		}
	}
	cluster := n.state.Cluster()
	switch {
	case n.ousted.Load() != nil:
		return t, n.ousted.Load()
	case n.shared == nil && cluster.Store.Kind == store.KindSQLite && cluster.Store.Home == id:
		return t, muster.Errorf(muster.CodeExpelHome, "%s keeps the configuration of the cluster, which would be lost with it", n.homeName())
	case force:
		return t, nil
	case id == n.self.ID:
		return t, muster.Errorf(muster.CodeExpelUnsafe, "%s is the node that answers: it would stop", n.self.Name).
			WithFix("ask another member with --addr, or let it stop: --force")
	case 2*healthy <= counted:
		return t, muster.Errorf(muster.CodeExpelUnsafe, "without %s, %d of the remaining %d members are healthy, which is no majority: this may be the wrong side of a partition",
			t.Name, healthy, counted).WithFix("bring members back or look from the other side first; to expel it anyway: --force")
	}
	return t, nil
}

// doorman asks the policy of joining, unless this node has been told to go.
type doorman struct{ n *node }

// Admit refuses everybody once this node is expelled. See link.Gate.
func (d doorman) Admit(hello link.Hello, channel link.Channel) *muster.Error {
	if d.n.ousted.Load() != nil {
		return muster.Errorf(muster.CodeDraining, "%s was expelled and stops", d.n.self.Name)
	}
	return d.n.seeker.Policy().Admit(hello, channel)
}

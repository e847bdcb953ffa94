package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/replica"
)

// explainFor is how long an expelled node says so at /ready and in its status
// before it ends: balancers and probes look every few seconds.
const explainFor = 5 * time.Second

// How long a node weighs that a member calls it expelled. The store is read each five
// seconds at the latest.
const (
	weighAlone = time.Second     // nobody else talks to it
	weighMost  = 6 * time.Second // somebody does
	weighEvery = 100 * time.Millisecond
)

// refusedBy is told what a peer that this node dialled has against it. Who was
// expelled itself, or belongs to another cluster, has no say.
func (n *node) refusedBy(peer link.Hello, why *muster.Error) {
	own := n.state.Cluster().ID
	if why.Code != muster.CodeExpelled || own != "" && peer.Cluster != own || n.graves.has(peer.ID) {
		return
	}
	if n.accused.CompareAndSwap(false, true) {
		n.group.run("member", func(ctx context.Context) error {
			defer n.accused.Store(false)
			n.weigh(ctx, peer, why)
			return nil
		})
	}
}

// weigh decides whether to believe a member that calls this node expelled. It does
// not while others talk to this node and the store knows of no tombstone: then that
// member has missed the readmission.
func (n *node) weigh(ctx context.Context, by link.Hello, why *muster.Error) {
	tick := time.NewTicker(weighEvery)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < weighMost; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(begun) >= weighAlone && len(n.link.Links()) == 0 {
			n.oust(why)
			return
		}
	}
	if n.replicaStatus().StoreState != replica.Fresh || n.graves.has(n.self.ID) {
		n.oust(why)
		return
	}
	n.log.WarnContext(ctx, "a member calls this node expelled, and the configuration does not", "member", by.Name, "member_id", by.ID)
	n.seeker.Pardon()
}

// oust makes this node stop being a member: no links, no writes, not ready, and
// the process ends. It never blocks.
func (n *node) oust(why *muster.Error) {
	info, _ := why.Code.Info()
	why = why.WithFix("%s", info.Fix) // not what a peer recommends
	if !n.ousted.CompareAndSwap(nil, why) {
		return
	}
	n.record(slog.LevelError, "this node was expelled from the cluster", muster.Event{
		Kind: muster.EventMemberExpel, Subject: n.self.Name, To: string(muster.StateExpelled), Code: why.Code, Text: why.Text,
	}, "reason", why.Text, "fix", why.Fix)
	n.changed.fire()
	n.group.run("member", func(ctx context.Context) error {
		for _, l := range n.link.Links() {
			n.link.Drop(l.Peer)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(explainFor, n.cfg.DrainDelay)):
			return why
		}
	})
}

// ownTombstone is what an expelled node says of itself: what it was told, or what
// its copy of the configuration holds, which may be older than a readmission.
func (n *node) ownTombstone() *muster.Error {
	if why := n.ousted.Load(); why != nil {
		return why
	}
	return n.graves.refusal(n.self.ID)
}

// expelledProblems says that this node is expelled, and which expelled machines
// still know a cookie that this node accepts.
func (n *node) expelledProblems() (list []muster.Problem) {
	if why := n.ownTombstone(); why != nil {
		list = append(list, muster.Problem{Code: why.Code, Text: why.Text, Fix: why.Advice(), Since: n.begun})
	}
	for _, e := range n.graves.list() {
		if p, ok := n.knowsCookie(e); ok {
			list = append(list, p)
		}
	}
	return list
}

// knowsCookie reports whether an expelled machine could come back under a new name.
func (n *node) knowsCookie(e muster.Expulsion) (muster.Problem, bool) {
	for _, kid := range e.KIDs {
		if n.cookies.accepts(kid) {
			info, _ := muster.CodeExpelledKnowsCookie.Info()
			return muster.Problem{
				Code: info.Code, Fix: info.Fix, Since: e.At,
				Text: muster.Printable(e.Name + " (" + e.NodeID.Short() + ") was expelled and knows the cookie " + kid + ", which is still accepted here"),
			}, true
		}
	}
	return muster.Problem{}, false
}

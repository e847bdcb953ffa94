package server

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
)

const (
	traceAtOnce    = 16          // members that are asked at the same time
	historyTimeout = time.Second // for the change itself, which may be in the store only
)

// footprint is what a member said of a revision, and how far its clock is off.
type footprint struct {
	replica.Footprint

	name string
	skew skew
}

// here is a time of the member by the clock of this node.
func (f footprint) here(t time.Time) time.Time { return t.Add(-f.skew.by) }

// Trace gathers how a revision came to each member. See mgmt.Spread.
func (n *node) Trace(ctx context.Context, rev int64) (muster.Trace, error) {
	c := n.core.Load()
	if c == nil {
		return muster.Trace{}, n.notFormed()
	}
	prints, missing := n.footprints(ctx, c.replica, rev)
	newest := int64(0)
	for _, f := range prints {
		newest = max(newest, f.Serves)
	}
	if newest < rev {
		return muster.Trace{}, muster.Errorf(muster.CodeNotFound, "there is no revision %d yet: the newest that a member serves is %d", rev, newest).
			WithFix("look at the newest one: muster config trace %d", newest)
	}
	t := muster.Trace{Rev: rev, Change: n.change(ctx, rev), Nodes: []muster.TraceNode{}, Complete: len(missing) == 0, Missing: missing}
	within := refer(&t, prints)
	for _, f := range prints {
		t.Nodes = append(t.Nodes, n.traceNode(f, reference{rev, t.Committed, within}))
	}
	sortTrace(t.Nodes)
	t.P50, t.P99, t.Max = percentiles(t.Nodes)
	return t, nil
}

// footprints asks all live members. Those that are gone, or do not answer, are named.
func (n *node) footprints(ctx context.Context, r *replica.Replica, rev int64) (prints []footprint, missing []string) {
	prints = []footprint{{r.Footprint(rev), n.self.Name, skew{known: true}}}
	missing = []string{}
	var mu sync.Mutex
	slots := make(chan struct{}, traceAtOnce) // who finds no slot waits
	var asked sync.WaitGroup
	for _, m := range n.members() {
		switch {
		case m.Self || m.State == muster.StateLeft || m.State == muster.StateExpelled:
		case m.State.Gone():
			mu.Lock()
			missing = append(missing, m.Name)
			mu.Unlock()
		default:
			asked.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				f, err := n.askFootprint(ctx, r, question{m, rev})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					missing = append(missing, m.Name)
					return
				}
				prints = append(prints, f)
			})
		}
	}
	asked.Wait()
	slices.Sort(missing)
	return prints, missing
}

// question is about a revision, to a member.
type question struct {
	member muster.Member
	rev    int64
}

// askFootprint asks one member, and compares its clock on the way.
func (n *node) askFootprint(ctx context.Context, r *replica.Replica, q question) (footprint, error) {
	asked := n.cfg.Now()
	got, err := r.AskFootprint(ctx, q.member.ID, q.rev)
	if err != nil {
		return footprint{}, err
	}
	s := n.lookout.skewWith(q.member.ID)
	s.add(skewBetween(asked, n.cfg.Now(), got.Clock))
	return footprint{got, q.member.Name, s}, nil
}

// change returns a change without its specification, or nil if nobody here remembers.
func (n *node) change(ctx context.Context, rev int64) *muster.Change {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	changes, err := n.Changes(ctx, rev-1, 1)
	if err != nil || len(changes) == 0 || changes[0].Rev != rev {
		return nil
	}
	c := changes[0]
	c.Spec = nil
	return &c
}

// refer finds out when a revision was committed: by what its first writer heard, or
// else by the clock of the store. It returns how wrong that may be, as far as is known.
func refer(t *muster.Trace, prints []footprint) (within time.Duration) {
	for _, f := range prints {
		if f.Mark == nil || f.Mark.Way != muster.WayWrite {
			continue
		}
		if at := f.here(f.Mark.Received); t.Committed.IsZero() || at.Before(t.Committed) {
			t.Committed, t.Reference, within = at, "write", f.skew.within
		}
	}
	if t.Committed.IsZero() && t.Change != nil {
		t.Committed, t.Reference = t.Change.At, "store"
	}
	return within
}

// reference is what delays are measured from.
type reference struct {
	rev       int64
	committed time.Time
	within    time.Duration
}

func (n *node) traceNode(f footprint, ref reference) muster.TraceNode {
	t := muster.TraceNode{ID: f.Node, Name: f.name, Serves: f.Serves, Skew: f.skew.milliseconds()}
	if f.Mark == nil {
		t.Text = "does not remember: it is too long ago"
		if f.Serves < ref.rev {
			t.Text = fmt.Sprintf("not yet: it serves revision %d", f.Serves)
		}
		return t
	}
	t.Way, t.From = muster.Way(muster.Printable(string(f.Mark.Way))), muster.Printable(f.Mark.Source)
	if f.Mark.Peer != "" {
		t.From = n.nameOf(f.Mark.Peer)
	}
	t.Received, t.Applied, t.Text = f.Mark.Received, f.Mark.Applied, wayText(t.Way, t.From)
	if t.Way != muster.WayCopy && !ref.committed.IsZero() {
		t.Delay = new(milliseconds(max(0, f.here(f.Mark.Applied).Sub(ref.committed))))
		t.Error = milliseconds(f.skew.within + ref.within)
	}
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func wayText(way muster.Way, from string) string {
	switch way {
	case muster.WayWrite:
		return "wrote it to the store"
	case muster.WayHint:
		return "pushed by " + from
	case muster.WayDigest:
		return "told by a digest, pulled from " + from
	case muster.WayCopy:
		return "part of its first copy after the start, from " + from
	}
	return "pulled from " + from
}

// nameOf is the name of a member, or the start of its id.
func (n *node) nameOf(id muster.NodeID) string {
	for _, m := range n.members() {
		if m.ID == id {
			return m.Name
		}
	}
	return muster.Printable(id.Short())
}

// sortTrace puts the first node to serve the revision first.
func sortTrace(nodes []muster.TraceNode) {
	late := func(t muster.TraceNode) float64 {
		if t.Delay == nil {
			return math.Inf(1)
		}
		return *t.Delay
	}
	slices.SortFunc(nodes, func(a, b muster.TraceNode) int {
		return cmp.Or(cmp.Compare(late(a), late(b)), cmp.Compare(a.Name, b.Name))
	})
}

// percentiles are those of the known delays, by nearest rank. The nodes are in order.
func percentiles(nodes []muster.TraceNode) (p50, p99, most float64) {
	var delays []float64
	for _, t := range nodes {
		if t.Delay != nil {
			delays = append(delays, *t.Delay)
		}
	}
	count := len(delays)
	if count == 0 {
		return 0, 0, 0
	}
	rank := func(p int) float64 { return delays[(p*count+99)/100-1] }
	return rank(50), rank(99), delays[count-1]
}

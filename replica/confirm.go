package replica

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// Question asks members whether they serve a revision.
type Question struct {
	At      muster.Position // epoch, revision and its chain
	Members []muster.NodeID
	Enough  int // confirmations that end the question; 0: all members
}

// Confirm asks members until they say that they serve a revision of one history, until
// enough of them have said so, or until ctx ends. It returns those that have. This node
// itself answers from its own copy. Members that peers no longer hold alive are given
// up.
func (r *Replica) Confirm(ctx context.Context, q Question) []muster.NodeID {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	enough := q.Enough
	if enough <= 0 {
		enough = len(q.Members)
	}
	answers := make(chan muster.NodeID, len(q.Members)) // one per member: nobody is kept waiting
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, id := range q.Members {
		wg.Go(func() {
			if r.confirms(ctx, id, q.At) {
				answers <- id
			} else {
				answers <- ""
			}
		})
	}
	var confirmed []muster.NodeID
	for range q.Members {
		if id := <-answers; id != "" {
			confirmed = append(confirmed, id)
		}
		if len(confirmed) >= enough {
			cancel()
			break
		}
	}
	return confirmed
}

// confirms asks one member, again after failures, while there is time.
func (r *Replica) confirms(ctx context.Context, id muster.NodeID, at muster.Position) bool {
	if id == r.cfg.Self.ID {
		return r.Wait(ctx, at.Rev) == nil && r.confirmedBy(r.headAt(at.Rev), at)
	}
	for ctx.Err() == nil {
		head, err := r.askPeer(ctx, id, at.Rev, patienceOf(ctx))
		if err == nil && head.Node == id && r.confirmedBy(head, at) {
			return true
		}
		if !slices.Contains(r.cfg.Peers.Live(), id) {
			return false
		}
		sleep(ctx, askAgain)
	}
	return false
}

// patienceOf is how long a member may hold its answer back.
func patienceOf(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return max(0, min(maxHeadWait, time.Until(deadline)-confirmMargin))
	}
	return maxHeadWait
}

// confirmedBy reports whether a head says that a node serves a revision with the same
// epoch and chain. A node that has forgotten the chain which the revision had there is
// compared by where it stands now, if this node was there too.
func (r *Replica) confirmedBy(h Head, at muster.Position) bool {
	switch {
	case h.Position.Epoch != at.Epoch || h.Position.Rev < at.Rev:
		return false
	case h.Chain != (muster.Hash{}):
		return h.Chain == at.Chain
	}
	chain, ok := r.chainOf(h.Position.Rev)
	return ok && chain == h.Position.Chain
}

// chainOf returns the chain that a revision had here, if that is remembered.
func (r *Replica) chainOf(rev int64) (muster.Hash, bool) {
	view := r.View()
	if view == nil {
		return muster.Hash{}, false
	}
	return r.copy.chainAt(view, rev)
}

// Contradicts reports whether a position is known not to lie on the history of this
// node.
func (r *Replica) Contradicts(at muster.Position) bool {
	chain, ok := r.chainOf(at.Rev)
	return ok && chain != at.Chain
}

// PassedSince returns when this node began to serve more than a revision, or the oldest
// moment that it remembers; false if it does not.
func (r *Replica) PassedSince(rev int64) (time.Time, bool) { return r.copy.marks.since(rev) }

// Head returns what this node says about its copy.
func (r *Replica) Head() Head { return r.headAt(unasked) }

// Heads asks members where they stand, and what they know of a revision. Those that do
// not answer are absent.
func (r *Replica) Heads(ctx context.Context, members []muster.NodeID, rev int64) map[muster.NodeID]Head {
	heads := map[muster.NodeID]Head{}
	var mu sync.Mutex
	each(members, func(id muster.NodeID) {
		head, err := r.askPeer(ctx, id, rev, 0)
		if err != nil || head.Node != id {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		heads[id] = head
	})
	return heads
}

// each calls do for all members, some at the same time.
func each(members []muster.NodeID, do func(muster.NodeID)) {
	slots := make(chan struct{}, asksAtOnce) // who finds no slot waits
	var wg sync.WaitGroup
	for _, id := range members {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(id)
		})
	}
	wg.Wait()
}

// Footprint is what a node knows of how a revision came to it.
type Footprint struct {
	Node   muster.NodeID `json:"node_id"`
	Serves int64         `json:"serves"`
	Clock  time.Time     `json:"clock"` // what the node's clock shows
	Mark   *Mark         `json:"mark,omitempty"`
}

// Footprint returns how a revision came to this node.
func (r *Replica) Footprint(rev int64) Footprint {
	f := Footprint{Node: r.cfg.Self.ID, Serves: r.position().Rev, Clock: r.cfg.Now()}
	if k, ok := r.copy.marks.of(rev); ok && f.Serves >= rev {
		f.Mark = &k
	}
	return f
}

// AskFootprint asks a peer how a revision came to it.
func (r *Replica) AskFootprint(ctx context.Context, id muster.NodeID, rev int64) (f Footprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err = r.call(ctx, rpc{to: id, path: tracePath + "?rev=" + strconv.FormatInt(rev, 10)}, func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, maxHeadAnswer)).Decode(&f)
	})
	if err == nil && f.Node != id {
		err = muster.Errorf(muster.CodeWrongTarget, "%s answered for another node", id.Short())
	}
	return f, err
}

// How peers that are behind are reminded.
const (
	remindEvery = 2 * time.Second
	remindAfter = time.Second // a hint needs less
)

// remind exchanges digests with the live peers that are said to be behind for a while:
// either they are not any more, or they learn of it. In a converged cluster it asks
// nobody.
func (r *Replica) remind(ctx context.Context) {
	ticker := time.NewTicker(remindEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			each(r.tardy(), func(id muster.NodeID) {
				_ = r.askDigest(ctx, id) // it is asked again in a moment
			})
		case <-ctx.Done():
			return
		}
	}
}

// tardy returns the live peers that are behind for a while, as far as is known.
func (r *Replica) tardy() []muster.NodeID {
	own, all := r.position(), r.claims.all()
	return slices.DeleteFunc(slices.Clone(r.cfg.Peers.Live()), func(id muster.NodeID) bool {
		at, heard := all[id]
		if !heard || at.Rev >= own.Rev {
			return true
		}
		since, ok := r.copy.marks.since(at.Rev)
		return !ok || r.cfg.Now().Sub(since) < remindAfter
	})
}

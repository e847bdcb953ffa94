package gossip

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

const (
	healInterval = 5 * time.Second
	// healAgain is when a second exchange follows the first: in the first one the
	// two sides may only have learned what they have to refute.
	healAgain = 300 * time.Millisecond
	// healsAtOnce bounds exchanges under way; one with a peer behind a cut cable
	// takes as long as the stream's time-out.
	healsAtOnce = 4
	// settleRounds exchanges with random members follow a Join, one a second:
	// when many nodes join at once, gossip alone leaves holes in their views.
	settleRounds = 2
)

// healer asks dead members for an exchange of state.
type healer struct {
	g      *Gossip
	rng    *rand.Rand
	busy   map[muster.NodeID]bool
	done   chan muster.NodeID // capacity healsAtOnce: the end of one never waits
	last   muster.NodeID      // of the round
	rounds int                // of settling, still to come
}

// heal runs until ctx ends and all exchanges have ended.
func (g *Gossip) heal(ctx context.Context) {
	h := &healer{g: g, rng: g.random(), busy: map[muster.NodeID]bool{}, done: make(chan muster.NodeID, healsAtOnce)}
	var exchanges sync.WaitGroup
	defer exchanges.Wait()
	round := time.NewTimer(healInterval/2 + time.Duration(h.rng.Int64N(int64(healInterval))))
	defer round.Stop()
	settle := time.NewTicker(time.Second)
	defer settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-h.done:
			delete(h.busy, id)
		case id := <-g.heals:
			if slices.Contains(g.table.in(muster.StateDead), id) {
				h.start(ctx, &exchanges, id)
			}
		case <-round.C:
			round.Reset(healInterval)
			h.start(ctx, &exchanges, h.next())
		case <-g.settle:
			h.rounds = settleRounds
		case <-settle.C:
			h.settle(ctx, &exchanges)
		}
	}
}

// next returns the dead member whose turn it is, or none.
func (h *healer) next() muster.NodeID {
	dead := h.g.table.in(muster.StateDead)
	if len(dead) == 0 {
		return ""
	}
	i, found := slices.BinarySearch(dead, h.last)
	if found {
		i++
	}
	h.last = dead[i%len(dead)]
	return h.last
}

func (h *healer) settle(ctx context.Context, exchanges *sync.WaitGroup) {
	alive := h.g.table.in(muster.StateAlive)
	if h.rounds == 0 || len(alive) == 0 {
		return
	}
	h.rounds--
	h.start(ctx, exchanges, alive[h.rng.IntN(len(alive))])
}

func (h *healer) start(ctx context.Context, exchanges *sync.WaitGroup, id muster.NodeID) {
	if id == "" || h.busy[id] || len(h.busy) >= healsAtOnce {
		return
	}
	h.busy[id] = true
	exchanges.Go(func() {
		h.g.mend(ctx, id)
		h.done <- id
	})
}

// mend exchanges state with a member, twice if it is still held dead then.
func (g *Gossip) mend(ctx context.Context, id muster.NodeID) {
	for range 2 {
		err := g.exchange(id)
		g.metrics.healed(err)
		if err != nil {
			g.log.Debug("exchange of state failed", "member", id, "error", err)
			return
		}
		sleep(ctx, healAgain)
		if ctx.Err() != nil || !slices.Contains(g.table.in(muster.StateDead), id) {
			return
		}
	}
}

package replica

import (
	"slices"
	"sync"

	"github.com/musterhq/muster"
)

// maxClaims bounds the table of peers, whatever is heard.
const maxClaims = 4096

// claims is where the other nodes say they stand.
type claims struct {
	mu sync.Mutex
	of map[muster.NodeID]claim
}

type claim struct {
	muster.Position
	refused bool // its history is not ours
}

func (c *claims) init() { c.of = map[muster.NodeID]claim{} }

// note remembers a claim unless a newer one is known.
func (c *claims) note(id muster.NodeID, at muster.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.of[id]
	if known && (at == old.Position || newer(old.Position, at)) || !known && len(c.of) >= maxClaims {
		return
	}
	c.of[id] = claim{Position: at}
}

func newer(a, b muster.Position) bool {
	return a.Epoch > b.Epoch || a.Epoch == b.Epoch && a.Rev > b.Rev
}

// refuse marks a peer's claim as of no use until it changes.
func (c *claims) refuse(id muster.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.of[id]; ok {
		old.refused = true
		c.of[id] = old
	}
}

// ahead reports whether a peer claims to serve more than at.
func (c *claims) ahead(id muster.NodeID, at muster.Position) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim, ok := c.of[id]
	return ok && claim.beyond(at)
}

func (c claim) beyond(at muster.Position) bool {
	return !c.refused && c.Epoch >= at.Epoch && c.Rev > at.Rev
}

// beyond returns the nodes that claim to serve more than at.
func (c *claims) beyond(at muster.Position) []muster.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []muster.NodeID
	for id, claim := range c.of {
		if claim.beyond(at) {
			ids = append(ids, id)
		}
	}
	return ids
}

// highest returns the highest revision that anybody usable claims.
func (c *claims) highest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var top int64
	for _, claim := range c.of {
		if !claim.refused {
			top = max(top, claim.Rev)
		}
	}
	return top
}

// keep forgets the nodes that are not in live.
func (c *claims) keep(live []muster.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.of {
		if !slices.Contains(live, id) {
			delete(c.of, id)
		}
	}
}

// all returns every claim.
func (c *claims) all() map[muster.NodeID]muster.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[muster.NodeID]muster.Position, len(c.of))
	for id, claim := range c.of {
		all[id] = claim.Position
	}
	return all
}

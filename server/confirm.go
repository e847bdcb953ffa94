package server

import (
	"context"
	"maps"
	"slices"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
)

// counted is the durable member list: members that left for a restart count, and so
// does one that has just joined and whose row is on its way. Expelled ones do not.
func (n *node) counted() map[muster.NodeID]bool {
	list := map[muster.NodeID]bool{n.self.ID: true}
	for _, id := range n.live() {
		list[id] = true
	}
	for _, m := range n.roster.list() {
		list[m.ID] = true
	}
	maps.DeleteFunc(list, func(id muster.NodeID, _ bool) bool { return n.graves.has(id) })
	return list
}

// Confirm asks the members of the durable list whether they serve a revision. See
// mgmt.Spread.
func (n *node) Confirm(ctx context.Context, at muster.Position, wait muster.Wait) muster.Confirmation {
	counted := n.counted()
	need := wait.Need(len(counted))
	confirmed := map[muster.NodeID]bool{}
	if c := n.core.Load(); c != nil {
		ask := slices.DeleteFunc(append(n.live(), n.self.ID), func(id muster.NodeID) bool { return !counted[id] })
		for _, id := range c.replica.Confirm(ctx, replica.Question{At: at, Members: ask, Enough: min(need, len(ask))}) {
			confirmed[id] = true
		}
	}
	live := n.live()
	c := muster.Confirmation{Met: len(confirmed) >= need, Confirmed: []string{}, Lagging: []string{}, Dead: []string{}}
	for _, m := range n.members() { // in the order of names
		switch {
		case !counted[m.ID]:
		case confirmed[m.ID]:
			c.Confirmed = append(c.Confirmed, m.Name)
		case m.Self, slices.Contains(live, m.ID):
			c.Lagging = append(c.Lagging, m.Name)
		default:
			c.Dead = append(c.Dead, m.Name)
		}
	}
	return c
}

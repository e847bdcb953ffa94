package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/health"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
)

// reasonUnseen is shown for members of the durable list that this run of the node
// has not met.
const reasonUnseen = "not seen since this node started"

// members merges what gossip says, what the links show, what the replicas report
// and whom the durable list names into one list, ordered by name.
func (n *node) members() []muster.Member {
	views := n.gossip.Members()
	list := make([]muster.Member, 0, len(views))
	seen := make(map[muster.NodeID]bool, len(views))
	positions, endpoints := n.positions(), n.seeker.Status().Endpoints
	for _, v := range views {
		m := n.member(v)
		m.DiscoveredBy = n.discoveredBy(v, endpoints)
		m.AppliedRevision = positions[v.ID].Rev
		list = append(list, m)
		seen[v.ID] = true
	}
	for _, row := range n.roster.list() {
		if !seen[row.ID] {
			list = append(list, n.unseen(row))
			seen[row.ID] = true
		}
	}
	list = append(list, n.buried(seen)...)
	n.stale(list)
	slices.SortFunc(list, func(a, b muster.Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (n *node) member(v gossip.View) muster.Member {
	e := health.Evidence{
		Self: v.Self, Draining: v.Draining,
		Gossip: v.State, Since: v.Since, Reason: v.Reason,
	}
	deaths := 0
	if !v.Self {
		e.Shown, deaths = n.damper.shown(v)
		up, err, since := n.link.State(v.ID)
		e.LinkDown = !up && err != nil
		if e.LinkDown {
			e.LinkSince, e.LinkError = since, link.Words(err)
		}
	}
	verdict := health.Judge(e)
	if why := n.ownTombstone(); v.Self && why != nil {
		verdict = health.Verdict{State: muster.StateExpelled, Since: n.begun, Reason: why.Text}
	}
	facts := n.facts.of(v)
	if facts.Drain != nil && verdict.State == muster.StateDraining {
		verdict.Since, verdict.Reason = facts.Drain.Since, drainReason(*facts.Drain)
	}
	return muster.Member{
		ID: v.ID, Name: v.Name, Endpoint: v.Endpoint, Zone: v.Zone, Role: v.Role,
		State: verdict.State, Since: verdict.Since, Reason: verdict.Reason, Healthy: verdict.Healthy,
		Region: facts.Region, Tags: facts.Tags, Version: v.Version, Boot: v.Boot,
		RTT: float64(v.RTT.Microseconds()) / 1000, Self: v.Self,
		Flapping: deaths, ClockSkew: n.lookout.skewOfMember(v.ID), Observers: []muster.Observer{},
	}
}

// unseen shows a member of the durable list that gossip does not know.
func (n *node) unseen(row store.Member) muster.Member {
	m := muster.Member{
		ID: row.ID, Name: row.Name, Endpoint: row.Endpoint, Zone: row.Zone, Role: row.Role,
		Version: row.Version, Boot: row.Boot, Since: row.SeenAt, Tags: map[string]string{},
		State: muster.StateDead, Reason: reasonUnseen, DiscoveredBy: "store", Observers: []muster.Observer{},
	}
	if row.State == muster.StateLeft {
		m.State, m.Reason = muster.StateLeft, "said good-bye"
	}
	if e, ok := n.graves.Expelled(row.ID); ok {
		m.State, m.Reason, m.Since = muster.StateExpelled, e.Sentence(), e.At
	}
	return m
}

// buried shows the expelled nodes that neither gossip nor the durable list knows.
func (n *node) buried(seen map[muster.NodeID]bool) (list []muster.Member) {
	for id, e := range n.graves.list() {
		if !seen[id] {
			list = append(list, muster.Member{
				ID: id, Name: e.Name, State: muster.StateExpelled, Reason: e.Sentence(), Since: e.At,
				Tags: map[string]string{}, DiscoveredBy: "config",
			})
		}
	}
	return list
}

// discoveredBy says how this node learned of a member: by the method that named
// its endpoint, or through other members.
func (n *node) discoveredBy(v gossip.View, endpoints []join.EndpointStatus) string {
	if v.Self {
		return "self"
	}
	for _, e := range endpoints {
		if e.Node == v.ID && len(e.Sources) > 0 {
			return e.Sources[0]
		}
	}
	return "gossip"
}

// viewHash is equal on two nodes that see the same members in the same states.
func viewHash(members []muster.Member) string {
	h := sha256.New()
	sorted := slices.SortedFunc(slices.Values(members), func(a, b muster.Member) int { return cmp.Compare(a.ID, b.ID) })
	for _, m := range sorted {
		_, _ = fmt.Fprintf(h, "%s %s\n", m.ID, m.State) // a hash never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// forgetPath tells a member that another one has been taken off the durable list.
const forgetPath = "/peer/v1/members/forget"

// strayAge is how long a member that is gone and not on the durable list is still
// shown.
const strayAge = time.Minute

// removal is what members tell each other about one that was taken off the list.
type removal struct {
	ID muster.NodeID `json:"id"`
}

// Remove takes a member that is gone off the durable list. See mgmt.Lifecycle.
func (n *node) Remove(ctx context.Context, id muster.NodeID, o muster.Order) error {
	m, ok := n.find(id)
	if !ok {
		return muster.Errorf(muster.CodeNotFound, "no member has the id %s", id)
	}
	if !m.State.Gone() {
		return muster.Errorf(muster.CodeMemberAlive, "%s is %s, says %s", m.Name, m.State, n.self.Name).
			WithFix("to let it go for good: muster leave --addr %s; else stop it and wait until it is dead or left", m.Endpoint)
	}
	if err := n.strike(ctx, []muster.NodeID{id}); err != nil {
		return err
	}
	n.log.InfoContext(ctx, "member removed", "member", m.Name, "member_id", id, "by", o.By, "reason", o.Reason)
	n.journal.add(muster.Event{
		Kind: muster.EventMemberRemove, Subject: m.Name, From: string(m.State),
		Text: m.Name + " taken off the member list " + o.String(),
	})
	return nil
}

// strike takes members off the durable list and lets every live member forget them.
func (n *node) strike(ctx context.Context, ids []muster.NodeID) error {
	table := n.memberTable()
	if table == nil {
		return n.notFormed()
	}
	for _, id := range ids {
		if err := table.RemoveMember(ctx, id); err != nil {
			return err
		}
		n.forgetMember(id)
	}
	n.spread(ctx, ids)
	return nil
}

// spread tells the live members at the same time. Those that do not hear it find
// the member missing from the list, and forget it a while later.
func (n *node) spread(ctx context.Context, ids []muster.NodeID) {
	var calls sync.WaitGroup
	for _, to := range n.live() {
		calls.Go(func() {
			for _, id := range ids {
				if err := n.tell(ctx, to, forgetPath, removal{id}); err != nil {
					n.log.DebugContext(ctx, "member was not told of a removal", "member", to, "removed", id, "error", err)
				}
			}
		})
	}
	calls.Wait()
}

// forgetMember drops a member that is gone from everything this node holds in
// memory. One that it holds alive stays.
func (n *node) forgetMember(id muster.NodeID) {
	if slices.Contains(n.live(), id) || id == n.self.ID {
		return
	}
	n.gossip.Forget(id)
	n.link.Forget(id)
	n.roster.drop(id)
	n.roster.poke()
	n.changed.fire()
}

// serveForget is told by another member that one was taken off the durable list.
func (n *node) serveForget(w http.ResponseWriter, r *http.Request) {
	var gone removal
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFacts)).Decode(&gone); err != nil {
		peer.WriteProblem(w, muster.Errorf(muster.CodeBadRequest, "the removal cannot be read: %w", err))
		return
	}
	n.forgetMember(gone.ID)
	w.WriteHeader(http.StatusNoContent)
}

// strays forgets members that have been gone for a while and are not on the durable
// list that was just read: they left for good, or were removed without this node
// being told.
func (n *node) strays(rows []store.Member) {
	for _, v := range n.gossip.Members() {
		listed := slices.ContainsFunc(rows, func(m store.Member) bool { return m.ID == v.ID })
		if v.State.Gone() && !listed && time.Since(v.Since) > strayAge {
			n.forgetMember(v.ID)
		}
	}
}

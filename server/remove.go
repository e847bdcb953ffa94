package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// What members tell each other about one that is to be, or has been, taken off the
// durable list.
const (
	removePath = "/peer/v1/members/remove"
	forgetPath = "/peer/v1/members/forget"
)

// spreadTimeout bounds how long a removal waits for members that do not answer.
const spreadTimeout = time.Second

// strayAge is how long a member that is gone and not on the durable list is still
// shown.
const strayAge = time.Minute

// removal names the member.
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
		return n.stillThere(m)
	}
	if err := n.strike(ctx, id); err != nil {
		return err
	}
	n.log.InfoContext(ctx, "member removed", "member", m.Name, "member_id", id, "by", o.By, "reason", o.Reason)
	n.journal.add(muster.Event{
		Kind: muster.EventMemberRemove, Subject: m.Name, From: string(m.State),
		Text: m.Name + " taken off the member list " + o.String(),
	})
	return nil
}

// strike takes a member off the durable list and lets every live member forget it.
// A node that has no way of its own to the list asks one that has: over the link
// each node may change its own row alone.
func (n *node) strike(ctx context.Context, id muster.NodeID) error {
	table := n.ownTable()
	if table == nil {
		return n.strikeElsewhere(ctx, id)
	}
	if err := table.RemoveMember(ctx, id); err != nil {
		return err
	}
	n.forgetMember(id)
	n.spread(ctx, id)
	return nil
}

// ownTable returns the durable list if it is on this disk or in this node's
// database.
func (n *node) ownTable() memberTable {
	if c := n.core.Load(); c != nil && (c.store == n.shared || n.isHome(n.state.Cluster())) {
		return c.store
	}
	return nil
}

// strikeElsewhere asks the members that may have the durable list until one has
// done it.
func (n *node) strikeElsewhere(ctx context.Context, id muster.NodeID) error {
	c := n.state.Cluster()
	if c.ID == "" {
		return n.notFormed()
	}
	candidates, down := n.live(), muster.CodeStoreUnavailable
	if c.Store.Home != "" {
		candidates, down = []muster.NodeID{c.Store.Home}, muster.CodeConfigHomeDown
	}
	err := error(muster.Errorf(down, "no live member has a way to the member list"))
	for _, to := range candidates {
		if err = n.tell(ctx, to, removePath, removal{id}); err == nil {
			n.forgetMember(id)
			return nil
		}
		if code := muster.CodeOf(err); code != muster.CodeStoreUnavailable && code != muster.CodeInternal {
			return err
		}
	}
	if muster.CodeOf(err) == muster.CodeInternal {
		err = muster.Errorf(down, "the member list is kept by %s: %w", n.homeName(), err)
	}
	return err
}

// serveRemove takes a member off the durable list for a member that has no way to
// it. Both must hold it gone.
func (n *node) serveRemove(w http.ResponseWriter, r *http.Request) {
	err := n.removeFor(r)
	if err != nil {
		peer.WriteProblem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (n *node) removeFor(r *http.Request) error {
	var gone removal
	if err := json.NewDecoder(io.LimitReader(r.Body, maxFacts)).Decode(&gone); err != nil {
		return muster.Errorf(muster.CodeBadRequest, "the removal cannot be read: %w", err)
	}
	if n.ownTable() == nil {
		return muster.Errorf(muster.CodeStoreUnavailable, "%s has no way of its own to the member list", n.self.Name)
	}
	if m, ok := n.find(gone.ID); ok && !m.State.Gone() {
		return n.stillThere(m)
	}
	return n.strike(r.Context(), gone.ID)
}

// stillThere refuses to remove a member that takes part.
func (n *node) stillThere(m muster.Member) error {
	return muster.Errorf(muster.CodeMemberAlive, "%s is %s, says %s", m.Name, m.State, n.self.Name).
		WithFix("to let it go for good: muster leave --addr %s; else stop it and wait until it is dead or left", m.Endpoint)
}

// spread tells the live members at the same time. Those that do not hear it find
// the member missing from the list, and forget it a while later.
func (n *node) spread(ctx context.Context, id muster.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, spreadTimeout)
	defer cancel()
	var calls sync.WaitGroup
	for _, to := range n.live() {
		calls.Go(func() {
			if err := n.tell(ctx, to, forgetPath, removal{id}); err != nil {
				n.log.DebugContext(ctx, "member was not told of a removal", "member", to, "removed", id, "error", err)
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

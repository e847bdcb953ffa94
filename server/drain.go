package server

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/store/peer"
)

// Where a member takes orders about itself from other members.
const (
	drainPath  = "/peer/v1/node/drain"
	resumePath = "/peer/v1/node/resume"
)

// isDraining reports whether this node takes no new work: it leaves, or an operator
// has drained it.
func (n *node) isDraining() bool { return n.leaving.Load() || n.state.Drained() != nil }

// serving is the condition of readiness that this node takes work.
func (n *node) serving() muster.Condition {
	c := muster.Condition{Code: muster.CodeDraining, OK: true, Since: n.begun, Text: "taking work"}
	if d := n.state.Drained(); d != nil {
		c.OK, c.Since, c.Text, c.Fix = false, d.Since, drainReason(*d), "muster node resume "+n.self.Name
	}
	if n.leaving.Load() {
		c.OK, c.Text, c.Fix = false, "shutting down", ""
	}
	return c
}

// drainReason says who drained a member and why.
func drainReason(d join.Drain) string {
	return "drained " + muster.Order{By: d.By, Reason: d.Reason}.String()
}

// Drain lets a member take no new work. See mgmt.Lifecycle.
func (n *node) Drain(ctx context.Context, id muster.NodeID, o muster.Order) error {
	if id == n.self.ID {
		return n.drain(o)
	}
	return n.passOn(ctx, id, drainPath, o)
}

// Resume lets a member take work again. See mgmt.Lifecycle.
func (n *node) Resume(ctx context.Context, id muster.NodeID, o muster.Order) error {
	if id == n.self.ID {
		return n.resume(o)
	}
	return n.passOn(ctx, id, resumePath, o)
}

// drain is an order to this node itself. The first one stands.
func (n *node) drain(o muster.Order) error {
	if n.state.Drained() != nil {
		return nil
	}
	d := &join.Drain{By: o.By, Reason: o.Reason, Since: time.Now().UTC()}
	if err := n.state.SetDrained(d); err != nil {
		return err
	}
	n.log.Info("draining", "by", o.By, "reason", o.Reason)
	n.turned(muster.Event{Kind: muster.EventMemberDrain, To: string(muster.StateDraining), Text: n.self.Name + " " + drainReason(*d)})
	return nil
}

// resume is the opposite order.
func (n *node) resume(o muster.Order) error {
	if n.state.Drained() == nil {
		return nil
	}
	if err := n.state.SetDrained(nil); err != nil {
		return err
	}
	n.log.Info("resumed", "by", o.By, "reason", o.Reason)
	n.turned(muster.Event{
		Kind: muster.EventMemberResume, From: string(muster.StateDraining), To: string(muster.StateAlive),
		Text: n.self.Name + " resumed " + o.String(),
	})
	return nil
}

// turned tells everybody that this node drains, or does not any more.
func (n *node) turned(e muster.Event) {
	e.Subject = n.self.Name
	n.journal.add(e)
	n.gossip.Refresh()
	n.changed.fire()
}

// passOn sends an order to the member that it is about.
func (n *node) passOn(ctx context.Context, id muster.NodeID, path string, o muster.Order) error {
	m, ok := n.find(id)
	if !ok {
		return muster.Errorf(muster.CodeNotFound, "no member has the id %s", id)
	}
	if m.State.Gone() {
		return muster.Errorf(muster.CodeMemberGone, "%s is %s: nobody can tell it", m.Name, m.State).
			WithFix("start it first; to take it off the list: muster node remove %s", m.Name)
	}
	if err := n.tell(ctx, id, path, o); err != nil {
		if muster.CodeOf(err) != muster.CodeInternal {
			return err
		}
		return muster.Errorf(muster.CodePeerUnreachable, "%s does not take the order from %s: %w", m.Name, n.self.Name, err).
			WithFix("ask %s itself at %s, or look at what this node knows of it: muster why %s", m.Name, m.Endpoint, m.Name)
	}
	n.facts.renew(ctx, known{m.ID, m.Boot}) // gossip says that it drains, not why
	return nil
}

// find returns the member with an id.
func (n *node) find(id muster.NodeID) (muster.Member, bool) {
	for _, m := range n.members() {
		if m.ID == id {
			return m, true
		}
	}
	return muster.Member{}, false
}

// serveOrder takes an order about this node from another member.
func (n *node) serveOrder(follow func(muster.Order) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var o muster.Order
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFacts)).Decode(&o)
		if err != nil {
			err = muster.Errorf(muster.CodeBadRequest, "the order cannot be read: %w", err)
		} else {
			err = follow(muster.Order{By: muster.Printable(o.By), Reason: muster.Printable(o.Reason)})
		}
		if err != nil {
			peer.WriteProblem(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

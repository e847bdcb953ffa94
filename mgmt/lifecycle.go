package mgmt

import (
	"context"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api/server"
)

// Lifecycle is what operators ask of the members of a cluster, and of the cluster
// itself.
type Lifecycle interface {
	// Drain lets a member take no new work, Resume lets it take work again. They
	// return when the member has taken the order.
	Drain(ctx context.Context, id muster.NodeID, o muster.Order) error
	Resume(ctx context.Context, id muster.NodeID, o muster.Order) error
	// Remove takes a member that is gone off the durable list.
	Remove(ctx context.Context, id muster.NodeID, o muster.Order) error
	// Reapable says which members are taken off the durable list by themselves.
	Reapable() muster.ReapPlan
	// Cluster describes the cluster, Form forms one here.
	Cluster() muster.ClusterInfo
	Form(ctx context.Context, o muster.Order) error
}

// order is what the caller of a request asks for.
func order(ctx context.Context, reason *string) (muster.Order, error) {
	s := scopeOf(ctx)
	if len(or(reason, "")) > maxText {
		return muster.Order{}, badField("reason", "want at most 200 bytes")
	}
	return muster.Order{By: s.caller.Actor(), Reason: muster.Printable(or(reason, ""))}, nil
}

// member returns the member that a path names.
func (a *API) member(ctx context.Context, id string) (muster.Member, error) {
	if err := checkName("id", id); err != nil {
		return muster.Member{}, err
	}
	m, err := pick(a.members(filter{}), id)
	if err == nil {
		scopeOf(ctx).note("member", m.Name, "member_id", m.ID)
	}
	return m, err
}

// instruct gives an order to a member, and waits until this node sees that done
// holds of it, or the wait is over.
func (a *API) instruct(ctx context.Context, in instruction) (m muster.Member, err error) {
	limit, err := waiting(in.wait)
	if err != nil {
		return m, err
	}
	o, err := order(ctx, in.reason)
	if err != nil {
		return m, err
	}
	if m, err = a.member(ctx, in.id); err != nil {
		return m, err
	}
	scopeOf(ctx).note("reason", o.Reason)
	if err := in.give(ctx, m.ID, o); err != nil {
		return m, err
	}
	check := func() bool {
		if now, err := pick(a.members(filter{}), string(m.ID)); err == nil {
			m = now
		}
		return in.done(m)
	}
	if !check() && limit > 0 {
		held, cancel := a.hold(ctx, limit)
		defer cancel()
		a.until(held, check)
	}
	return m, nil
}

// instruction is one order to one member.
type instruction struct {
	id           string
	reason, wait *string
	give         func(context.Context, muster.NodeID, muster.Order) error
	done         func(muster.Member) bool
}

// DrainMember lets a member take no new work.
func (h *handlers) DrainMember(ctx context.Context, q server.DrainMemberRequestObject) (server.DrainMemberResponseObject, error) {
	m, err := h.instruct(ctx, instruction{
		id: q.ID, reason: q.Params.Reason, wait: q.Params.Wait, give: h.cfg.Node.Drain,
		done: func(m muster.Member) bool { return m.State == muster.StateDraining },
	})
	return server.DrainMember200JSONResponse(m), err
}

// ResumeMember lets a member take work again.
func (h *handlers) ResumeMember(ctx context.Context, q server.ResumeMemberRequestObject) (server.ResumeMemberResponseObject, error) {
	m, err := h.instruct(ctx, instruction{
		id: q.ID, reason: q.Params.Reason, wait: q.Params.Wait, give: h.cfg.Node.Resume,
		done: func(m muster.Member) bool { return m.State != muster.StateDraining },
	})
	return server.ResumeMember200JSONResponse(m), err
}

// RemoveMember takes a member that is gone off the durable list.
func (h *handlers) RemoveMember(ctx context.Context, q server.RemoveMemberRequestObject) (server.RemoveMemberResponseObject, error) {
	o, err := order(ctx, q.Params.Reason)
	if err != nil {
		return nil, err
	}
	m, err := h.member(ctx, q.ID)
	if err != nil {
		return nil, err
	}
	scopeOf(ctx).note("reason", o.Reason)
	if err := h.cfg.Node.Remove(ctx, m.ID, o); err != nil {
		return nil, err
	}
	return server.RemoveMember204Response{}, nil
}

// ListReapable says what the next sweep would take off the durable list.
func (h *handlers) ListReapable(context.Context, server.ListReapableRequestObject) (server.ListReapableResponseObject, error) {
	plan := h.cfg.Node.Reapable()
	plan.Members = orEmpty(plan.Members)
	return server.ListReapable200JSONResponse(plan), nil
}

// GetCluster describes the cluster.
func (h *handlers) GetCluster(context.Context, server.GetClusterRequestObject) (server.GetClusterResponseObject, error) {
	return server.GetCluster200JSONResponse(h.cluster()), nil
}

// FormCluster forms a cluster on this node alone.
func (h *handlers) FormCluster(ctx context.Context, _ server.FormClusterRequestObject) (server.FormClusterResponseObject, error) {
	o, err := order(ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := h.cfg.Node.Form(ctx, o); err != nil {
		return nil, err
	}
	return server.FormCluster200JSONResponse(h.cluster()), nil
}

func (a *API) cluster() muster.ClusterInfo {
	info := a.cfg.Node.Cluster()
	info.Accepted = orEmpty(info.Accepted)
	return info
}

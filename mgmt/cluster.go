package mgmt

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
)

// filter is what a list of members is narrowed to.
type filter struct {
	region, zone, role *string
	tags, states       []string
}

func (f filter) accepts(m muster.Member) bool {
	return (f.region == nil || *f.region == m.Region) &&
		(f.zone == nil || *f.zone == m.Zone) &&
		(f.role == nil || *f.role == string(m.Role)) &&
		(len(f.states) == 0 || slices.Contains(f.states, string(m.State))) &&
		!slices.ContainsFunc(f.tags, func(tag string) bool { return !hasTag(m, tag) })
}

// hasTag reports whether a member has a tag "key" or "key=value".
func hasTag(m muster.Member, tag string) bool {
	key, want, exact := strings.Cut(tag, "=")
	value, ok := m.Tags[key]
	return ok && (!exact || value == want)
}

// members returns the members that a filter accepts, ordered by name.
func (a *API) members(f filter) []muster.Member {
	list := []muster.Member{}
	for _, m := range a.cfg.Node.Members() {
		if f.accepts(m) {
			if m.Tags == nil {
				m.Tags = map[string]string{}
			}
			m.Observers = orEmpty(m.Observers)
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(x, y muster.Member) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), strings.Compare(string(x.ID), string(y.ID)))
	})
	return list
}

// separate splits the values of a repeatable parameter at commas.
func separate(values []string) []string {
	var list []string
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	}
	return list
}

// ListMembers answers who is in the cluster.
func (h *handlers) ListMembers(_ context.Context, q server.ListMembersRequestObject) (server.ListMembersResponseObject, error) {
	p := q.Params
	list := h.members(filter{p.Region, p.Zone, p.Role, separate(p.Tag), separate(p.State)})
	return server.ListMembers200JSONResponse{Members: list}, nil
}

// ListKeys answers with the cookies that the members accept.
func (h *handlers) ListKeys(ctx context.Context, _ server.ListKeysRequestObject) (server.ListKeysResponseObject, error) {
	list := server.ListKeys200JSONResponse{Nodes: []muster.NodeKeys{}}
	if h.cfg.Keys != nil {
		list.Nodes = append(list.Nodes, h.cfg.Keys(ctx)...)
	}
	return list, nil
}

// ListNodes answers the same under other names.
func (h *handlers) ListNodes(_ context.Context, q server.ListNodesRequestObject) (server.ListNodesResponseObject, error) {
	p := q.Params
	nodes := []api.Node{}
	for _, m := range h.members(filter{p.Region, p.Zone, p.Role, separate(p.Tag), separate(p.State)}) {
		nodes = append(nodes, node(m))
	}
	return server.ListNodes200JSONResponse{Nodes: nodes}, nil
}

func node(m muster.Member) api.Node {
	return api.Node{
		NodeID: string(m.ID), Name: m.Name, Endpoint: m.Endpoint, State: m.State, Since: m.Since, Reason: m.Reason,
		Region: m.Region, Zone: m.Zone, Role: string(m.Role), Tags: m.Tags, Version: m.Version, Boot: m.Boot,
		RttMs: m.RTT, Healthy: m.Healthy, AppliedRevision: m.AppliedRevision, DiscoveredBy: m.DiscoveredBy, Self: m.Self,
		Flapping: m.Flapping, ClockSkewMs: m.ClockSkew, Observers: m.Observers,
	}
}

// GetMember answers for one member, by id, name, or the start of an id.
func (h *handlers) GetMember(_ context.Context, q server.GetMemberRequestObject) (server.GetMemberResponseObject, error) {
	if err := checkName("id", q.ID); err != nil {
		return nil, err
	}
	m, err := pick(h.members(filter{}), q.ID)
	if err != nil {
		return nil, err
	}
	m.Observers = orEmpty(h.cfg.Node.Observers(m.ID))
	return server.GetMember200JSONResponse(m), nil
}

// GetMatrix answers who sees whom.
func (h *handlers) GetMatrix(context.Context, server.GetMatrixRequestObject) (server.GetMatrixResponseObject, error) {
	return server.GetMatrix200JSONResponse(h.cfg.Node.Matrix()), nil
}

// minPrefix is how much of an id is enough to mean it.
const minPrefix = 4

// pick finds one member. A whole id wins over a name, a live holder of a name over
// one that is gone, a name over the start of an id.
func pick(members []muster.Member, want string) (muster.Member, error) {
	var named, begun []muster.Member
	for _, m := range members {
		switch {
		case string(m.ID) == want:
			return m, nil
		case m.Name == want:
			named = append(named, m)
		case len(want) >= minPrefix && strings.HasPrefix(string(m.ID), want):
			begun = append(begun, m)
		}
	}
	slices.SortStableFunc(named, func(x, y muster.Member) int { return rank(x) - rank(y) })
	switch {
	case len(named) > 0:
		return named[0], nil
	case len(begun) == 1:
		return begun[0], nil
	case len(begun) > 1:
		return muster.Member{}, badField("id", "it is the start of more than one node id")
	}
	return muster.Member{}, muster.Errorf(muster.CodeNotFound, "no member has the name or id %s", want)
}

func rank(m muster.Member) int {
	if m.State.Gone() {
		return 1
	}
	return 0
}

// Leave takes this node out of the cluster.
func (h *handlers) Leave(ctx context.Context, _ server.LeaveRequestObject) (server.LeaveResponseObject, error) {
	if err := h.cfg.Node.Leave(ctx); err != nil {
		return nil, err
	}
	return server.Leave204Response{}, nil
}

// checkName refuses what cannot be a name.
func checkName(field, name string) error {
	if err := muster.CheckName(name); err != nil {
		return badField(field, err.Error())
	}
	return nil
}

// briefCondition is what strangers see of a condition.
type briefCondition struct {
	Code muster.Code `json:"code"`
	OK   bool        `json:"ok"`
}

// GetReady answers whether the node wants traffic.
func (h *handlers) GetReady(ctx context.Context, q server.GetReadyRequestObject) (server.GetReadyResponseObject, error) {
	wait, err := waiting(q.Params.Wait)
	if err != nil {
		return nil, err
	}
	var conditions []muster.Condition
	excluded := separate(q.Params.Exclude)
	check := func() bool {
		conditions = h.conditions(excluded)
		return !slices.ContainsFunc(conditions, func(c muster.Condition) bool { return !c.OK })
	}
	ready := check()
	if !ready && wait > 0 {
		held, cancel := h.hold(ctx, wait)
		ready = h.until(held, check)
		cancel()
	}
	who := scopeOf(ctx).caller
	body := h.readiness(ready, conditions, who.full())
	if on(q.Params.Verbose) && who.full() {
		body["problems"] = orEmpty(h.cfg.Node.Status().Problems)
	}
	return answer(ready, body), nil
}

// answer is 200 or, as something is not as the caller wants it, 503 with the same
// body.
func answer(good bool, body any) reply {
	return func(w http.ResponseWriter) error {
		if good {
			return writeJSON(w, http.StatusOK, body)
		}
		w.Header().Set("Retry-After", "1")
		return writeJSON(w, http.StatusServiceUnavailable, body)
	}
}

func (a *API) conditions(excluded []string) []muster.Condition {
	list := []muster.Condition{}
	for _, c := range a.cfg.Node.Conditions() {
		if !slices.Contains(excluded, string(c.Code)) {
			list = append(list, c)
		}
	}
	return list
}

func (a *API) readiness(ready bool, conditions []muster.Condition, full bool) map[string]any {
	if full {
		return map[string]any{"ready": ready, "conditions": conditions}
	}
	list := make([]briefCondition, len(conditions))
	for i, c := range conditions {
		list[i] = briefCondition{c.Code, c.OK}
	}
	return map[string]any{"ready": ready, "conditions": list}
}

// orEmpty makes a nil list an empty one: lists are never null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

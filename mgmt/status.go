package mgmt

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api/server"
)

// briefStatus is what strangers see of a status: enough to know whether to worry,
// nothing that helps to get in.
type briefStatus struct {
	LocalNode      string           `json:"local_node"`
	ClusterID      muster.ClusterID `json:"cluster_id"`
	ClusterName    string           `json:"cluster_name"`
	Members        int              `json:"members"`
	HealthyMembers int              `json:"healthy_members"`
	ClusterSize    int              `json:"cluster_size"`
	ClusterHealth  muster.Health    `json:"cluster_health"`
	Mode           string           `json:"mode"`
	State          muster.NodeState `json:"state"`
	IsLeader       bool             `json:"is_leader"`
	LeaderID       muster.NodeID    `json:"leader_id"`
	Converged      bool             `json:"converged"`
	Problems       []briefProblem   `json:"problems"`
}

type briefProblem struct {
	Code muster.Code `json:"code"`
}

func briefOf(s muster.Status) briefStatus {
	problems := make([]briefProblem, len(s.Problems))
	for i, p := range s.Problems {
		problems[i].Code = p.Code
	}
	return briefStatus{
		LocalNode: s.LocalNode, ClusterID: s.ClusterID, ClusterName: s.ClusterName,
		Members: s.Members, HealthyMembers: s.HealthyMembers, ClusterSize: s.ClusterSize, ClusterHealth: s.ClusterHealth,
		Mode: s.Mode, State: s.State, IsLeader: s.IsLeader, LeaderID: s.LeaderID, Converged: s.Converged, Problems: problems,
	}
}

// status returns the node's status without null lists.
func (a *API) status() muster.Status {
	s := a.cfg.Node.Status()
	s.Config.Behind = orEmpty(s.Config.Behind)
	s.Discovery = orEmpty(s.Discovery)
	s.Problems = orEmpty(s.Problems)
	return s
}

// GetClusterStatus answers how the cluster is, when that is as the caller wants
// it or the wait is over.
func (h *handlers) GetClusterStatus(ctx context.Context, q server.GetClusterStatusRequestObject) (server.GetClusterStatusResponseObject, error) {
	p := q.Params
	wait, err := waiting(p.Wait)
	if err != nil {
		return nil, err
	}
	var s muster.Status
	changed := h.cfg.Node.Changed()
	check := func() bool {
		s = h.status()
		return (p.Expected == nil || s.HealthyMembers >= *p.Expected) && (p.WaitRev == nil || h.served(s, *p.WaitRev))
	}
	good := check()
	switch {
	case wait == 0:
	case p.Expected == nil && p.WaitRev == nil:
		h.untilClosed(ctx, changed, wait)
		check()
	case !good:
		held, cancel := h.hold(ctx, wait)
		good = h.until(held, check)
		cancel()
	}
	body, err := h.statusBody(ctx, s, or(p.Key, ""))
	if err != nil {
		return nil, err
	}
	return answer(good, body), nil
}

// served reports whether this node and every member that takes part serve a revision.
func (a *API) served(s muster.Status, rev int64) bool {
	return s.Config.Rev >= rev && !slices.ContainsFunc(a.cfg.Node.Members(), func(m muster.Member) bool {
		lags := m.AppliedRevision > 0 || slices.Contains(s.Config.Behind, m.Name) // 0: not heard of yet
		return !m.Self && !m.State.Gone() && m.AppliedRevision < rev && lags
	})
}

func (a *API) statusBody(ctx context.Context, s muster.Status, key string) (any, error) {
	if !scopeOf(ctx).caller.full() {
		if key != "" {
			return nil, muster.Errorf(muster.CodeUnauthenticated, "parts of the status need a token")
		}
		return briefOf(s), nil
	}
	if key == "" {
		return s, nil
	}
	return part(s, key)
}

// part returns what lies under a dotted key of a value.
func part(value any, key string) (json.RawMessage, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(key, ".") {
		var object map[string]json.RawMessage
		if json.Unmarshal(text, &object) != nil || object[name] == nil {
			return nil, badField("key", "the status has no part "+muster.Printable(key))
		}
		text = object[name]
	}
	return text, nil
}

package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/health"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
)

// settleTime is how long a restarted member waits for the others before it calls
// itself ready without them: an ordered rollout must not deadlock on readiness.
const settleTime = 5 * time.Second

// Members returns what this node sees, ordered by name. See mgmt.Node.
func (n *node) Members() []muster.Member { return n.observed(n.members()) }

// Changed returns a channel that is closed when members, conditions or the
// configuration change.
func (n *node) Changed() <-chan struct{} { return n.changed.Changed() }

// Status returns the whole answer to "how is the cluster?".
func (n *node) Status() muster.Status {
	members := n.members()
	cluster := n.state.Cluster()
	r := n.replicaStatus()
	behind, converged := n.lag(members, r.Position)
	trouble := slices.Concat(n.trouble(r), n.partialMesh(members), n.isolation())
	verdict := health.Cluster{
		Formed: cluster.ID != "", Waiting: n.seeker.Status().Waiting,
		Size: n.size(), Members: members, Converged: converged, Rev: r.Position.Rev,
		Behind: behind, Problems: trouble, Now: time.Now(),
	}.Judge()
	leader := n.leader.leader()
	return muster.Status{
		IsLeader: leader == n.self.ID, LeaderID: leader, LeaderAddress: addressOf(members, leader),
		LocalNode: n.self.Name, NodeID: n.self.ID,
		ClusterID: cluster.ID, ClusterName: cmp.Or(cluster.Name, n.cfg.ClusterName),
		Members: verdict.Known, HealthyMembers: verdict.Healthy, ClusterSize: n.size(),
		ClusterHealth: verdict.Health, Summary: verdict.Sentence, Tolerates: verdict.Tolerates,
		Mode: n.mode(), State: n.stage(r),
		Config: muster.ConfigStatus{
			Epoch: r.Position.Epoch, Rev: r.Position.Rev, Chain: r.Position.Chain,
			Source: r.Source, Behind: behind,
		},
		Store: n.storeStatus(r), Discovery: n.discoveryStatus(),
		Converged: converged, ViewHash: viewHash(members),
		Problems: slices.Concat(trouble, missing(members), n.lagging(members, r.Position), n.expelledProblems(), n.cookies.problems(), skewed(members), n.leader.problems(), n.warnings()),
		Version:  n.cfg.Version, Uptime: time.Since(n.begun).Seconds(),
	}
}

// addressOf returns the endpoint of a member.
func addressOf(members []muster.Member, id muster.NodeID) string {
	for _, m := range members {
		if m.ID == id {
			return m.Endpoint
		}
	}
	return ""
}

// size is the durable size of the cluster: members that left for a restart count,
// and so does one that has just joined and whose row is on its way. Expelled ones
// do not.
func (n *node) size() int {
	if n.state.Cluster().ID == "" {
		return n.cfg.BootstrapExpect
	}
	return len(n.counted())
}

func (n *node) mode() string {
	if n.size() > 1 || len(n.cfg.JoinEndpoints) > 0 || len(n.cfg.Discovery) > 0 || n.shared != nil {
		return "cluster"
	}
	return "standalone"
}

// stage says how far this node's own life has come.
func (n *node) stage(r replica.Status) muster.NodeState {
	switch {
	case n.ownTombstone() != nil:
		return muster.NodeExpelled
	case n.isDraining():
		return muster.NodeDraining
	case n.state.Cluster().ID == "" && n.seeker.Status().Stage == join.StageForming:
		return muster.NodeForming
	case n.state.Cluster().ID == "", !n.settled():
		return muster.NodeJoining
	case r.Source == "":
		return muster.NodeSyncing
	}
	return muster.NodeReady
}

// settled reports whether the node has met the others, has none, or has waited
// long enough for them.
func (n *node) settled() bool {
	if n.state.Cluster().ID == "" || n.core.Load() == nil || n.ownTombstone() != nil {
		return false
	}
	if len(n.live()) > 0 {
		return true
	}
	return !n.dismissed() && (!n.expectsOthers() || time.Since(n.begun) > settleTime)
}

// dismissed reports whether a member has said that the cluster dropped this node's
// cookie: then it is of no use to wait, and to serve what the others changed since.
func (n *node) dismissed() bool {
	return slices.ContainsFunc(n.seeker.Status().Problems, func(p muster.Problem) bool { return p.Code == muster.CodeCookieRetired })
}

func (n *node) expectsOthers() bool {
	return slices.ContainsFunc(n.roster.list(), func(m store.Member) bool {
		return m.ID != n.self.ID && m.State == muster.StateAlive && !n.graves.has(m.ID)
	})
}

func (n *node) replicaStatus() replica.Status {
	if c := n.core.Load(); c != nil {
		return c.replica.Status()
	}
	return replica.Status{StoreState: replica.Unknown}
}

func (n *node) storeStatus(r replica.Status) muster.StoreStatus {
	s := muster.StoreStatus{Kind: string(r.StoreKind), State: string(r.StoreState), Since: r.Since}
	if r.LastError != nil {
		s.LastError = muster.Printable(r.LastError.Error())
	}
	return s
}

// positions returns how far each member's configuration is known to have come.
func (n *node) positions() map[muster.NodeID]muster.Position {
	r := n.replicaStatus()
	all := make(map[muster.NodeID]muster.Position, len(r.Peers)+1)
	for id, p := range r.Peers {
		all[id] = p
	}
	all[n.self.ID] = r.Position
	return all
}

// lag names the healthy members that serve an older revision than this node, and
// reports whether all healthy members serve the same.
func (n *node) lag(members []muster.Member, own muster.Position) (behind []string, converged bool) {
	behind, converged = []string{}, true
	positions := n.positions()
	for _, m := range members {
		hidden := n.endpoint == "" && m.Endpoint == "" // nothing passes between two nodes that nobody can dial
		if !m.Healthy || m.Self || hidden {
			continue
		}
		p := positions[m.ID]
		converged = converged && p == own
		if p.Rev < own.Rev {
			behind = append(behind, m.Name)
		}
	}
	return behind, converged && n.View() != nil
}

// trouble is what is wrong with the cluster or this node's part in it now.
func (n *node) trouble(r replica.Status) []muster.Problem {
	list := slices.Concat([]muster.Problem{}, n.seeker.Status().Problems)
	if n.core.Load() != nil {
		list = append(list, r.Problems()...)
	}
	return list
}

// missing turns every member that should be there and is not healthy into a problem.
// The verdict counts members itself, so these are for people only.
func missing(members []muster.Member) (list []muster.Problem) {
	for _, m := range members {
		if m.Healthy || m.State == muster.StateLeft || m.State == muster.StateExpelled || m.State == muster.StateDraining {
			continue
		}
		word := string(m.State)
		if m.State == muster.StateAlive {
			word = "unreachable"
		}
		list = append(list, muster.Problem{
			Code: muster.CodeMembersMissing, Text: m.Name + " is " + word, Since: m.Since,
			Fix: "start it again, or look at its log; what this node knows: muster why " + m.Name,
		})
	}
	return list
}

// warnings is what an operator chose and should know about. It does not make the
// cluster unhealthy.
func (n *node) warnings() (list []muster.Problem) {
	warn := func(code muster.Code, text string) {
		info, _ := code.Info()
		list = append(list, muster.Problem{Code: code, Text: text, Fix: info.Fix, Since: n.begun})
	}
	if n.cfg.Insecure {
		warn(muster.CodeInsecure, "the node was started with --insecure")
	}
	if p, ok := n.shared.(interface{ Plaintext() bool }); ok && p.Plaintext() {
		warn(muster.CodeStorePlaintext, "the connection to the database is not encrypted")
	}
	if !n.bound.Addr().IsLoopback() && !n.cfg.TLS.served() {
		warn(muster.CodePlaintext, "the management port is plain HTTP on "+n.listener.Addr().String())
	}
	return append(list, n.certificateProblems()...)
}

// Conditions returns what readiness consists of, in the order in which a node
// reaches it.
func (n *node) Conditions() []muster.Condition {
	r := n.replicaStatus()
	st := n.seeker.Status()
	joined := muster.Condition{Code: muster.CodeWaitingForPeers, OK: n.settled(), Since: n.begun, Text: "member of " + string(n.state.Cluster().ID)}
	if !joined.OK {
		joined.Text = cmp.Or(st.Waiting, "waiting for the other members")
		if len(st.Problems) > 0 {
			joined.Text += ": " + st.Problems[0].Text
			joined.Fix = st.Problems[0].Fix
		}
	}
	if why := n.ownTombstone(); why != nil {
		joined = muster.Condition{Code: why.Code, Since: n.begun, Text: why.Text, Fix: why.Advice()}
	}
	synced := muster.Condition{Code: muster.CodeNotSynced, OK: r.Source != "", Since: r.Since, Text: "configuration from " + r.Source}
	if !synced.OK {
		synced.Text = "no configuration yet"
	}
	list := []muster.Condition{joined, synced, n.hears(), n.serving()}
	for i, c := range list {
		if !c.OK && c.Fix == "" {
			info, _ := c.Code.Info()
			list[i].Fix = info.Fix
		}
	}
	return list
}

// Leave takes this node out of the cluster for good: its row leaves the durable
// list, and the process ends like after SIGTERM.
func (n *node) Leave(ctx context.Context) error {
	c := n.core.Load()
	if c == nil {
		return muster.Errorf(muster.CodeNotFormed, "%s belongs to no cluster", n.self.Name)
	}
	if n.state.Cluster().Store.Home == n.self.ID && len(n.live()) > 0 {
		return muster.Errorf(muster.CodeConfigHomeDown, "%s keeps the configuration of the cluster", n.self.Name).
			WithFix("stop it with SIGTERM to let it come back, or leave with the other members first")
	}
	n.forget.Store(true)
	if err := c.store.RemoveMember(ctx, n.self.ID); err != nil {
		n.forget.Store(false)
		return err
	}
	n.log.InfoContext(ctx, "leaving for good, as asked")
	n.stop()
	return nil
}

// View returns the configuration that this node serves, or nil before the first
// sync. See mgmt.ConfigStore.
func (n *node) View() *config.Snapshot {
	if c := n.core.Load(); c != nil {
		return c.replica.View()
	}
	return nil
}

// Apply writes through the replica. See mgmt.ConfigStore.
func (n *node) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if why := n.ousted.Load(); why != nil {
		return nil, why
	}
	c := n.core.Load()
	if c == nil {
		return nil, n.notFormed()
	}
	return c.replica.Apply(ctx, writes)
}

// Wait blocks until this node serves a revision. See mgmt.ConfigStore.
func (n *node) Wait(ctx context.Context, rev int64) error {
	c := n.core.Load()
	if c == nil {
		return n.notFormed()
	}
	return c.replica.Wait(ctx, rev)
}

// Changes returns part of the history. See mgmt.ConfigStore.
func (n *node) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	c := n.core.Load()
	if c == nil {
		return nil, n.notFormed()
	}
	return c.replica.Changes(ctx, after, limit)
}

// History returns part of the history backwards. See mgmt.ConfigStore.
func (n *node) History(ctx context.Context, p store.Past) (store.History, error) {
	c := n.core.Load()
	if c == nil {
		return store.History{}, n.notFormed()
	}
	return c.replica.History(ctx, p)
}

func (n *node) notFormed() error {
	return muster.Errorf(muster.CodeNotFormed, "%s belongs to no cluster yet: %s", n.self.Name, n.seeker.Status().Waiting)
}

package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
)

// attempt makes one connection to an endpoint and does on it whatever there is
// to do: join the cluster there, or form one with the node there.
func (s *Seeker) attempt(ctx context.Context, t *target) {
	err := s.visit(ctx, t)
	longest, formed := s.longestDelay(), s.cfg.State.Cluster().ID != ""
	defer s.Wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.busy = false
	if ctx.Err() != nil {
		return
	}
	before := t.code
	if err != nil {
		s.failedLocked(t, asError(err, ""), longest)
	}
	if formed && t.code == muster.CodeClusterMismatch {
		t.next = time.Now().Add(foreignFor)
	}
	s.attempts.WithLabelValues(knownCode(t.code)).Inc()
	if t.code != before {
		s.log.Info("join attempt", "endpoint", t.endpoint, "code", t.code, "reason", t.text)
	}
}

// failedLocked decides when to call again after an error.
func (s *Seeker) failedLocked(t *target, e *muster.Error, longest time.Duration) {
	switch e.Code {
	case muster.CodeSelf:
		t.hello = nil
		t.claimed = s.self.ID
		t.answered(e.Code, e.Text, foreignFor)
	case muster.CodeNotFormed, muster.CodeDraining, muster.CodeWaitingForPeers:
		t.answered(e.Code, e.Text, s.paceLocked())
	case muster.CodeNameInUse:
		t.failed(e, lastDelay)
		t.next = time.Now().Add(spread(suspectWait))
		t.clampLocked()
	case muster.CodeExpelled:
		t.failed(e, lastDelay)
		s.expelled = e
		s.log.Error("this node was expelled from the cluster", "endpoint", t.endpoint, "reason", t.text)
	default:
		t.failed(e, longest)
	}
}

// longestDelay is the cap of the delay: a node in company is in no hurry.
func (s *Seeker) longestDelay() time.Duration {
	if len(s.cfg.Live()) > 0 {
		return idleDelay
	}
	return lastDelay
}

// paceLocked is the delay between calls to a node that is waiting like this one.
// It grows with their number, so that the calls of many do not.
func (s *Seeker) paceLocked() time.Duration {
	waiting := 0
	for _, t := range s.targets {
		if t.hello != nil && t.hello.Cluster == "" {
			waiting++
		}
	}
	return waitDelay * time.Duration(max(1, waiting/8))
}

// knownCode bounds the label of a metric to the codes that exist.
func knownCode(c muster.Code) string {
	if _, ok := c.Info(); ok {
		return string(c)
	}
	return string(muster.CodeInternal)
}

func (s *Seeker) visit(ctx context.Context, t *target) error {
	m, err := s.dial(ctx, t)
	if err != nil {
		return asError(err, s.cfg.Class(err))
	}
	defer m.Close()
	peer := m.Peer()
	if peer.ID == s.self.ID {
		return muster.Errorf(muster.CodeSelf, "%s is this node itself", t.endpoint)
	}
	s.reached(t, peer)
	if want := s.cfg.JoinNodeID; want != "" && s.isExplicit(t) && want != peer.Name && want != string(peer.ID) {
		return muster.Errorf(muster.CodeWrongTarget, "%s answered at %s, and --cluster-join-node-id wants %q",
			describe(peer.ID, peer.Name), t.endpoint, muster.Printable(want))
	}
	formed := s.cfg.State.Cluster().ID != ""
	switch {
	case peer.Cluster != "":
		return s.join(ctx, t, m)
	case formed:
		return s.offer(ctx, t, m)
	}
	return s.confer(ctx, t, m)
}

// dial makes the connection of an attempt.
func (s *Seeker) dial(ctx context.Context, t *target) (Meeting, error) {
	s.mu.Lock()
	limit := meetTimeout
	if t.tries == 0 {
		limit = firstMeet
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.cfg.Meet(ctx, t.endpoint, "")
}

func (s *Seeker) isExplicit(t *target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.from(fromConfig)
}

// reached notes who is at an endpoint that was dialled.
func (s *Seeker) reached(t *target, peer link.Hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.hello, t.claimed, t.contact = &peer, peer.ID, time.Now()
}

// saw notes a HELLO, whoever dialled. A caller that names an endpoint becomes a
// target; one that is being waited for is called at once.
func (s *Seeker) saw(peer link.Hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !reachable(peer.Endpoint) || peer.ID == s.self.ID {
		return
	}
	t := s.targetLocked(peer.Endpoint, fromCaller)
	if t == nil {
		return
	}
	if t.hello == nil && t.claimed != peer.ID {
		t.claimed = peer.ID
	}
	known := t.hello != nil && t.hello.ID == peer.ID
	if t.hello == nil || known {
		t.hello, t.contact = &peer, time.Now()
	}
	t.hurry()
	s.Wake()
}

// join asks a member to be admitted, one member at a time.
func (s *Seeker) join(ctx context.Context, t *target, m Meeting) error {
	select {
	case s.joining <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.joining }()
	if s.accompanied(m.Peer().ID) {
		s.ok(t, "is a member")
		return nil
	}
	var answer reply
	body := request{Endpoint: cmp.Or(s.cfg.Endpoint, Outbound), ClusterName: s.cfg.ClusterName, Zone: s.cfg.Zone, Version: s.cfg.Version}
	candidates, err := call(ctx, m, exchange{PathJoin, body, &answer})
	if err != nil {
		s.hear(candidates)
		return err
	}
	if err := s.adopt(ctx, answer, m.Peer()); err != nil {
		return err
	}
	s.ok(t, fmt.Sprintf("%s admitted this node", describe(m.Peer().ID, m.Peer().Name)))
	return nil
}

// accompanied reports whether there is nothing to ask: the peer is a live member
// already, or an earlier answer is being acted on.
func (s *Seeker) accompanied(id muster.NodeID) bool {
	live := s.liveSet()
	s.mu.Lock()
	defer s.mu.Unlock()
	return live[id] || s.settling || s.pending != nil
}

func (s *Seeker) ok(t *target, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.answered(muster.CodeOK, text, suspectWait)
}

// adopt makes the cluster of an answer this node's own: on disk first, then
// through the hooks.
func (s *Seeker) adopt(ctx context.Context, answer reply, peer link.Hello) error {
	cluster := answer.cluster()
	if cluster.ID != peer.Cluster && peer.Cluster != "" || !cluster.ID.Valid() {
		return muster.Errorf(muster.CodeClusterMismatch, "%s said in one breath that it belongs to %s and to %s",
			describe(peer.ID, peer.Name), peer.Cluster, muster.Printable(string(cluster.ID)))
	}
	if s.cfg.State.Cluster().ID == "" {
		if err := s.storeFits(ctx, cluster); err != nil {
			return err
		}
	}
	members := s.sound(answer.Members)
	if !containsID(members, peer.ID) && reachable(peer.Endpoint) {
		members = append(members, rowOf(peer))
	}
	if err := s.cfg.State.adopt(cluster, members); err != nil {
		return err
	}
	s.log.Info("succeeded directly joining cluster", "cluster_id", cluster.ID, "cluster", cluster.Name,
		"via", muster.Printable(peer.Name), "members", len(members))
	s.announce(Answer{Cluster: cluster, Members: members, By: peer.ID})
	return nil
}

// storeFits refuses a cluster whose configuration lives elsewhere than this node
// was told. A database that does not answer is given the benefit of the doubt.
func (s *Seeker) storeFits(ctx context.Context, c Cluster) error {
	switch {
	case s.cfg.Registry != nil && c.Store.Kind != s.cfg.Store:
		return muster.Errorf(muster.CodeStoreMismatch, "cluster %s keeps its configuration in %s on node %s, and this node was given a database",
			clusterName(c), c.Store.Kind, c.Store.Home.Short())
	case s.cfg.Registry != nil:
		return s.registryHolds(ctx, c)
	case s.cfg.StoreFixed && s.cfg.Store == store.KindSQLite && c.Store.Home != s.self.ID:
		return muster.Errorf(muster.CodeStoreMismatch, "cluster %s keeps its configuration in %s, and this node was given a store of its own",
			clusterName(c), c.Store.Kind)
	}
	return nil
}

func (s *Seeker) registryHolds(ctx context.Context, c Cluster) error {
	there, err := s.cfg.Registry.Cluster(ctx)
	if errors.Is(err, store.ErrNoCluster) || err == nil && there.ID != c.ID {
		return muster.Errorf(muster.CodeStoreMismatch, "cluster %s is not in the database that this node was given", clusterName(c))
	}
	return nil
}

// sound drops rows of an answer that are not acceptable.
func (s *Seeker) sound(members []store.Member) []store.Member {
	var out []store.Member
	for _, m := range members {
		if !m.ID.Valid() || m.ID == s.self.ID || muster.CheckName(m.Name) != nil || len(out) >= maxTargets {
			continue
		}
		if clean, err := CleanEndpoint(m.Endpoint); err == nil {
			m.Endpoint = clean
		} else {
			m.Endpoint = ""
		}
		out = append(out, m)
	}
	return out
}

func containsID(members []store.Member, id muster.NodeID) bool {
	for _, m := range members {
		if m.ID == id {
			return true
		}
	}
	return false
}

func rowOf(h link.Hello) store.Member {
	return store.Member{ID: h.ID, Name: h.Name, Endpoint: h.Endpoint, Boot: h.Boot, Role: h.Role, State: muster.StateAlive}
}

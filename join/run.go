package join

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Sources of endpoints beside discovery methods.
const (
	fromConfig = "join endpoint"
	fromMemory = "last-known member"
	fromLeft   = "member that left"
	fromFormer = "former address" // of this node: a copy of it may run there
	fromCaller = "inbound"
	fromPeer   = "peer"
)

// Run seeks until ctx ends, and returns nil then. It does not give up: only an
// expelled node stops calling.
func (s *Seeker) Run(ctx context.Context) error {
	s.mu.Lock()
	s.started = time.Now()
	s.mu.Unlock()
	s.move()
	s.doubt(ctx)
	s.resume()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.settleAll(ctx) })
	wg.Go(func() { s.keepPeers(ctx) })
	if s.cfg.Registry != nil {
		wg.Go(func() { s.watchRegistry(ctx) })
	} else if s.cfg.Arbiter != nil && s.source == s.cfg.Arbiter.Name() {
		wg.Go(func() { s.watchArbiter(ctx) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.wakes:
		}
		s.collect()
		s.formAlone()
		for _, t := range s.due() {
			wg.Go(func() { s.attempt(ctx, t) })
		}
		timer.Reset(s.pause())
	}
}

// Wake makes the loop look again at what discovery found.
func (s *Seeker) Wake() {
	select {
	case s.wakes <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// Pardon takes back that the node was expelled: whoever said so was behind the times.
func (s *Seeker) Pardon() {
	s.mu.Lock()
	s.expelled = nil
	s.mu.Unlock()
	s.Wake()
}

// resume takes up the cluster that the data directory names.
func (s *Seeker) resume() {
	cluster := s.cfg.State.Cluster()
	if cluster.ID == "" {
		s.log.Info("no preexisting node state detected, node may be bootstrapping",
			"node_id", s.self.ID, "node", s.self.Name, "formation", s.source, "bootstrap_expect", s.cfg.Expect)
		return
	}
	s.log.Info("resuming as a member", "node_id", s.self.ID, "node", s.self.Name, "cluster_id", cluster.ID, "cluster", cluster.Name)
	s.announce(Answer{Cluster: cluster, Members: s.cfg.State.Peers()})
}

// move notes the address of this run. If the node had another one before, it
// calls there: whoever answers with its own identity is a copy of it.
func (s *Seeker) move() {
	former, err := s.cfg.State.move(s.cfg.Endpoint)
	if err != nil {
		s.log.Warn("writing down the endpoint", "error", err)
	}
	if former == "" || former == s.cfg.Endpoint {
		return
	}
	s.log.Info("this node has a new address", "endpoint", s.cfg.Endpoint, "former", former)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targetLocked(former, fromFormer)
}

// doubt asks the nodes that promised whether they took the cluster that this one
// minted before it stopped. If an operator has had them form another one
// meanwhile, this node's is worth nothing: nobody has ever belonged to it.
func (s *Seeker) doubt(ctx context.Context) {
	if !s.cfg.State.unconfirmed() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range s.cfg.State.Peers() {
		wg.Go(func() {
			meeting, err := s.cfg.Meet(ctx, m.Endpoint, m.ID)
			if err == nil {
				meeting.Close()
			}
			if muster.CodeOf(err) == muster.CodeClusterMismatch {
				s.discard(m)
			}
		})
	}
	wg.Wait()
}

// discard gives up a cluster that nobody belongs to.
func (s *Seeker) discard(by store.Member) {
	s.log.Warn("discarding the cluster that this node formed: it was never confirmed, and a node that had promised belongs to another one",
		"cluster_id", s.cfg.State.Cluster().ID, "node", muster.Printable(by.Name), "node_id", by.ID)
	if err := s.cfg.State.Forget(); err != nil {
		s.log.Warn("discarding the cluster", "error", err)
	}
}

// collect brings the list of endpoints up to date with where they come from.
func (s *Seeker) collect() {
	var found []Found
	if s.cfg.Discovered != nil {
		found = s.cfg.Discovered()
	}
	peers := s.cfg.State.Peers()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, endpoint := range s.cfg.JoinEndpoints {
		s.targetLocked(endpoint, fromConfig)
	}
	for _, f := range found {
		if t := s.targetLocked(f.Endpoint, f.Source); t != nil {
			t.claimed = cmp.Or(f.ID, t.claimed)
		}
	}
	for _, m := range peers {
		if m.ID == s.self.ID || !reachable(m.Endpoint) {
			continue
		}
		from := fromMemory
		if m.State == muster.StateLeft {
			from = fromLeft
		}
		if t := s.targetLocked(m.Endpoint, from); t != nil {
			t.claimed = cmp.Or(t.claimed, m.ID)
		}
	}
	s.pruneLocked()
}

// pruneLocked drops the endpoints that nobody names any more.
func (s *Seeker) pruneLocked() {
	maps.DeleteFunc(s.targets, func(_ string, t *target) bool {
		return t.forgotten() && !t.busy && !s.commits[t.id()]
	})
}

// makeRoomLocked drops an endpoint that is known by hearsay alone, the one that
// was met longest ago; false if there is none.
func (s *Seeker) makeRoomLocked() bool {
	var oldest *target
	for _, t := range s.targets {
		if t.busy || t.ofOurs() || oldest != nil && !t.contact.Before(oldest.contact) {
			continue
		}
		oldest = t
	}
	if oldest != nil {
		delete(s.targets, oldest.endpoint)
	}
	return oldest != nil
}

// targetLocked returns the target of an endpoint, made anew if need be, or nil
// if the endpoint is none, is this node's own, or one too many.
func (s *Seeker) targetLocked(endpoint, from string) *target {
	if endpoint == s.cfg.Endpoint {
		return nil
	}
	t := s.targets[endpoint] // most are known, in their clean form
	if t == nil {
		clean, err := CleanEndpoint(endpoint)
		if err != nil || clean == s.cfg.Endpoint {
			return nil
		}
		t = s.targets[clean]
		hearsay := !source{name: from}.ofOurs()
		if t == nil && len(s.targets) >= maxTargets && (hearsay || !s.makeRoomLocked()) {
			return nil
		}
		if t == nil {
			t = &target{endpoint: clean}
			s.targets[clean] = t
		}
	}
	t.addSource(from)
	return t
}

// due takes the endpoints whose time has come, the longest waiting first, as
// many as may be called at a time.
func (s *Seeker) due() []*target {
	live := s.liveSet()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := 0
	var list []*target
	for _, t := range s.targets {
		switch {
		case t.busy:
			busy++
		case s.wantedLocked(t, live) && !t.next.After(now):
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *target) int {
		return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.endpoint, b.endpoint))
	})
	list = list[:min(len(list), max(0, parallel-busy))]
	for _, t := range list {
		t.busy = true
	}
	return list
}

// wantedLocked reports whether there is a reason to call the endpoint.
func (s *Seeker) wantedLocked(t *target, live map[muster.NodeID]bool) bool {
	switch {
	case s.expelled != nil || s.settling || s.pending != nil && !s.retrying:
		return false
	case live[t.id()]:
		delete(s.commits, t.id()) // it has come by another way
		return false
	case s.commits[t.id()]:
		return true
	case len(live) == 0:
		return true
	}
	// In company, only what may be a part of the cluster that was lost: what people
	// and discovery name, and members that are not alive. Gossip mends what it has
	// seen die; it knows nothing of members that this run has not met.
	return t.ofOurs()
}

func (s *Seeker) liveSet() map[muster.NodeID]bool {
	set := map[muster.NodeID]bool{}
	for _, id := range s.cfg.Live() {
		set[id] = true
	}
	return set
}

// pause returns how long the loop may sleep.
func (s *Seeker) pause() time.Duration {
	live := s.liveSet()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	shortest, busy := tick, 0
	for _, t := range s.targets {
		if t.busy {
			busy++
		} else if s.wantedLocked(t, live) {
			shortest = min(shortest, t.next.Sub(now))
		}
	}
	if busy >= parallel {
		return tick // the end of an attempt wakes the loop
	}
	return max(shortest, time.Millisecond)
}

// announce hands an answer to settleAll. A newer one replaces an older one.
func (s *Seeker) announce(a Answer) {
	a.Members = slices.DeleteFunc(slices.Clone(a.Members), func(m store.Member) bool { return m.ID == s.self.ID })
	s.mu.Lock()
	if p := s.pending; p != nil && p.Cluster.ID == a.Cluster.ID {
		a.Formed = a.Formed || p.Formed
	}
	s.pending = &a
	s.mu.Unlock()
	select {
	case s.answers <- struct{}{}:
	default: // settleAll has been told already
	}
}

// settleAll calls the hooks for one answer after the other.
func (s *Seeker) settleAll(ctx context.Context) {
	fails := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.answers:
		}
		for ctx.Err() == nil && !s.settle(ctx) {
			fails++
			sleep(ctx, spread(backoff(fails, lastDelay)))
		}
		fails = 0
		s.Wake()
	}
}

// settle makes one answer true: the hook first, then gossip. It returns false if
// the hook must be called again.
func (s *Seeker) settle(ctx context.Context) bool {
	s.mu.Lock()
	answer := s.pending
	s.pending, s.settling, s.retrying = nil, answer != nil, false
	s.mu.Unlock()
	if answer == nil {
		return true
	}
	err := s.cfg.Joined(ctx, *answer)
	if err == nil {
		s.clearFault("settle")
		s.gossip(ctx, *answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settling = false
	if err == nil || s.pending != nil {
		return err == nil
	}
	s.log.Warn("failed to join cluster", "cluster_id", answer.Cluster.ID, "error", err)
	s.faultLocked("settle", muster.CodeOf(err), fmt.Sprintf("setting up for cluster %s: %v", answer.Cluster.ID, err), "")
	s.pending, s.retrying = answer, true
	return false
}

// gossip exchanges state with the members of an answer, the one that gave it
// first. That nobody answers is no reason to stop: the loop goes on seeking.
func (s *Seeker) gossip(ctx context.Context, a Answer) {
	var ids []muster.NodeID
	if a.By != "" {
		ids = append(ids, a.By)
	}
	for _, m := range a.Members {
		if m.ID != a.By {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) == 0 || a.Formed {
		return // the members of a cluster that has just been formed come by themselves
	}
	if err := s.cfg.Gossip(ctx, ids...); err != nil {
		s.log.Warn("failed to join cluster", "cluster_id", a.Cluster.ID, "error", err)
		return
	}
	s.mu.Lock()
	first := !s.settled
	s.settled = true
	s.mu.Unlock()
	if first {
		n := max(1, len(s.cfg.Live()))
		s.log.Info(fmt.Sprintf("successfully joined %d peers on startup", n), "cluster_id", a.Cluster.ID, "peers", n)
	}
}

// keepPeers writes the members down, for the next start.
func (s *Seeker) keepPeers(ctx context.Context) {
	for sleep(ctx, spread(lastDelay)) {
		if s.cfg.State.Cluster().ID == "" {
			continue
		}
		peers := s.others(s.cfg.Members())
		s.mu.Lock()
		early := !s.settled
		s.mu.Unlock()
		if len(peers) == 0 && early || samePeers(peers, s.cfg.State.Peers()) {
			continue // before gossip has run, an empty list says nothing
		}
		if err := s.cfg.State.SetPeers(peers); err != nil {
			s.log.Warn("writing down the members", "error", err)
		}
	}
}

func (s *Seeker) others(members []store.Member) []store.Member {
	return slices.DeleteFunc(slices.Clone(members), func(m store.Member) bool { return m.ID == s.self.ID })
}

// samePeers compares what matters for finding them again.
func samePeers(a, b []store.Member) bool {
	key := func(m store.Member) string {
		return fmt.Sprint(m.ID, " ", m.Endpoint, " ", m.Name, " ", m.State == muster.StateLeft)
	}
	keys := func(list []store.Member) []string {
		out := make([]string, len(list))
		for i, m := range list {
			out[i] = key(m)
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(keys(a), keys(b))
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

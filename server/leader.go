package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/lease"
	"github.com/musterhq/muster/store"
)

const (
	// leaderGrace is how long nobody may lead before that is a problem: a hard
	// failover takes a whole lease.
	leaderGrace = lease.DefaultTTL + time.Second
	// lookEvery is the pause between two looks of a node that does not contend.
	lookEvery   = time.Second
	lookTimeout = time.Second
)

// leadership is this node's part in who leads the cluster: every voter that takes work
// contends for the lease, all others only look who has it.
type leadership struct {
	n       *node
	keeper  *lease.Keeper
	changes prometheus.Counter

	mu     sync.Mutex
	held   store.Lease // the newest answer of the store
	until  time.Time   // when it stops counting
	over   int64       // the highest term that was released
	err    error       // why there is no newer one
	absent time.Time   // nobody leads since; zero: somebody does, or nobody was asked
	shown  store.Lease // as of the last event
}

func newLeadership(n *node) (*leadership, error) {
	l := &leadership{n: n, changes: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "muster_cluster_leader_changes_total", Help: "Terms of leaders that this node has seen begin.",
	})}
	var err error
	l.keeper, err = lease.New(lease.Config{
		Store: l.store, Holder: n.self.ID, Boot: n.self.Boot,
		OnAnswer: l.answer, OnEnd: n.tellLease, Calm: l.calm, Log: n.log,
	})
	leads := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "muster_cluster_is_leader", Help: "1 on the node that leads the cluster.",
	}, func() float64 {
		if l.leads() {
			return 1
		}
		return 0
	})
	return l, errors.Join(err, n.cfg.Metrics.Register(leads), n.cfg.Metrics.Register(l.changes))
}

// store is where the leases are, once the cluster is known.
func (l *leadership) store() store.Leases {
	if c := l.n.core.Load(); c != nil {
		return c.store
	}
	return nil
}

// run contends while this node may lead, and looks while it may not.
func (l *leadership) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if l.eligible() {
			if err := l.contend(ctx); err != nil {
				return err
			}
			continue
		}
		l.look(ctx)
		l.rest(ctx)
	}
	return nil
}

// rest waits for the next look, or until this node may lead.
func (l *leadership) rest(ctx context.Context) {
	begun := time.Now()
	for !l.eligible() {
		changed := l.n.changed.Changed()
		pause := lookEvery
		if l.calm(l.newest()) {
			pause = lease.CalmEvery
		}
		if l.eligible() || time.Since(begun) >= pause || !l.wait(ctx, changed) {
			return
		}
	}
}

// wait reports false once ctx ends; otherwise it waits for a change, a second at most.
func (l *leadership) wait(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-time.After(lookEvery):
	}
	return true
}

// calm reports whether there is no doubt that the holder of a lease lives: the very
// process that took it answers every probe over a link that is up.
func (l *leadership) calm(held store.Lease) bool {
	for _, v := range l.n.gossip.Members() {
		if v.ID == held.Holder {
			_, err, _ := l.n.link.State(v.ID)
			return !v.Self && v.Boot == held.Boot && v.State == muster.StateAlive && v.Misses == 0 && err == nil
		}
	}
	return false
}

// newest returns what the store said last; without a holder if it did not answer.
func (l *leadership) newest() store.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return store.Lease{}
	}
	return l.held
}

// eligible reports whether this node may lead: a voter that takes work.
func (l *leadership) eligible() bool {
	n := l.n
	return n.core.Load() != nil && n.cfg.Role == muster.RoleVoter && !n.isDraining() && n.ousted.Load() == nil && n.ownTombstone() == nil
}

// contend runs for office until this node may not lead any more.
func (l *leadership) contend(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		defer cancel()
		calm := false
		for changed := l.n.changed.Changed(); l.eligible() && l.wait(ctx, changed); {
			changed = l.n.changed.Changed()
			before := calm
			if calm = l.calm(l.newest()); before && !calm {
				l.keeper.Nudge(muster.LeaderLease)
			}
		}
	})
	return l.keeper.Run(ctx, muster.LeaderLease, l.lead)
}

// lead is what the leader does.
func (l *leadership) lead(ctx context.Context, _ int64) {
	l.n.tellLease(muster.LeaderLease)
	l.n.changed.fire()
	<-ctx.Done()
}

// look asks who leads.
func (l *leadership) look(ctx context.Context) {
	leases := l.store()
	if leases == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	begun := time.Now()
	list, err := leases.Leases(ctx)
	held := store.Lease{Name: muster.LeaderLease}
	for _, x := range list {
		if x.Name == muster.LeaderLease {
			held = x
			held.Left = max(0, x.Left-time.Since(begun))
		}
	}
	l.answer(muster.LeaderLease, held, err)
}

// answer takes down what the store said, or why it said nothing.
func (l *leadership) answer(_ string, held store.Lease, err error) {
	calm := err == nil && l.calm(held)
	l.mu.Lock()
	if l.err = err; err == nil && l.news(held) {
		l.held, l.until = held, time.Now().Add(held.Left)
	}
	before, now := l.shown, l.led(calm)
	l.settle(now)
	same := before.Holder == now.Holder && before.Term == now.Term
	// A hand-over takes a moment in which nobody leads.
	if !same && (now.Holder != "" || time.Since(l.absent) >= lookEvery) {
		l.shown = now
	} else {
		same = true
	}
	l.mu.Unlock()
	if !same {
		l.show(before, now)
	}
}

// news reports whether an answer is not older than what is known: answers to two
// questions may come in any order. The caller holds the mutex.
func (l *leadership) news(held store.Lease) bool {
	if held.Holder == "" {
		l.over = max(l.over, held.Term)
		return held.Term >= l.held.Term
	}
	return held.Term > l.over && held.Term >= l.held.Term
}

// settle notes since when nobody leads. The caller holds the mutex.
func (l *leadership) settle(now store.Lease) {
	switch {
	case now.Holder != "":
		l.absent = time.Time{}
	case l.absent.IsZero():
		l.absent = time.Now()
	}
}

// led is the lease of whoever leads now, or one without a holder and a term. A holder
// of whom there is no doubt is believed to have renewed it. The caller holds the mutex.
func (l *leadership) led(calm bool) store.Lease {
	if l.held.Holder == "" || !calm && !time.Now().Before(l.until) {
		return store.Lease{}
	}
	return l.held
}

// show tells whoever watches of a change.
func (l *leadership) show(before, now store.Lease) {
	n := l.n
	level, message, text := slog.LevelInfo, "leader changed", ""
	switch {
	case now.Holder == "":
		level, message = slog.LevelWarn, "nobody leads"
		text = fmt.Sprintf("nobody leads: the lease of %s has ended", n.memberName(before.Holder))
	case before.Holder == "" || before.Holder == now.Holder:
		text = fmt.Sprintf("%s leads, term %d", n.memberName(now.Holder), now.Term)
	default:
		text = fmt.Sprintf("%s leads, term %d, after %s", n.memberName(now.Holder), now.Term, n.memberName(before.Holder))
	}
	if now.Holder != "" {
		l.changes.Inc()
	}
	n.record(level, message, muster.Event{
		Kind: muster.EventLeaseChange, Subject: muster.LeaderLease, From: string(before.Holder), To: string(now.Holder), Text: text,
	}, "leader", n.memberName(now.Holder), "leader_id", now.Holder, "term", now.Term)
	n.changed.fire()
}

// leads reports whether this node leads now, by its own clock.
func (l *leadership) leads() bool {
	_, ok := l.keeper.Holds(muster.LeaderLease)
	return ok
}

// leader returns who leads, as far as this node knows. A node never takes itself for
// the leader when its own clock says otherwise.
func (l *leadership) leader() muster.NodeID {
	if l.leads() {
		return l.n.self.ID
	}
	calm := l.calm(l.newest())
	l.mu.Lock()
	defer l.mu.Unlock()
	if id := l.led(calm).Holder; id != l.n.self.ID {
		return id
	}
	return ""
}

// problems says that nobody leads, and why.
func (l *leadership) problems() []muster.Problem {
	if l.leader() != "" {
		return nil
	}
	l.mu.Lock()
	absent, err := l.absent, l.err
	l.mu.Unlock()
	if absent.IsZero() || time.Since(absent) < leaderGrace {
		return nil
	}
	text := "nobody leads the cluster: no voter that takes work reaches the config store"
	if err != nil {
		text = fmt.Sprintf("nobody leads the cluster: %s: %s", muster.CodeOf(err), muster.Printable(err.Error()))
	}
	info, _ := muster.CodeNoLeader.Info()
	return []muster.Problem{{Code: muster.CodeNoLeader, Text: text, Fix: info.Fix, Since: absent}}
}

// memberName names a node for people.
func (n *node) memberName(id muster.NodeID) string {
	if id == n.self.ID {
		return n.self.Name
	}
	for _, v := range n.gossip.Members() {
		if v.ID == id {
			return v.Name
		}
	}
	for _, m := range n.roster.list() {
		if m.ID == id {
			return m.Name
		}
	}
	return id.Short()
}

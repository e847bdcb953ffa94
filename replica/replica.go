package replica

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Self is this node as it signs its hints.
type Self struct {
	ID   muster.NodeID
	Sign func(message []byte) []byte // by the node key
}

// Peers is who can be reached now.
type Peers interface {
	// Live returns the other members that are believed alive.
	Live() []muster.NodeID
	// Transport returns the way to one of them; the URL's host is ignored.
	Transport(muster.NodeID) http.RoundTripper
}

// Mirror is the copy on this node's disk.
type Mirror interface {
	// Load returns what was written last, or nil if there is nothing.
	Load(ctx context.Context) (*store.Snapshot, error)
	// Append adds changes that continue what is there; the epoch may have grown.
	Append(ctx context.Context, changes []muster.Change, epoch int64) error
	// Replace exchanges everything.
	Replace(ctx context.Context, snap *store.Snapshot) error
	// Close releases the file. A Replica does not call it.
	Close() error
}

// Config is what New needs.
type Config struct {
	Self Self
	// Verify reports whether sig is id's signature of message.
	Verify func(id muster.NodeID, message, sig []byte) bool
	// Cluster returns the cluster this node belongs to, "" while it belongs to none.
	Cluster func() muster.ClusterID
	// Store is this node's own way to the store.
	Store store.Store
	// Fallback takes writes while Store does not answer: the store as a peer
	// reaches it. Nil = writes are refused then.
	Fallback store.Store
	// Mirror is nil when Store is on this node's own disk.
	Mirror Mirror
	// Peers is nil for a node that is alone.
	Peers Peers
	// Caller names the authenticated node that a request came from. Nil = digests
	// are believed about the node that they name.
	Caller func(ctx context.Context) (muster.NodeID, bool)
	// OnChange gets every change after it is served, in order, from one goroutine.
	// After a jump to a snapshot it gets the difference, without chain and digest;
	// the first copy after the start is such a jump, from nothing.
	OnChange func(Served)
	// Clock stamps what OnChange gets, before anybody can be told of it. Nil = zero.
	// It must not block.
	Clock func() muster.Clock
	// Now is the clock of this node that people see. Nil = time.Now.
	Now func() time.Time
	// OnState gets every new judgement of the store, from one goroutine.
	OnState func(Status)

	Log     *slog.Logger          // nil = silent
	Metrics prometheus.Registerer // nil = none
}

// Served is some changes that are served from now on.
type Served struct {
	At      muster.Clock
	Changes []muster.Change
}

// Intervals and bounds. They are of one piece: the slowest way to a change, the
// head read, must stay below five seconds.
const (
	headEvery     = 3800 * time.Millisecond // plus up to headJitter
	headJitter    = time.Second             //
	retryEvery    = 250 * time.Millisecond  // head reads while the store does not answer
	fallbackEvery = time.Second             // the same while the fallback does
	lookGap       = 20 * time.Millisecond   // between head reads, however often poked
	checkTimeout  = 2 * time.Second         // identity and head of the store
	followTimeout = 30 * time.Second        // all that the store has and the copy has not
	writeTimeout  = 3 * time.Second         // one batch
	idleEvery     = time.Second             // looks for a cluster id
	auditEvery    = time.Minute             // re-hashes what is served
)

// Replica is one node's copy of the configuration.
type Replica struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	copy   ledger
	store  judgement
	claims claims
	stuck  stuck
	early  early
	fan    fanout

	jobs      atomic.Int64
	queue     chan *job      // writes waiting for the combiner; a full queue refuses
	committed chan committed // 1: a batch is settled while the next one is written
	kick      chan struct{}  // 1: the keeper shall judge the store now
	pull      chan struct{}  // 1: something is missing here
	soft      chan struct{}  // 1: the same, but a hint is probably on its way
	told      atomic.Bool    // soft was raised by a digest
	done      chan struct{}  // closed when Run ends

	storePull chan struct{} // 1: one pull from the store at a time
	running   atomic.Bool
}

// New returns a Replica that has no copy yet. It does no I/O.
func New(cfg Config) (*Replica, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg:       cfg,
		log:       cfg.Log.With("component", "replica"),
		queue:     make(chan *job, queueSize),
		committed: make(chan committed, 1),
		kick:      make(chan struct{}, 1),
		pull:      make(chan struct{}, 1),
		soft:      make(chan struct{}, 1),
		storePull: make(chan struct{}, 1),
		done:      make(chan struct{}),
	}
	r.copy.init(cfg)
	r.store.init()
	r.claims.init()
	r.fan.init(r)
	var err error
	r.metrics, err = newMetrics(cfg.Metrics, r)
	return r, err
}

func (c *Config) validate() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Peers == nil {
		c.Peers = nobody{}
	}
	if c.OnChange == nil {
		c.OnChange = func(Served) {}
	}
	if c.Clock == nil {
		c.Clock = func() muster.Clock { return 0 }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.OnState == nil {
		c.OnState = func(Status) {}
	}
	var errs []error
	for _, need := range []struct {
		missing bool
		what    string
	}{
		{c.Store == nil, "a store"},
		{c.Cluster == nil, "a cluster function"},
		{c.Self.ID == "" || c.Self.Sign == nil, "the node's identity"},
		{c.Verify == nil, "a function that verifies signatures"},
	} {
		if need.missing {
			errs = append(errs, errors.New("replica: "+need.what+" is missing"))
		}
	}
	return errors.Join(errs...)
}

// nobody is the Peers of a node that is alone.
type nobody struct{}

func (nobody) Live() []muster.NodeID                     { return nil }
func (nobody) Transport(muster.NodeID) http.RoundTripper { return nil }

// Run keeps the copy converged until ctx ends. It returns an error only if it was
// called twice.
func (r *Replica) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("replica: Run was called twice")
	}
	defer close(r.done)
	defer r.copy.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { r.combine(ctx) })
	wg.Go(func() { r.settleAll(ctx) })
	wg.Go(func() { r.notify(ctx) })
	if !r.waitForCluster(ctx) {
		return nil
	}
	r.loadMirror(ctx)
	wg.Go(func() { r.keep(ctx) })
	wg.Go(func() { r.pullLoop(ctx) })
	wg.Go(func() { r.chat(ctx) })
	wg.Go(func() { r.remind(ctx) })
	wg.Go(func() { r.fan.run(ctx) })
	wg.Go(func() { r.audit(ctx) })
	return nil
}

// waitForCluster idles until the node belongs to a cluster.
func (r *Replica) waitForCluster(ctx context.Context) bool {
	for r.cfg.Cluster() == "" {
		if !r.rest(ctx, idleEvery) {
			return false
		}
	}
	return ctx.Err() == nil
}

// rest waits for a time or for Poke, and reports whether ctx goes on.
func (r *Replica) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.kick:
	case <-ctx.Done():
		return false
	}
	return true
}

// Poke makes the Replica look again at once: the node has joined or formed, or the
// store may be back.
func (r *Replica) Poke() { signal(r.kick) }

// signal raises a flag that is a channel of size one: raised twice is raised once.
func signal(flag chan struct{}) {
	select {
	case flag <- struct{}{}:
	default:
	}
}

// View returns the snapshot that this node serves, or nil before the first sync.
// A caller that keeps it sees one revision for as long as it likes.
func (r *Replica) View() *config.Snapshot { return r.copy.view.Load() }

// position returns where the copy stands; zero without one.
func (r *Replica) position() muster.Position { return r.copy.position() }

// Wait returns once this node serves revision rev or a later one.
func (r *Replica) Wait(ctx context.Context, rev int64) error {
	for {
		moved := r.copy.moved()
		if at := r.position(); r.View() != nil && at.Rev >= rev {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return muster.Errorf(muster.CodeTimeout, "wait for revision %d, this node serves %d: %w",
				rev, r.position().Rev, context.Cause(ctx))
		case <-r.done:
			return muster.Errorf(muster.CodeDraining, "wait for revision %d: the node is shutting down", rev)
		}
	}
}

// Changed returns a channel that is closed when the copy moves on.
func (r *Replica) Changed() <-chan struct{} { return r.copy.moved() }

// Changes returns up to limit changes after a revision that this node serves, from
// memory if it reaches back that far and else from the store. It returns
// store.ErrCompacted if nobody remembers.
func (r *Replica) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	limit = clampLimit(limit)
	if changes, ok := r.copy.after(after, limit); ok {
		return changes, nil
	}
	changes, err := r.cfg.Store.Changes(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	return upTo(changes, r.position().Rev), nil
}

// History returns changes that this node serves, newest first, from the store or the
// fallback.
func (r *Replica) History(ctx context.Context, p store.Past) (store.History, error) {
	if next := r.position().Rev + 1; p.Before <= 0 || p.Before > next {
		p.Before = next
	}
	h, err := r.cfg.Store.History(ctx, p)
	if unreachable(err) && r.cfg.Fallback != nil {
		return r.cfg.Fallback.History(ctx, p)
	}
	return h, err
}

func clampLimit(limit int) int {
	if limit <= 0 {
		return store.MaxChanges
	}
	return min(limit, store.MaxChanges)
}

// upTo cuts off what this node does not serve yet.
func upTo(changes []muster.Change, rev int64) []muster.Change {
	for i, c := range changes {
		if c.Rev > rev {
			return changes[:i]
		}
	}
	return changes
}

// notify hands changes and judgements to the subscribers.
func (r *Replica) notify(ctx context.Context) {
	for {
		select {
		case <-r.copy.pending:
			for _, batch := range r.copy.takePending() {
				r.cfg.OnChange(batch)
			}
		case <-r.store.turned:
			r.cfg.OnState(r.Status())
		case <-ctx.Done():
			return
		}
	}
}

// audit re-hashes what is served.
func (r *Replica) audit(ctx context.Context) {
	ticker := time.NewTicker(auditEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if view := r.View(); view != nil {
				r.metrics.failIf(r.log, "served configuration is damaged in memory", view.Audit())
			}
		case <-ctx.Done():
			return
		}
	}
}

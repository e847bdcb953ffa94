// Package lease lets one process of a cluster at a time do something, under a lease
// from the config store: Run(ctx, name, do).
//
// The store decides, by its own clock, who holds a lease and until when. The holder
// renews at a quarter of its time, and gives up by its own monotonic clock a tenth
// before the end, counted from before its last good renewal: what it does has ended
// when the store may let the next one begin. A process that is frozen over the end
// learns of it when it wakes; until then its term guards what it writes elsewhere,
// since terms only grow. (Gray, Cheriton: Leases, 1989; the term is a fencing token.)
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// DefaultTTL is how long a lease outlives its holder.
const DefaultTTL = 2 * time.Second

// CalmEvery is how often the store is asked for a lease whose holder surely lives.
const CalmEvery = time.Minute

// Config is what New needs.
type Config struct {
	// Store returns where leases are kept, nil while that is not known.
	Store  func() store.Leases
	Holder muster.NodeID
	Boot   muster.Boot
	// TTL is how long a lease outlives its holder. 0 = DefaultTTL.
	TTL time.Duration
	// OnAnswer gets every answer of the store, or why there was none, in order for
	// each lease. It must not block. Nil = nobody.
	OnAnswer func(name string, l store.Lease, err error)
	// OnEnd is called once this process has freed a lease, or can use it no more, so
	// that others can be told. It must not block. Nil = nobody.
	OnEnd func(name string)
	// Calm reports whether there is evidence that a holder lives. While it is true,
	// this process asks the store rarely, and wants a Nudge when it is true no more
	// or when the lease has a new holder. It must not block. Nil = never.
	Calm func(l store.Lease) bool
	Log  *slog.Logger // nil = silent
}

// Keeper takes part in leases for one process. It may be used concurrently.
type Keeper struct {
	cfg Config
	log *slog.Logger

	mu         sync.Mutex
	contenders map[string]*contender
}

// New returns a Keeper. It does no I/O.
func New(cfg Config) (*Keeper, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnAnswer == nil {
		cfg.OnAnswer = func(string, store.Lease, error) {}
	}
	if cfg.OnEnd == nil {
		cfg.OnEnd = func(string) {}
	}
	if cfg.Calm == nil {
		cfg.Calm = func(store.Lease) bool { return false }
	}
	if cfg.Store == nil {
		return nil, errors.New("lease: no store")
	}
	trial := store.Claim{Name: "trial", Holder: cfg.Holder, Boot: cfg.Boot, TTL: cfg.TTL}
	if err := trial.Check(); err != nil {
		return nil, err
	}
	return &Keeper{cfg: cfg, log: cfg.Log.With("component", "lease"), contenders: map[string]*contender{}}, nil
}

// Run contends for a lease until ctx ends, and calls do whenever it has it. The
// context of do ends before anybody else can hold the lease; then do must return at
// once, as Run waits for it. When do returns earlier, the lease is freed and Run
// contends again after one TTL. When ctx ends, Run frees the lease before it returns.
// A process runs each name at most once at a time.
func (k *Keeper) Run(ctx context.Context, name string, do func(ctx context.Context, term int64)) error {
	c := &contender{
		k: k, do: do, wake: make(chan struct{}, 1), log: k.log.With("lease", name),
		claim: store.Claim{Name: name, Holder: k.cfg.Holder, Boot: k.cfg.Boot, TTL: k.cfg.TTL},
	}
	if err := c.claim.Check(); err != nil {
		return err
	}
	if !k.enter(c) {
		return fmt.Errorf("lease %s: this process contends for it already", name)
	}
	defer k.exit(name)
	for ctx.Err() == nil {
		c.rest(ctx, c.contend(ctx))
	}
	return nil
}

func (k *Keeper) enter(c *contender) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.contenders[c.claim.Name] != nil {
		return false
	}
	k.contenders[c.claim.Name] = c
	return true
}

func (k *Keeper) exit(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.contenders, name)
}

func (k *Keeper) contender(name string) *contender {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.contenders[name]
}

// Holds returns the term at which this process holds a lease now, by its own clock.
func (k *Keeper) Holds(name string) (term int64, ok bool) {
	if c := k.contender(name); c != nil {
		if t := c.current(); t != nil {
			return t.term, t.valid()
		}
	}
	return 0, false
}

// Nudge says that a lease may be free: whoever waits for it here tries at once.
func (k *Keeper) Nudge(name string) {
	if c := k.contender(name); c != nil {
		select {
		case c.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// StepDown gives a lease up, if this process holds it, and stays out of the way for
// one TTL. It returns when the lease is free.
func (k *Keeper) StepDown(ctx context.Context, name string) error {
	c := k.contender(name)
	if c == nil {
		return nil
	}
	t := c.current()
	if t == nil {
		return nil
	}
	t.stepDown()
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("give up lease %s: what runs under it does not end: %w", name, context.Cause(ctx))
	}
}

// pause says how long to wait before the next attempt. A deaf one is not cut short by
// a nudge.
type pause struct {
	time time.Duration
	deaf bool
}

// jitter adds up to a part of d.
func jitter(d, part time.Duration) time.Duration { return d + rand.N(part+1) }

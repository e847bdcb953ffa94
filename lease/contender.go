package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/musterhq/muster/store"
)

// contender is one Run.
type contender struct {
	k     *Keeper
	log   *slog.Logger
	claim store.Claim
	do    func(context.Context, int64)
	wake  chan struct{} // 1: the lease may be free

	mu  sync.Mutex
	now *tenure // nil: not the holder
}

func (c *contender) current() *tenure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *contender) set(t *tenure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// rest waits before the next attempt.
func (c *contender) rest(ctx context.Context, p pause) {
	wake := c.wake
	if p.deaf {
		wake = nil
	}
	timer := time.NewTimer(p.time)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}

// contend tries once to take the lease, and keeps it as long as it can. What is under
// way is finished even if ctx ends: a lease that was granted unnoticed would be held
// by nobody.
func (c *contender) contend(ctx context.Context) pause {
	ttl := c.claim.TTL
	begun := time.Now()
	l, err := c.call(ctx, ttl/2, store.Leases.Acquire)
	switch {
	case err != nil:
		c.log.DebugContext(ctx, "the store does not say who holds the lease", "error", err)
		return pause{time: jitter(ttl/8, ttl/8)}
	case l.HeldBy(c.claim):
		return c.hold(ctx, newTenure(l, begun.Add(c.mine())))
	case l.Left > ttl/2 && c.k.cfg.Calm(l): // it renews
		return pause{time: jitter(CalmEvery, CalmEvery/10)}
	case l.Left > ttl/4:
		return pause{time: l.Left - ttl/4} // by then a live holder has renewed it
	}
	return pause{time: jitter(l.Left, ttl/100)}
}

// mine is how long this process may act on an answer, from before it asked.
func (c *contender) mine() time.Duration { return c.claim.TTL - c.claim.TTL/10 }

var errNoStore = errors.New("the cluster is not known yet")

// call asks the store about the lease, for at most limit. What is left of the lease
// then is counted from before the call: the store may have answered at once.
func (c *contender) call(ctx context.Context, limit time.Duration, ask func(store.Leases, context.Context, store.Claim) (store.Lease, error)) (l store.Lease, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	begun := time.Now()
	err = errNoStore
	if s := c.k.cfg.Store(); s != nil {
		l, err = ask(s, ctx, c.claim)
	}
	l.Left = max(0, l.Left-time.Since(begun))
	c.k.cfg.OnAnswer(c.claim.Name, l, err)
	return l, err
}

// hold runs do until the lease ends, one way or the other.
func (c *contender) hold(ctx context.Context, t *tenure) pause {
	c.claim.Term = t.term
	c.set(t)
	c.log.InfoContext(ctx, "lease taken", "term", t.term)
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // Holds says no before do is told
	defer cancel(nil)
	t.guard(cancel)
	defer t.unguard()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.do(running, t.term)
	}()
	why := c.keep(ctx, tenancy{t, running, done})
	t.end()
	cancel(why)
	<-done
	if !errors.Is(why, errLost) {
		c.release(ctx)
	}
	c.k.cfg.OnEnd(c.claim.Name)
	c.set(nil)
	close(t.ended)
	c.log.InfoContext(ctx, "lease given up", "term", t.term, "why", why)
	switch {
	case errors.Is(why, errDone), errors.Is(why, errSteppedDown):
		return pause{c.claim.TTL, true}
	}
	return pause{time: jitter(0, c.claim.TTL/20)}
}

// Why a tenure ends.
var (
	errDone        = errors.New("what ran under it has ended")
	errExpired     = errors.New("the store could not be asked to prolong it in time")
	errLost        = errors.New("the store gave it to another")
	errSteppedDown = errors.New("it was told to step down")
)

// tenancy is a tenure and what runs in it: running ends at the end of the tenure, done
// is closed when the work has ended by itself.
type tenancy struct {
	*tenure

	running context.Context
	done    <-chan struct{}
}

// keep renews the lease until it is over, and says why it is.
func (c *contender) keep(ctx context.Context, t tenancy) error {
	next := c.claim.TTL / 4
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.running.Done():
			return context.Cause(t.running)
		case <-t.done:
			return errDone
		case <-t.down:
			return errSteppedDown
		case <-time.After(next):
		}
		begun := time.Now()
		l, err := c.call(ctx, min(c.claim.TTL/5, max(0, t.left())), store.Leases.Renew)
		switch {
		case t.running.Err() != nil:
			return context.Cause(t.running)
		case err != nil:
			c.log.WarnContext(ctx, "lease not renewed", "term", t.term, "left", t.left(), "error", err)
			next = c.claim.TTL / 20
		case !l.HeldBy(c.claim) || l.Term != t.term:
			return errLost
		default:
			t.prolong(begun.Add(c.mine()))
			next = c.claim.TTL / 4
		}
	}
}

// release frees the lease. If the store cannot be asked, the lease
// ends by itself.
func (c *contender) release(ctx context.Context) {
	_, err := c.call(ctx, c.claim.TTL/5, func(s store.Leases, ctx context.Context, claim store.Claim) (store.Lease, error) {
		return store.Lease{Name: claim.Name, Term: claim.Term}, s.Release(ctx, claim)
	})
	if err != nil {
		c.log.WarnContext(ctx, "lease not released; it ends by itself", "ttl", c.claim.TTL, "error", err)
	}
}

// tenure is the time in which this process holds a lease at one term.
type tenure struct {
	term  int64
	down  chan struct{} // closed: step down
	ended chan struct{} // closed: the lease is free again, or somebody else's
	once  sync.Once

	mu    sync.Mutex
	until time.Time // of the monotonic clock
	timer *time.Timer
}

func newTenure(l store.Lease, until time.Time) *tenure {
	return &tenure{term: l.Term, until: until, down: make(chan struct{}), ended: make(chan struct{})}
}

func (t *tenure) stepDown() { t.once.Do(func() { close(t.down) }) }

// guard calls cancel at the end of the tenure, unless it is prolonged.
func (t *tenure) guard(cancel context.CancelCauseFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(time.Until(t.until), func() { cancel(errExpired) })
}

func (t *tenure) unguard() { t.timer.Stop() }

// prolong moves the end, unless it has come.
func (t *tenure) prolong(until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer.Stop() {
		t.until = until
		t.timer.Reset(time.Until(until))
	}
}

// end lets nobody take this process for the holder any more.
func (t *tenure) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Time{}
}

func (t *tenure) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Until(t.until)
}

func (t *tenure) valid() bool { return t.left() > 0 }

package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/lease"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

// party is some processes that contend for one lease in virtual time.
type party struct {
	t      *testing.T
	data   *memory.Store
	inside atomic.Int32
	all    []*contestant

	calm bool // each is sure that all others live

	mu    sync.Mutex
	terms []tenure
}

type tenure struct {
	who  int
	term int64
	from time.Time
}

// contestant is one process, with a connection of its own to the store.
type contestant struct {
	p      *party
	n      int
	conn   *memory.Store
	keeper *lease.Keeper
	cancel context.CancelFunc
	done   chan struct{}
}

func (p *party) join() *contestant {
	p.t.Helper()
	c := &contestant{p: p, n: len(p.all), conn: p.data.Share(), done: make(chan struct{})}
	keeper, err := lease.New(lease.Config{
		Store: func() store.Leases { return c.conn }, Holder: muster.NodeID(fmt.Sprintf("%08d-0000-8000-8000-000000000000", c.n)),
		Boot: muster.Boot{Counter: 1}, OnEnd: p.nudge, Calm: func(store.Lease) bool { return p.calm },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	c.keeper = keeper
	p.all = append(p.all, c)
	ctx, cancel := context.WithCancel(p.t.Context())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		if err := keeper.Run(ctx, "work", c.work); err != nil {
			p.t.Error(err)
		}
	}()
	return c
}

// nudge reaches everybody after a network delay.
func (p *party) nudge(name string) {
	for _, c := range p.all {
		time.AfterFunc(2*time.Millisecond, func() { c.keeper.Nudge(name) })
	}
}

// work counts who is inside: never two, and never at an old term.
func (c *contestant) work(ctx context.Context, term int64) {
	p := c.p
	if n := p.inside.Add(1); n != 1 {
		p.t.Errorf("%d processes work at %s", n, time.Now())
	}
	p.mu.Lock()
	if n := len(p.terms); n > 0 && p.terms[n-1].term > term {
		p.t.Errorf("term %d after %d", term, p.terms[n-1].term)
	}
	p.terms = append(p.terms, tenure{c.n, term, time.Now()})
	p.mu.Unlock()
	if got, ok := c.keeper.Holds("work"); ok && got != term { // no: it ends already
		p.t.Errorf("at work at term %d, Holds says %d", term, got)
	}
	<-ctx.Done()
	p.inside.Add(-1)
	if _, ok := c.keeper.Holds("work"); ok {
		p.t.Error("Holds after the end")
	}
}

func (c *contestant) stop() {
	c.cancel()
	<-c.done
}

func (p *party) last() tenure {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.terms) == 0 {
		return tenure{who: -1}
	}
	return p.terms[len(p.terms)-1]
}

// holder waits until somebody other than not works, and says who.
func (p *party) holder(not int) *contestant {
	p.t.Helper()
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(time.Millisecond) {
		if l := p.last(); l.who >= 0 && l.who != not && p.inside.Load() == 1 {
			return p.all[l.who]
		}
	}
	p.t.Fatalf("nobody but %d works within 30 s", not)
	return nil
}

// play runs a test with n processes in virtual time.
func play(t *testing.T, n int, test func(*party)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &party{t: t, data: memory.New()}
		if strings.Contains(t.Name(), "Calm") {
			p.calm = true
		}
		for range n {
			p.join()
		}
		test(p)
		for _, c := range p.all {
			c.stop()
		}
	})
}

// TestHardFailoverTakesAtMostTheTTL cuts the holder off from the store, at any point
// between two renewals. It must have stopped before the next one begins.
func TestHardFailoverTakesAtMostTheTTL(t *testing.T) {
	play(t, 5, func(p *party) {
		var worst time.Duration
		for range 100 {
			h := p.holder(-1)
			time.Sleep(rand.N(3 * time.Second))
			cut := time.Now()
			h.conn.SetDown(true)
			p.holder(h.n)
			worst = max(worst, p.last().from.Sub(cut))
			h.conn.SetDown(false)
		}
		p.t.Logf("100 failovers, the slowest took %s", worst)
		if worst > lease.DefaultTTL+50*time.Millisecond {
			p.t.Errorf("a failover took %s, want at most the TTL of %s", worst, lease.DefaultTTL)
		}
	})
}

// TestCalmWaitersTakeOverInTime: they hardly ask while they believe that the holder
// lives. When it does, and only the store is out of its reach, it says so itself.
func TestCalmWaitersTakeOverInTime(t *testing.T) {
	play(t, 5, func(p *party) {
		var worst time.Duration
		for range 20 {
			h := p.holder(-1)
			time.Sleep(time.Minute + rand.N(3*time.Second))
			cut := time.Now()
			h.conn.SetDown(true)
			p.holder(h.n)
			worst = max(worst, p.last().from.Sub(cut))
			h.conn.SetDown(false)
		}
		p.t.Logf("20 failovers, the slowest took %s", worst)
		if worst > lease.DefaultTTL+50*time.Millisecond {
			p.t.Errorf("a failover took %s, want at most the TTL of %s", worst, lease.DefaultTTL)
		}
	})
}

func TestGracefulHandOverTakesLessThan50Milliseconds(t *testing.T) {
	play(t, 5, func(p *party) {
		var worst time.Duration
		for range 100 {
			h := p.holder(-1)
			time.Sleep(rand.N(3 * time.Second))
			begun := time.Now()
			if rand.N(2) == 0 {
				h.stop()
				p.join()
			} else if err := h.keeper.StepDown(p.t.Context(), "work"); err != nil {
				p.t.Fatal(err)
			}
			p.holder(h.n)
			worst = max(worst, p.last().from.Sub(begun))
		}
		p.t.Logf("100 hand-overs, the slowest took %s", worst)
		if worst >= 50*time.Millisecond {
			p.t.Errorf("a hand-over took %s, want less than 50 ms", worst)
		}
	})
}

// TestHolderStaysWhileItRenews through pauses that are shorter than the lease.
func TestHolderStaysWhileItRenews(t *testing.T) {
	play(t, 3, func(p *party) {
		h := p.holder(-1)
		for range 200 {
			h.conn.Inject(memory.Faults{Down: true})
			time.Sleep(rand.N(900 * time.Millisecond))
			h.conn.Inject(memory.Faults{Latency: rand.N(200 * time.Millisecond)})
			time.Sleep(time.Second + rand.N(time.Second))
		}
		if len(p.terms) != 1 {
			p.t.Errorf("%d terms: a holder that can renew was replaced", len(p.terms))
		}
	})
}

// TestNeverTwoUnderRandomFaults lets the store be slow, hang, go down and lose answers,
// for each process on its own. Work checks that nobody is alone with another.
func TestNeverTwoUnderRandomFaults(t *testing.T) {
	play(t, 4, func(p *party) {
		for range 2000 {
			c := p.all[rand.IntN(len(p.all))]
			c.conn.Inject(randomFaults())
			time.Sleep(rand.N(1500 * time.Millisecond))
		}
		for _, c := range p.all {
			c.conn.Inject(memory.Faults{})
		}
		p.holder(-1)
		p.t.Logf("%d tenures", len(p.terms))
		if len(p.terms) < 20 {
			p.t.Errorf("only %d tenures: the faults did nothing", len(p.terms))
		}
		holder := map[int64]int{}
		for _, x := range p.terms {
			if who, seen := holder[x.term]; seen && who != x.who {
				p.t.Errorf("%d and %d worked at term %d", who, x.who, x.term)
			}
			holder[x.term] = x.who
		}
	})
}

func randomFaults() memory.Faults {
	switch rand.IntN(5) {
	case 0:
		return memory.Faults{Down: true}
	case 1:
		return memory.Faults{Hang: true}
	case 2:
		return memory.Faults{Latency: rand.N(3 * time.Second)}
	}
	return memory.Faults{}
}

// frozen is a store whose callers are stopped at random: the answer arrives late, as
// for a process that was frozen after it had asked.
type frozen struct {
	*memory.Store

	after func() time.Duration
}

func (f frozen) Acquire(ctx context.Context, c store.Claim) (store.Lease, error) {
	l, err := f.Store.Acquire(ctx, c)
	time.Sleep(min(f.after(), lease.DefaultTTL/4))
	return l, err
}

func (f frozen) Renew(ctx context.Context, c store.Claim) (store.Lease, error) {
	l, err := f.Store.Renew(ctx, c)
	time.Sleep(f.after())
	return l, err
}

// TestFrozenHolderLosesIt: an answer that was late by more than the lease keeps nobody
// in office, whatever it says.
func TestFrozenHolderLosesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memory.New()
		keeper, err := lease.New(lease.Config{
			Store:  func() store.Leases { return frozen{data, func() time.Duration { return 5 * time.Second }} },
			Holder: "00000001-0000-8000-8000-000000000000",
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan time.Duration, 1)
		done := make(chan error, 1)
		go func() {
			done <- keeper.Run(ctx, "work", func(ctx context.Context, _ int64) {
				begun := time.Now()
				<-ctx.Done()
				ended <- time.Since(begun)
				cancel()
			})
		}()
		if lasted := <-ended; lasted >= lease.DefaultTTL {
			t.Errorf("worked for %s on a lease of %s", lasted, lease.DefaultTTL)
		}
		if _, ok := keeper.Holds("work"); ok {
			t.Error("holds it still")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestHolderCountsFromBeforeItAsked: answers are slow, then none comes any more. The
// work ends before the store lets another one begin.
func TestHolderCountsFromBeforeItAsked(t *testing.T) {
	t.Parallel()
	t.Run("Acquire", func(t *testing.T) { slowAnswers(t, 0) })
	t.Run("Renew", func(t *testing.T) { slowAnswers(t, 910*time.Millisecond) }) // once; the answer has just come
}

// slowAnswers takes the store away some time after the work began.
func slowAnswers(t *testing.T, after time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		data := memory.New()
		conn := data.Share()
		onRecord := func() time.Time {
			list, err := data.Leases(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("got %+v, %v", list, err)
			}
			return list[0].Expires
		}
		keeper, err := lease.New(lease.Config{
			Store:  func() store.Leases { return frozen{conn, func() time.Duration { return 390 * time.Millisecond }} },
			Holder: "00000001-0000-8000-8000-000000000000",
			OnAnswer: func(_ string, l store.Lease, err error) {
				if left := time.Until(onRecord()); err == nil && l.Left > left {
					t.Errorf("an answer leaves %s, the store %s", l.Left, left)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- keeper.Run(ctx, "work", func(ctx context.Context, _ int64) {
				time.Sleep(after)
				conn.SetDown(true)
				<-ctx.Done()
				if over := time.Since(onRecord()); over >= 0 {
					t.Errorf("worked on for %s after the end of the lease", over)
				}
				cancel()
			})
		}()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestUnwillingHolderIsNotReplacedEarly: what does not end when told keeps the lease
// from being released, and it ends by itself.
func TestUnwillingHolderIsNotReplacedEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memory.New()
		keeper, err := lease.New(lease.Config{Store: func() store.Leases { return data }, Holder: "00000001-0000-8000-8000-000000000000"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		started, done := make(chan struct{}), make(chan error, 1)
		go func() {
			done <- keeper.Run(ctx, "work", func(context.Context, int64) {
				close(started)
				time.Sleep(time.Minute)
			})
		}()
		<-started
		hurry, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if err := keeper.StepDown(hurry, "work"); err == nil {
			t.Error("stepped down while the work goes on")
		}
		if _, ok := keeper.Holds("work"); ok {
			t.Error("says that it holds what it gives up")
		}
		if list, err := data.Leases(t.Context()); err != nil || list[0].Left == 0 {
			t.Errorf("released while the work goes on: %+v, %v", list, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestANameRunsOnce(t *testing.T) {
	play(t, 1, func(p *party) {
		p.holder(-1)
		if err := p.all[0].keeper.Run(p.t.Context(), "work", func(context.Context, int64) {}); err == nil {
			p.t.Error("ran twice")
		}
		if err := p.all[0].keeper.Run(p.t.Context(), "../work", func(context.Context, int64) {}); err == nil {
			p.t.Error("ran with a name that is none")
		}
	})
}

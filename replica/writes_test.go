package replica_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

// batches makes a connection slow, so that writes pile up, and counts its calls of
// Apply.
func batches(s *memory.Store, latency time.Duration) func() int {
	calls := counted(s, latency)
	return func() int { return calls("Apply") }
}

func TestCombinerSharesCallsOf32Clients(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		const clients, each = 32, 20
		calls := batches(w.nodes[0].store, 5*time.Millisecond)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for k := range each {
					name := fmt.Sprintf("%d", i)
					change := w.nodes[0].write(name, fmt.Sprint(k))
					if change.Name != name || string(change.Spec) != fmt.Sprint(k) {
						t.Errorf("client %d got the outcome of %s = %s", i, change.Name, change.Spec)
					}
					w.nodes[0].serves(name, fmt.Sprint(k))
				}
			})
		}
		wg.Wait()
		if got := calls(); got > 3*each {
			t.Errorf("%d calls for %d writes of %d clients", got, clients*each, clients)
		}
		w.level(clients*each, time.Second)
	})
}

func TestConflictInABatchTouchesNoNeighbour(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.write("a", `0`)
		batches(n.store, 5*time.Millisecond)
		var wg sync.WaitGroup
		won, conflicts := make(chan int64, 10), make(chan int64, 10)
		for range 10 {
			wg.Go(func() {
				write := put("a", `1`)
				write.Expect = 1
				outcomes, err := n.Apply(t.Context(), []store.Write{write, put("b", `1`)})
				switch {
				case err != nil || outcomes[1].Err != nil:
					t.Errorf("the neighbour: %v, %+v", err, outcomes)
				case outcomes[0].Err == nil:
					won <- outcomes[0].Change.Rev
				case outcomes[0].Err.Code == muster.CodeConflict && outcomes[0].Current != nil:
					conflicts <- outcomes[0].Current.Rev
				default:
					t.Errorf("got %+v", outcomes[0])
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || len(conflicts) != 9 {
			t.Fatalf("%d won, %d conflicts", len(won), len(conflicts))
		}
		if rev, current := <-won, <-conflicts; rev != current {
			t.Errorf("revision %d won, the others were shown %d", rev, current)
		}
	})
}

func TestGroupsOfTwoCallersStayApart(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.write("taken", `0`)
		batches(n.store, 5*time.Millisecond)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				first, second := put(fmt.Sprint(i), `1`), put("taken", `1`)
				first.Group, second.Group = "g", "g"
				if i%2 == 0 {
					second.Expect = 0
				}
				outcomes, err := n.Apply(t.Context(), []store.Write{first, second})
				if err != nil || (outcomes[0].Err == nil) != (i%2 == 1) || (outcomes[1].Err == nil) != (i%2 == 1) {
					t.Errorf("caller %d: %v, %+v", i, err, outcomes)
				}
			})
		}
		wg.Wait()
	})
}

func TestPoisonedJobFailsAlone(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		broken := errors.New("broken")
		n.stop()
		n.backing = poisoned{n.store, broken}
		n.start()
		n.reaches(0, time.Second)
		n.store.Inject(memory.Faults{Latency: 5 * time.Millisecond})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				name := fmt.Sprint(i)
				if i == 5 {
					name = "poison"
				}
				_, err := n.Apply(t.Context(), []store.Write{put(name, `1`)})
				if (err != nil) != (i == 5) || i == 5 && !errors.Is(err, broken) {
					t.Errorf("caller %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		n.reaches(9, 0)
	})
}

// poisoned fails every call that holds a certain document.
type poisoned struct {
	store.Store
	err error
}

func (p poisoned) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if slices.ContainsFunc(writes, func(w store.Write) bool { return w.Name == "poison" }) {
		return nil, p.err
	}
	return p.Store.Apply(ctx, writes)
}

func TestGoneClientCancelsNobodyElse(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		batches(n.store, 20*time.Millisecond)
		var wg sync.WaitGroup
		var unknown, unwritten, good int
		var mu sync.Mutex
		for i := range 30 {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%3 == 0 {
					time.AfterFunc(10*time.Millisecond, cancel)
				}
				_, err := n.Apply(ctx, []store.Write{put(fmt.Sprint(i), `1`)})
				mu.Lock()
				defer mu.Unlock()
				switch muster.CodeOf(err) {
				case "":
					good++
				case muster.CodeOutcomeUnknown:
					unknown++
				case muster.CodeTimeout:
					unwritten++
				default:
					t.Errorf("client %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if good != 20 || unknown+unwritten != 10 {
			t.Errorf("%d good, %d unknown, %d unwritten", good, unknown, unwritten)
		}
		time.Sleep(time.Second)
		if got := n.View().Len(); got < good || got > good+unknown {
			t.Errorf("%d documents of %d good and %d unknown writes", got, good, unknown)
		}
	})
}

func TestFullQueueRefuses(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		batches(n.store, 50*time.Millisecond)
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[muster.Code]int{}
		for i := range 600 {
			wg.Go(func() {
				_, err := n.Apply(t.Context(), []store.Write{put(fmt.Sprint(i), `1`)})
				mu.Lock()
				defer mu.Unlock()
				codes[muster.CodeOf(err)]++
			})
		}
		wg.Wait()
		if codes[""] < 256 || codes[muster.CodeTooManyRequests] == 0 || codes[""]+codes[muster.CodeTooManyRequests] != 600 {
			t.Errorf("got %v", codes)
		}
	})
}

func TestReplyLostByTheStoreIsAskedForAgain(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.store.Inject(memory.Faults{LoseReply: true})
		time.AfterFunc(50*time.Millisecond, func() { n.store.Inject(memory.Faults{}) })
		outcomes, err := n.Apply(t.Context(), []store.Write{put("a", `1`), put("b", `1`)})
		if err != nil || outcomes[0].Change == nil || outcomes[1].Change.Rev != 2 {
			t.Fatalf("got %+v, %v", outcomes, err)
		}
		n.serves("b", `1`)
		w.level(2, time.Second)
	})
}

func TestReplyLostForGoodIsUnknown(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.store.Inject(memory.Faults{LoseReply: true})
		_, err := n.Apply(t.Context(), []store.Write{put("a", `1`)})
		if muster.CodeOf(err) != muster.CodeOutcomeUnknown {
			t.Errorf("got %v", err)
		}
		n.reaches(1, 6*time.Second) // it did happen, and once
		time.Sleep(10 * time.Second)
		n.reaches(1, 0)
		if h, _ := w.data.Head(t.Context()); h.Rev != 1 {
			t.Errorf("the store is at revision %d", h.Rev)
		}
	})
}

func TestIdempotentWriteReturnsItsFirstOutcome(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		write := put("a", `1`)
		write.RequestID = muster.NewUUID()
		for i, n := range []*node{w.nodes[0], w.nodes[0], w.nodes[1]} {
			outcomes, err := n.Apply(t.Context(), []store.Write{write})
			if err != nil || outcomes[0].Change.Rev != 1 || outcomes[0].Repeated != (i > 0) {
				t.Errorf("time %d: got %+v, %v", i, outcomes, err)
			}
		}
	})
}

func TestTooLargeBatchIsRefused(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		if _, err := w.nodes[0].Apply(t.Context(), make([]store.Write, store.MaxBatch+1)); muster.CodeOf(err) != muster.CodeBadRequest {
			t.Errorf("got %v", err)
		}
		if outcomes, err := w.nodes[0].Apply(t.Context(), nil); err != nil || len(outcomes) != 0 {
			t.Errorf("nothing to do: got %v, %v", outcomes, err)
		}
	})
}

func TestWritesEndWhenTheNodeStops(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		batches(n.store, time.Second)
		errs := make(chan error, 100)
		r := n.Replica
		for i := range cap(errs) {
			go func() {
				_, err := r.Apply(t.Context(), []store.Write{put(fmt.Sprint(i), `1`)})
				errs <- err
			}()
		}
		synctest.Wait()
		n.stop()
		codes := map[muster.Code]int{}
		for range cap(errs) {
			codes[muster.CodeOf(<-errs)]++
		}
		if codes[muster.CodeDraining] == 0 || codes[""]+codes[muster.CodeDraining] != cap(errs) {
			t.Errorf("got %v", codes)
		}
	})
}

// through makes a node write through another one when its own store is down.
func (n *node) through(other *node) {
	n.change = func(c *replica.Config) { c.Fallback = n.peerStore(other, muster.CodeStoreUnavailable) }
	n.stop()
	n.start()
	n.reaches(0, time.Second)
}

// TestHistoryComesFromAPeerThatReachesTheStore, and never shows what this node does not
// serve yet.
func TestHistoryComesFromAPeerThatReachesTheStore(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.through(b)
		a.write("a", `1`)
		a.write("b", `2`)
		w.storesDown(true, a)
		for p, want := range map[store.Past]int{{}: 2, {Kind: "route", Name: "a", Specs: true}: 1, {Before: 2}: 1} {
			h, err := a.History(t.Context(), p)
			if err != nil || len(h.Changes) != want || p.Specs != (h.Changes[0].Spec != nil) {
				t.Errorf("%+v: %+v, %v; want %d", p, h, err, want)
			}
		}
		w.storesDown(true)
		if _, err := a.History(t.Context(), store.Past{}); muster.CodeOf(err) != muster.CodeStoreUnavailable {
			t.Errorf("with all stores down: %v", err)
		}
		w.storesDown(false)
		w.lose(everything)
		b.write("c", `3`)
		if h, err := a.History(t.Context(), store.Past{}); err != nil || h.Changes[0].Rev != a.View().Position().Rev {
			t.Errorf("the node serves revision %d and shows %+v, %v", a.View().Position().Rev, h.Changes, err)
		}
		w.lose(nil)
	})
}

func TestWritesGoThroughAPeerThatReachesTheStore(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.through(b)
		a.write("a", `1`)
		w.storesDown(true, a)
		for i := range 5 {
			change := a.write("a", fmt.Sprint(i+2))
			a.serves("a", fmt.Sprint(i+2))
			w.level(change.Rev, 20*time.Millisecond)
			time.Sleep(time.Second)
		}
		if s := a.Status(); s.StoreState != replica.Fresh || s.LastError == nil {
			t.Errorf("got %+v", s)
		}
		w.storesDown(true, b)
		a.becomes(replica.Stale, 6*time.Second)
		a.refuses(muster.CodeStoreUnavailable)
		w.storesDown(false)
		a.write("a", `9`)
		w.level(7, time.Second)
	})
}

func TestForwardedWriteGoesNoFurther(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		a.through(b)
		b.through(c)
		w.storesDown(true, a, b)
		b.write("b", `1`) // its own go through c
		time.Sleep(5 * time.Second)
		a.refuses(muster.CodeStoreUnavailable) // a would have to go through b and c
	})
}

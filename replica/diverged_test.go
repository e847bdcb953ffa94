package replica_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

func TestRewoundStoreIsNotServed(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		for i := range 7 {
			w.nodes[0].write("a", fmt.Sprint(i))
		}
		w.level(7, time.Second)
		if err := w.data.Rewind(4); err != nil {
			t.Fatal(err)
		}
		for _, n := range w.nodes {
			n.becomes(replica.Diverged, 6*time.Second)
			err := n.refuses(muster.CodeDiverged)
			if !contains(err, "4", "7") {
				t.Errorf("the refusal does not say where both stand: %v", err)
			}
			n.serves("a", `6`)
		}
		if got := w.nodes[1].Status().Problems(); len(got) != 1 || got[0].Code != muster.CodeDiverged || got[0].Fix == "" {
			t.Errorf("problems: %+v", got)
		}
	})
}

func TestRewoundStoreIsSeenWhenItComesBackFromAnOutage(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		for i := range 3 {
			w.nodes[0].write("a", fmt.Sprint(i))
		}
		w.level(3, time.Second)
		w.storesDown(true)
		w.nodes[0].refuses(muster.CodeStoreUnavailable)
		if err := w.data.Rewind(1); err != nil {
			t.Fatal(err)
		}
		w.storesDown(false)
		w.nodes[0].refuses(muster.CodeDiverged) // and wrote nothing
		if h, _ := w.data.Head(t.Context()); h.Rev != 1 {
			t.Errorf("the store is at revision %d", h.Rev)
		}
	})
}

func TestHistoryRewrittenBeyondOursIsSeenByTheChain(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		for i := range 3 {
			n.write("a", fmt.Sprint(i))
		}
		if err := w.data.Rewind(1); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if _, err := w.data.Apply(t.Context(), []store.Write{put("a", `"other"`)}); err != nil {
				t.Fatal(err)
			}
		}
		n.becomes(replica.Diverged, 6*time.Second)
		n.serves("a", `2`)
	})
}

// TestWriteIntoARewoundStoreIsNotReportedAsGood covers the moment before anybody
// has noticed.
func TestWriteIntoARewoundStoreIsNotReportedAsGood(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		for i := range 3 {
			n.write("a", fmt.Sprint(i))
		}
		if err := w.data.Rewind(1); err != nil {
			t.Fatal(err)
		}
		n.refuses(muster.CodeDiverged)
		n.serves("a", `2`)
	})
}

func TestEmptiedStoreIsDiverged(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.write("a", `1`)
		w.data.Wipe()
		n.becomes(replica.Diverged, 6*time.Second)
		n.refuses(muster.CodeDiverged)
		n.serves("a", `1`)
		if _, err := w.data.Form(t.Context(), muster.NewClusterID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if err := n.refuses(muster.CodeDiverged); !contains(err, "belongs to cluster") {
			t.Errorf("got %v", err)
		}
	})
}

func TestStoreOfAnotherClusterIsNeverServed(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		other := memory.New()
		if _, err := other.Form(t.Context(), muster.NewClusterID()); err != nil {
			t.Fatal(err)
		}
		n := w.add()
		n.backing = other
		w.lose(everything)
		n.start()
		n.becomes(replica.Diverged, time.Second)
		n.refuses(muster.CodeDiverged)
		if n.View() != nil {
			t.Errorf("serves %v", n.View().Position())
		}
	})
}

// TestCopyFromAPeerDuringTheFirstLookIsNoDivergence has a peer be faster than the
// node's own store, whose head is then judged against a copy it never saw.
func TestCopyFromAPeerDuringTheFirstLookIsNoDivergence(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		for i := range 5 {
			w.nodes[0].write("a", fmt.Sprint(i))
		}
		n := w.add()
		n.store.Inject(memory.Faults{Latency: 300 * time.Millisecond})
		n.change = func(c *replica.Config) {
			c.OnState = func(s replica.Status) {
				if s.StoreState == replica.Diverged {
					t.Errorf("judged diverged: %v", s.LastError)
				}
			}
		}
		n.start()
		n.Observe(w.nodes[0].Digest())
		n.reaches(5, 50*time.Millisecond)
		w.nodes[0].write("a", `5`)
		n.becomes(replica.Fresh, 2*time.Second)
		w.level(6, time.Second)
	})
}

func TestDivergedNodesLevelAmongThemselves(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.write("a", `0`)
		w.level(1, time.Second)
		w.lose(everything)
		b.store.SetDown(true)
		for i := range 5 {
			a.write("a", fmt.Sprint(i+1))
		}
		if err := w.data.Rewind(0); err != nil {
			t.Fatal(err)
		}
		b.store.SetDown(false)
		a.becomes(replica.Diverged, 6*time.Second)
		b.becomes(replica.Diverged, 6*time.Second)
		w.lose(nil)
		w.level(6, 6*time.Second) // what was acknowledged survives on every node
	})
}

func TestHealedStoreIsFreshAgain(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		log := []store.Write{put("a", `1`), put("a", `2`), put("a", `3`)}
		for _, write := range log {
			if _, err := n.Apply(t.Context(), []store.Write{write}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.data.Rewind(1); err != nil {
			t.Fatal(err)
		}
		n.becomes(replica.Diverged, 6*time.Second)
		if _, err := w.data.Apply(t.Context(), log[1:]); err != nil { // replayed by an operator
			t.Fatal(err)
		}
		n.becomes(replica.Fresh, 6*time.Second)
		n.write("a", `4`)
		n.serves("a", `4`)
	})
}

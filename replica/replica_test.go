package replica_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

func TestWriteIsVisibleOnAllWithinMilliseconds(t *testing.T) {
	simulate(t, 5, func(t *testing.T, w *world) {
		synctest.Wait()
		reads := make([]func(string) int, 5)
		for i, n := range w.nodes {
			reads[i] = counted(n.store, 0)
		}
		change := w.nodes[0].write("a", `{"weight":10}`)
		w.nodes[0].serves("a", `{"weight":10}`) // read your own writes
		if took := w.level(change.Rev, 20*time.Millisecond); took > 5*time.Millisecond {
			t.Errorf("took %v", took)
		}
		time.Sleep(100 * time.Millisecond)
		for i, n := range w.nodes {
			n.serves("a", `{"weight":10}`)
			if got := reads[i]("Changes") + reads[i]("Snapshot"); got != 0 {
				t.Errorf("node %d read the store %d times for one write", i, got)
			}
		}
	})
}

func TestWritersEverywhereConverge(t *testing.T) {
	simulate(t, 5, func(t *testing.T, w *world) {
		done := make(chan struct{})
		const each = 20
		for i, n := range w.nodes {
			go func() {
				defer func() { done <- struct{}{} }()
				for k := range each {
					n.write(fmt.Sprintf("%d-%d", i, k), fmt.Sprint(k))
				}
			}()
		}
		for range w.nodes {
			<-done
		}
		w.level(5*each, time.Second)
	})
}

func TestDroppedHintsAreRepairedWithinFiveSeconds(t *testing.T) {
	simulate(t, 5, func(t *testing.T, w *world) {
		for round := range 10 {
			w.lose(anyHint)
			change := w.nodes[round%5].write("a", fmt.Sprint(round))
			w.level(change.Rev, 5*time.Second)
		}
	})
}

func TestHeadReadsAloneLevelWithinFiveSeconds(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		w.lose(everything)
		for round := range 10 {
			change := w.nodes[0].write("a", fmt.Sprint(round))
			w.level(change.Rev, 5*time.Second+100*time.Millisecond)
		}
	})
}

func TestDigestsAloneLevelWithStoreDown(t *testing.T) {
	simulate(t, 5, func(t *testing.T, w *world) {
		w.lose(anyHint)
		w.storesDown(true, w.nodes[1:]...)
		time.Sleep(6 * time.Second)
		change := w.nodes[0].write("a", `1`)
		w.storesDown(true)
		w.level(change.Rev, 10*time.Second)
		if s := w.nodes[4].Status(); s.Source != "peer" || s.StoreState != replica.Stale {
			t.Errorf("got %+v", s)
		}
	})
}

func TestPushPullRecordsLevelWithStoreDown(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		b.store.SetDown(true)
		w.lose(func(_, _ *node, path string) bool { return path != "/peer/v1/changes" })
		change := a.write("a", `1`)
		a.store.SetDown(true)
		b.Observe(a.Digest())
		b.reaches(change.Rev, 3*time.Second)
		if got := b.Status().Peers[a.id]; got != a.View().Position() {
			t.Errorf("b believes that a is at %v", got)
		}
	})
}

func TestReadsGoOnAndWritesAreRefusedWhileStoreIsDown(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		w.nodes[0].write("a", `1`)
		w.level(1, time.Second)
		w.storesDown(true)
		for range 3 {
			for _, n := range w.nodes {
				n.refuses(muster.CodeStoreUnavailable)
				n.serves("a", `1`)
			}
			time.Sleep(7 * time.Second)
		}
		s := w.nodes[1].Status()
		if s.StoreState != replica.Stale || time.Since(s.Since) < 20*time.Second || s.LastError == nil || len(s.Problems()) != 1 {
			t.Errorf("got %+v", s)
		}
		w.storesDown(false)
		w.nodes[1].write("a", `2`) // the very next one
		w.level(2, time.Second)
		w.nodes[1].becomes(replica.Fresh, time.Second)
	})
}

func TestHungStoreRefusesOnceItIsKnown(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		n.store.Inject(memory.Faults{Hang: true})
		n.becomes(replica.Stale, 10*time.Second)
		n.refuses(muster.CodeStoreUnavailable)
		n.store.Inject(memory.Faults{})
		time.Sleep(2500 * time.Millisecond) // the look under way must end first
		n.write("a", `1`)
	})
}

func TestRestartedNodeNeverServesLess(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		n := w.nodes[2]
		for round := range 10 {
			w.nodes[round%2].write("a", fmt.Sprint(round))
			time.Sleep(time.Duration(round) * 100 * time.Microsecond)
			before := n.View().Position()
			w.storesDown(true)
			w.lose(everything)
			n.stop()
			n.start()
			synctest.Wait() // no time passes
			n.reaches(before.Rev, 0)
			if s := n.Status(); s.Source != "mirror" || s.Position.Rev < before.Rev {
				t.Fatalf("serves %v from %q, before %v", s.Position, s.Source, before)
			}
			w.storesDown(false)
			w.lose(nil)
			w.level(int64(round)+1, 6*time.Second)
			for _, n := range w.nodes {
				n.becomes(replica.Fresh, time.Second)
			}
		}
	})
}

func TestMirrorIsWrittenBeforeAChangeIsServed(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		for i := range 5 {
			change := w.nodes[0].write("a", fmt.Sprint(i))
			for _, n := range w.nodes {
				n.reaches(change.Rev, time.Second)
				if got := n.mirror.rev(); got < change.Rev {
					t.Errorf("serves %d, the mirror holds %d", change.Rev, got)
				}
			}
		}
		full := errors.New("the disk is full")
		b := w.nodes[1]
		b.mirror.set(full)
		w.nodes[0].write("a", `9`)
		time.Sleep(10 * time.Second)
		if s := b.Status(); s.Position.Rev != 5 || !errors.Is(s.Mirror, full) || len(s.Problems()) == 0 {
			t.Errorf("with a full disk: %+v", s)
		}
		b.mirror.set(nil)
		b.reaches(6, 6*time.Second)
	})
}

func TestMirrorOfAnotherClusterIsNotServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		defer w.end()
		n := w.nodes[0]
		foreign := muster.NewClusterID()
		view, err := config.New(foreign, muster.Position{Epoch: 1, Rev: 3}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n.mirror.view = view
		n.store.SetDown(true)
		n.start()
		time.Sleep(time.Second)
		if n.View() != nil {
			t.Fatalf("serves %v", n.View().Position())
		}
		n.store.SetDown(false)
		n.reaches(0, time.Second)
	})
}

func TestNewNodeStartsFromAPeerWithStoreDown(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		w.nodes[0].write("a", `1`)
		w.level(1, time.Second)
		w.storesDown(true)
		n := w.add()
		n.store.SetDown(true)
		n.start()
		n.reaches(1, 3*time.Second)
		n.serves("a", `1`)
		if s := n.Status(); s.Source != "peer" {
			t.Errorf("got %+v", s)
		}
		n.refuses(muster.CodeStoreUnavailable)
	})
}

func TestCompactedLogIsBridgedByASnapshot(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		b := w.nodes[1]
		b.write("gone", `1`)
		w.level(1, time.Second)
		b.stop()
		for i := range 10 {
			w.nodes[0].write("a", fmt.Sprint(i))
		}
		if _, err := w.nodes[0].Apply(t.Context(), []store.Write{{Op: muster.OpDelete, Kind: "route", Name: "gone", Expect: store.Any}}); err != nil {
			t.Fatal(err)
		}
		if err := w.data.Compact(t.Context(), 9); err != nil {
			t.Fatal(err)
		}
		w.lose(everything)
		var heard []muster.Change
		b.change = func(c *replica.Config) {
			c.OnChange = func(s replica.Served) { heard = append(heard, s.Changes...) }
		}
		b.start()
		b.reaches(12, time.Second)
		w.level(12, 0)
		synctest.Wait()
		last := heard[len(heard)-1]
		if len(heard) != 3 || heard[1].Name != "a" || last.Name != "gone" || last.Op != muster.OpDelete {
			t.Errorf("subscribers heard %+v", heard) // the mirror's document, then the difference
		}
	})
}

func TestSubscribersHearEveryChangeInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		var heard []int64
		w.nodes[1].change = func(c *replica.Config) {
			c.OnChange = func(s replica.Served) {
				for _, change := range s.Changes {
					heard = append(heard, change.Rev)
				}
			}
		}
		w.start()
		defer w.end()
		for i := range 30 {
			w.nodes[i%2].write("a", fmt.Sprint(i))
		}
		w.level(30, time.Second)
		synctest.Wait()
		for i, rev := range heard {
			if rev != int64(i)+1 {
				t.Fatalf("heard %v", heard)
			}
		}
		if len(heard) != 30 {
			t.Errorf("heard %d changes", len(heard))
		}
	})
}

func TestReplicaIdlesUntilTheNodeHasACluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.data = memory.New() // not formed
		n := w.add()
		id := muster.ClusterID("")
		n.change = func(c *replica.Config) {
			c.Cluster = func() muster.ClusterID { w.mu.Lock(); defer w.mu.Unlock(); return id }
		}
		calls := counted(n.store, 0)
		n.start()
		defer w.end()
		time.Sleep(10 * time.Second)
		if got := calls("Cluster") + calls("Head"); got != 0 {
			t.Errorf("asked the store %d times", got)
		}
		n.refuses(muster.CodeNotFormed)
		if _, err := w.data.Form(t.Context(), clusterID); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		id = clusterID
		w.mu.Unlock()
		n.Poke()
		synctest.Wait()
		n.write("a", `1`)
	})
}

func TestWaitEndsWithTheContext(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.nodes[0].Wait(ctx, 1); muster.CodeOf(err) != muster.CodeTimeout {
			t.Errorf("got %v", err)
		}
	})
}

func TestChangesReachBackToTheStore(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		for i := range 10 {
			n.write("a", fmt.Sprint(i))
		}
		n.stop()
		n.start()
		n.reaches(10, time.Second)
		n.write("a", `10`)
		for _, after := range []int64{0, 5, 9, 10, 11} {
			changes, err := n.Changes(t.Context(), after, 100)
			if err != nil || int64(len(changes)) != 11-after {
				t.Errorf("after %d: %d changes, %v", after, len(changes), err)
			}
		}
		if err := w.data.Compact(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Changes(t.Context(), 3, 100); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMetricsRegisterOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	reg := prometheus.NewRegistry()
	cfg := w.nodes[0].config()
	cfg.Metrics = reg
	if _, err := replica.New(cfg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, want := range []string{"muster_config_revision", "muster_config_apply_failures_total", "muster_config_cas_conflicts_total", "muster_store_up"} {
		if !names[want] {
			t.Errorf("%s is missing", want)
		}
	}
	if _, err := replica.New(cfg); err == nil {
		t.Error("registered twice in silence")
	}
}

func TestNewNamesAllThatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := replica.New(replica.Config{})
	if !contains(err, "a store", "cluster", "identity", "signatures") {
		t.Errorf("got %v", err)
	}
}

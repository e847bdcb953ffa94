package replica_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
)

func (w *world) ids() (ids []muster.NodeID) {
	for _, n := range w.nodes {
		ids = append(ids, n.id)
	}
	return ids
}

// at is the position of a change on the nodes' history.
func at(c muster.Change) muster.Position {
	return muster.Position{Epoch: 1, Rev: c.Rev, Chain: c.Chain}
}

// confirm asks for at most so long and returns who confirmed, and how long it took.
func (n *node) confirm(limit time.Duration, q replica.Question) ([]muster.NodeID, time.Duration) {
	ctx, cancel := context.WithTimeout(n.w.t.Context(), limit)
	defer cancel()
	start := time.Now()
	got := n.Confirm(ctx, q)
	slices.Sort(got)
	return got, time.Since(start)
}

func TestConfirmTellsWhoServesARevision(t *testing.T) {
	simulate(t, 4, func(t *testing.T, w *world) {
		cut := w.nodes[3]
		w.lose(func(_, to *node, _ string) bool { return to == cut })
		cut.store.SetDown(true)
		change := w.nodes[0].write("a", `1`)
		all := w.ids()
		want := slices.Sorted(slices.Values(all[:3]))
		got, took := w.nodes[0].confirm(2*time.Second, replica.Question{At: at(change), Members: all[:3]})
		if took > 10*time.Millisecond || !slices.Equal(got, want) {
			t.Errorf("%v after %v, want %v at once", got, took, want)
		}
		got, took = w.nodes[0].confirm(2*time.Second, replica.Question{At: at(change), Members: all})
		if took < 2*time.Second || !slices.Equal(got, want) {
			t.Errorf("with one cut off: %v after %v, want %v after all of 2 s", got, took, want)
		}
		if got, took = w.nodes[0].confirm(2*time.Second, replica.Question{At: at(change), Members: all, Enough: 3}); took > 10*time.Millisecond || len(got) != 3 {
			t.Errorf("three of four: %v after %v, want three at once", got, took)
		}
		cut.stop()
		if got, took = w.nodes[0].confirm(2*time.Second, replica.Question{At: at(change), Members: all}); took > 200*time.Millisecond || len(got) != 3 {
			t.Errorf("with one dead: %v after %v, want three soon", got, took)
		}
	})
}

// TestConfirmComparesTheChain: a member that serves another history, or another epoch,
// does not confirm, however far it has come.
func TestConfirmComparesTheChain(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		first := w.nodes[0].write("a", `1`)
		last := w.nodes[0].write("a", `2`)
		w.level(last.Rev, time.Second)
		for name, c := range map[string]struct {
			at   muster.Position
			want int
		}{
			"the newest one":   {at(last), 2},
			"an older one":     {at(first), 2},
			"another chain":    {muster.Position{Epoch: 1, Rev: first.Rev, Chain: last.Chain}, 0},
			"another epoch":    {muster.Position{Epoch: 2, Rev: last.Rev, Chain: last.Chain}, 0},
			"one that is none": {muster.Position{Epoch: 1, Rev: last.Rev + 1, Chain: last.Chain}, 0},
		} {
			got, _ := w.nodes[0].confirm(300*time.Millisecond, replica.Question{At: c.at, Members: w.ids()})
			if len(got) != c.want {
				t.Errorf("%s: %d confirm, want %d", name, len(got), c.want)
			}
		}
	})
}

// TestConfirmAfterAJump: a node that came by a snapshot has forgotten the chain that
// the revision had; it is compared by where it stands.
func TestConfirmAfterAJump(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		first := w.nodes[0].write("a", `1`)
		last := w.nodes[0].write("a", `2`)
		w.level(last.Rev, time.Second)
		w.nodes[1].stop()
		w.nodes[1].start()
		w.nodes[1].reaches(last.Rev, time.Second)
		got, took := w.nodes[0].confirm(time.Second, replica.Question{At: at(first), Members: w.ids()})
		if len(got) != 2 || took > 10*time.Millisecond {
			t.Errorf("%v after %v, want both", got, took)
		}
	})
}

// TestFootprintTellsTheWay sends one revision after another by each way.
func TestFootprintTellsTheWay(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		way := func(want muster.Way, rev int64) *replica.Mark {
			t.Helper()
			b.reaches(rev, 6*time.Second)
			f := b.Footprint(rev)
			if f.Mark == nil || f.Mark.Way != want || f.Mark.After >= rev || f.Mark.Rev < rev || f.Node != b.id || f.Mark.Applied.Before(f.Mark.Received) {
				t.Fatalf("revision %d: %+v, want %s", rev, f.Mark, want)
			}
			return f.Mark
		}
		change := a.write("a", `1`)
		if m := way(muster.WayHint, change.Rev); m.Peer != a.id || m.Source != "peer" {
			t.Errorf("pushed by %s", m.Peer)
		}
		if m := a.Footprint(change.Rev).Mark; m == nil || m.Way != muster.WayWrite {
			t.Errorf("the writer: %+v", m)
		}
		way(muster.WayWrite, b.write("b", `1`).Rev)
		time.Sleep(10 * time.Millisecond) // answers to hints carry digests
		w.lose(everything)
		if m := way(muster.WayStore, a.write("a", `2`).Rev); m.Source != "store" {
			t.Errorf("pulled from %s", m.Source)
		}
		w.lose(anyHint)
		b.store.SetDown(true)
		b.becomes(replica.Stale, 6*time.Second)
		if m := way(muster.WayDigest, a.write("a", `3`).Rev); m.Source != "peer" || m.Peer == "" {
			t.Errorf("pulled from %s %s", m.Source, m.Peer)
		}
		b.stop()
		b.start()
		if m := way(muster.WayCopy, 1); m.Source != "mirror" {
			t.Errorf("first copy from %s, want mirror", m.Source)
		}
		if f := b.Footprint(a.View().Position().Rev + 1); f.Mark != nil {
			t.Errorf("a revision that is not there: %+v", f.Mark)
		}
	})
}

// TestFootprintsGoBackAThousandRevisions and not much further.
func TestFootprintsGoBackAThousandRevisions(t *testing.T) {
	simulate(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		const writes = 1500
		for i := range writes {
			n.write("a", fmt.Sprint(i))
		}
		for _, rev := range []int64{writes, writes - 1000} {
			if f := n.Footprint(rev); f.Mark == nil || f.Mark.Rev != rev {
				t.Errorf("revision %d of %d: %+v", rev, writes, f.Mark)
			}
		}
		if f := n.Footprint(2); f.Mark != nil {
			t.Errorf("revision 2 of %d is remembered: %+v", writes, f.Mark)
		}
	})
}

// TestBehindPeersAreReminded: hints are lost and the store cannot be read; a peer that
// was heard to be behind is told of it within seconds, without anybody's random choice.
func TestBehindPeersAreReminded(t *testing.T) {
	simulate(t, 5, func(t *testing.T, w *world) {
		a := w.nodes[0]
		w.level(a.write("a", `0`).Rev, time.Second)
		for round := range 5 {
			w.lose(func(from, _ *node, path string) bool {
				return path == "/peer/v1/hint" || path == "/peer/v1/head" && from != a
			})
			w.storesDown(true, w.nodes[1:]...)
			change := a.write("a", fmt.Sprint(round))
			w.level(change.Rev, 3200*time.Millisecond)
		}
	})
}

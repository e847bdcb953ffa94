package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

func changesArePaged(t *testing.T, s store.Store) {
	Form(t, s)
	const total = 3*store.MaxBatch + 5
	for done := 0; done < total; {
		var batch []store.Write
		for len(batch) < min(store.MaxBatch, total-done) {
			batch = append(batch, Put("route", strconv.Itoa(done+len(batch)), `1`))
		}
		MustApply(t, s, batch...)
		done += len(batch)
	}
	for _, c := range []struct{ after, limit, want int }{
		{0, 1, 1}, {0, 10, 10}, {total - 3, 10, 3}, {total, 10, 0}, {total + 50, 10, 0}, {0, 0, total}, {0, -1, total}, {0, 5000, total},
	} {
		changes, err := s.Changes(t.Context(), int64(c.after), c.limit)
		if err != nil || len(changes) != c.want {
			t.Errorf("changes after %d, limit %d: got %d, %v; want %d", c.after, c.limit, len(changes), err, c.want)
		}
		if len(changes) > 0 && changes[0].Rev != int64(c.after)+1 {
			t.Errorf("changes after %d begin with %d", c.after, changes[0].Rev)
		}
	}
	if got := len(History(t, s, 7)); got != total {
		t.Errorf("%d changes in pages of 7, want %d", got, total)
	}
}

// historyReadsBackwards compares what History answers with the log.
func historyReadsBackwards(t *testing.T, s store.Store) {
	if _, err := s.History(t.Context(), store.Past{}); !errors.Is(err, store.ErrNoCluster) {
		t.Errorf("before Form: %v", err)
	}
	Form(t, s)
	if h, err := s.History(t.Context(), store.Past{}); err != nil || len(h.Changes) != 0 || h.Compacted != 0 {
		t.Errorf("of nothing: %+v, %v", h, err)
	}
	for i := range 30 {
		MustApply(t, s, Put("k"+strconv.Itoa(i%3), "n"+strconv.Itoa(i%5), strconv.Itoa(i)))
	}
	MustApply(t, s, Delete("k0", "n0"))
	log := History(t, s, 100)
	for _, p := range []store.Past{
		{}, {Limit: 7}, {Before: 12}, {Before: 12, Limit: 1}, {Before: 1}, {Before: 99}, {Kind: "k1"}, {Kind: "k1", Name: "n1"}, {Kind: "none"},
		{Kind: "k0", Name: "n0", Before: 16, Limit: 2}, {Specs: true}, {Kind: "k0", Name: "n0", Specs: true, Limit: 1}, {Limit: -1}, {Limit: 99999},
	} {
		h, err := s.History(t.Context(), p)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		diff(t, fmt.Sprintf("the history of %+v", p), backwards(log, p), h.Changes)
	}
	if c, ok := s.(compacter); ok {
		if err := c.Compact(t.Context(), 25); err != nil {
			t.Fatal(err)
		}
		if h, err := s.History(t.Context(), store.Past{Kind: "k1"}); err != nil || h.Compacted != 25 || len(h.Changes) != 2 {
			t.Errorf("after compaction to 25: %+v, %v", h, err)
		}
	}
}

// backwards is what History must make of a log.
func backwards(log []muster.Change, p store.Past) []muster.Change {
	most := p.Limit
	if most <= 0 || most > store.MaxChanges {
		most = store.MaxChanges
	}
	if p.Specs {
		most = min(most, store.MaxSpecs)
	}
	fit := []muster.Change{}
	for _, c := range slices.Backward(log) {
		older := p.Before == 0 || c.Rev < p.Before
		if !older || p.Kind != "" && p.Kind != c.Kind || p.Name != "" && p.Name != c.Name || len(fit) == most {
			continue
		}
		if !p.Specs {
			c.Spec = nil
		}
		fit = append(fit, c)
	}
	return fit
}

// snapshotEqualsReplay makes a random history and compares what the store holds
// with what its log leads to.
func snapshotEqualsReplay(t *testing.T, s store.Store) {
	Form(t, s)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var batch []store.Write
		for range 1 + random.IntN(10) {
			kind, name := "k"+strconv.Itoa(random.IntN(3)), strconv.Itoa(random.IntN(8))
			switch random.IntN(4) {
			case 0:
				batch = append(batch, Delete(kind, name))
			case 1:
				w := Put(kind, name, `"only if absent"`)
				w.Expect = 0
				batch = append(batch, w)
			default:
				batch = append(batch, Put(kind, name, strconv.Itoa(random.IntN(1000))))
			}
		}
		Apply(t, s, batch...)
		compareWithReplay(t, s)
	}
}

func compareWithReplay(t *testing.T, s store.Store) {
	t.Helper()
	replayed := Replay(t, History(t, s, 1000))
	snap := snapshot(t, s)
	diff(t, "the documents", replayed.List(""), snap.Documents)
	diff(t, "the position", replayed.Position(), snap.Position)
	diff(t, "the head", store.Head{Position: snap.Position, Items: int64(len(snap.Documents))}, head(t, s))
	loaded, err := config.New(snap.ClusterID, snap.Position, snap.Documents)
	if err != nil || loaded.StateDigest() != replayed.StateDigest() {
		t.Errorf("the snapshot has another state digest than the log: %v", err)
	}
}

func compactedHistoryIsNamed(t *testing.T, s store.Store) {
	c, ok := s.(compacter)
	Form(t, s)
	if !ok {
		wholeHistoryIsKept(t, s)
		return
	}
	w := Put("route", "old", `1`)
	w.RequestID = muster.NewUUID()
	MustApply(t, s, w, Put("route", "a", `1`), Put("route", "b", `2`), Delete("route", "a"), Put("route", "c", `5`))
	for _, upTo := range []int64{3, 2} { // the second one has nothing to do
		if err := c.Compact(t.Context(), upTo); err != nil {
			t.Fatal(err)
		}
	}
	if h := head(t, s); h.Compacted != 3 || h.Rev != 5 || h.Items != 3 {
		t.Errorf("got %+v", h)
	}
	for _, after := range []int64{0, 2} {
		if _, err := s.Changes(t.Context(), after, 10); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("changes after %d: got %v, want ErrCompacted", after, err)
		}
	}
	changes, err := s.Changes(t.Context(), 3, 10)
	if err != nil || len(changes) != 2 || changes[0].Rev != 4 {
		t.Errorf("changes after 3: got %+v, %v", changes, err)
	}
	if next := MustApply(t, s, Put("route", "d", `6`))[0]; next.Rev != 6 || config.Next(changes[1].Chain, next) != next.Chain {
		t.Errorf("the history does not go on: %+v", next)
	}
	if err := c.Compact(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	if h := head(t, s); h.Compacted != 6 {
		t.Errorf("compacted to %d, want the head and no further", h.Compacted)
	}
}

// wholeHistoryIsKept is what holds of a store that cannot compact its log.
func wholeHistoryIsKept(t *testing.T, s store.Store) {
	MustApply(t, s, Put("route", "a", `1`), Delete("route", "a"), Put("route", "b", `3`))
	if h := head(t, s); h.Compacted != 0 || len(History(t, s, 2)) != 3 {
		t.Errorf("head %+v, %d changes; want all three", h, len(History(t, s, 2)))
	}
}

// noRevisionIsMissed writes from many goroutines while a reader follows with
// "after the last one I saw". A store that hands out numbers before it commits
// loses changes here.
func noRevisionIsMissed(t *testing.T, s store.Store) {
	const writers, each = 8, 50
	Form(t, s)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { writeMany(t, s, i, each) })
	}
	var seen []muster.Change
	for len(seen) < writers*each && !t.Failed() {
		changes, err := s.Changes(t.Context(), int64(len(seen)), 17)
		if err != nil {
			t.Errorf("reader: %v", err)
			break
		}
		for _, c := range changes {
			if c.Rev != int64(len(seen))+1 {
				t.Fatalf("the reader saw revision %d after %d", c.Rev, len(seen))
			}
			seen = append(seen, c)
		}
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	if err := config.Verify(config.Genesis(ClusterID), seen); err != nil {
		t.Error(err)
	}
	written := map[string]int{}
	for _, c := range seen {
		written[c.Name]++
	}
	for i := range writers {
		if n := written[writerName(i)]; n != each {
			t.Errorf("writer %d made %d changes, the reader saw %d", i, each, n)
		}
	}
	compareWithReplay(t, s)
}

func writerName(i int) string { return fmt.Sprintf("writer-%d", i) }

func writeMany(t *testing.T, s store.Store, writer, count int) {
	var last int64
	for n := range count {
		w := Put("route", writerName(writer), strconv.Itoa(n))
		w.Expect = last
		outcomes, err := s.Apply(t.Context(), []store.Write{w})
		if err != nil || outcomes[0].Err != nil {
			t.Errorf("writer %d, write %d: %v, %+v", writer, n, err, outcomes)
			return
		}
		last = outcomes[0].Change.Rev
	}
}

func batchIsBounded(t *testing.T, s store.Store) {
	Form(t, s)
	if outcomes, err := s.Apply(t.Context(), nil); err != nil || len(outcomes) != 0 {
		t.Errorf("no writes: got %v, %v", outcomes, err)
	}
	batch := make([]store.Write, store.MaxBatch+1)
	for i := range batch {
		batch[i] = Put("route", strconv.Itoa(i), `1`)
	}
	if _, err := s.Apply(t.Context(), batch); err == nil {
		t.Errorf("%d writes were accepted in one call", len(batch))
	}
	MustApply(t, s, batch[:store.MaxBatch]...)
	if rev := head(t, s).Rev; rev != store.MaxBatch {
		t.Errorf("got revision %d, want %d", rev, store.MaxBatch)
	}
}

package sqlite_test

import (
	"os"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/sqlite"
	"github.com/musterhq/muster/store/storetest"
)

func openMirror(t *testing.T, path string) *sqlite.Mirror {
	t.Helper()
	m, err := sqlite.OpenMirror(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func load(t *testing.T, m *sqlite.Mirror) *store.Snapshot {
	t.Helper()
	snap, err := m.Load(t.Context())
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return snap
}

func snapshotOf(t *testing.T, s store.Store) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestMirrorFollowsAStore(t *testing.T) {
	t.Parallel()
	s := memory.New()
	storetest.Form(t, s)
	path := dataFile(t)
	m := openMirror(t, path)
	if snap := load(t, m); snap != nil {
		t.Fatalf("a new mirror holds %+v", snap)
	}
	if err := m.Replace(t.Context(), snapshotOf(t, s)); err != nil {
		t.Fatal(err)
	}
	for _, writes := range [][]store.Write{
		{storetest.Put("route", "a", `1`), storetest.Put("route", "b", `2`)},
		{storetest.Put("route", "a", `3`), storetest.Delete("route", "b"), storetest.Put("limit", "b", `4`)},
	} {
		if err := m.Append(t.Context(), storetest.MustApply(t, s, writes...), 1); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(snapshotOf(t, s), load(t, m)); diff != "" {
			t.Error(diff)
		}
	}
	if err := m.Append(t.Context(), nil, 2); err != nil { // a promotion
		t.Fatal(err)
	}
	want := snapshotOf(t, s)
	want.Position.Epoch = 2
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, load(t, openMirror(t, path))); diff != "" {
		t.Errorf("opened again: %s", diff)
	}
}

func TestMirrorRefusesWhatDoesNotContinue(t *testing.T) {
	t.Parallel()
	s := memory.New()
	storetest.Form(t, s)
	changes := storetest.MustApply(t, s, storetest.Put("route", "a", `1`), storetest.Put("route", "b", `2`))
	m := openMirror(t, dataFile(t))
	if err := m.Append(t.Context(), changes, 1); err == nil {
		t.Error("an empty mirror took changes")
	}
	foreign := memory.New()
	if _, err := foreign.Form(t.Context(), muster.NewClusterID()); err != nil {
		t.Fatal(err)
	}
	if err := m.Replace(t.Context(), snapshotOf(t, foreign)); err != nil {
		t.Fatal(err)
	}
	if err := m.Append(t.Context(), changes, 1); err == nil {
		t.Error("took the changes of another cluster")
	}
	if err := m.Append(t.Context(), changes[1:], 1); err == nil {
		t.Error("took changes with a gap before them")
	}
	if diff := cmp.Diff(snapshotOf(t, foreign), load(t, m)); diff != "" {
		t.Errorf("a refused append left something: %s", diff)
	}
	if err := m.Replace(t.Context(), snapshotOf(t, s)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snapshotOf(t, s), load(t, m)); diff != "" {
		t.Errorf("after a replacement: %s", diff)
	}
}

func TestDamagedMirrorIsMovedAside(t *testing.T) {
	t.Parallel()
	path := dataFile(t)
	fill(t, path)
	damage(t, path)
	m := openMirror(t, path)
	if snap := load(t, m); snap != nil || m.Damaged() == "" {
		t.Errorf("got %+v, damaged file at %q", snap, m.Damaged())
	}
	if _, err := os.Stat(m.Damaged()); err != nil {
		t.Error(err)
	}
}

func TestMirrorOpensAsAStore(t *testing.T) {
	t.Parallel()
	from := memory.New()
	storetest.Form(t, from)
	path := dataFile(t)
	m := openMirror(t, path)
	if err := m.Replace(t.Context(), snapshotOf(t, from)); err != nil {
		t.Fatal(err)
	}
	if err := m.Append(t.Context(), storetest.MustApply(t, from, storetest.Put("route", "a", `1`)), 1); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	storetest.MustApply(t, s, storetest.Put("route", "b", `2`))
	if n := len(storetest.History(t, s, 10)); n != 2 {
		t.Errorf("the store has %d changes, want 2", n)
	}
}

func TestMirrorEndsInsideABubble(t *testing.T) {
	t.Parallel()
	path := dataFile(t)
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		storetest.Form(t, s)
		m := openMirror(t, path)
		if err := m.Replace(t.Context(), snapshotOf(t, s)); err != nil {
			t.Error(err)
		}
		if err := m.Append(t.Context(), storetest.MustApply(t, s, storetest.Put("route", "a", `1`)), 1); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(snapshotOf(t, s), load(t, m)); diff != "" {
			t.Error(diff)
		}
	})
}

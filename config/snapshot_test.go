package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

func emptySnapshot(tb testing.TB) *config.Snapshot {
	tb.Helper()
	s, err := config.New(cluster, muster.Position{Epoch: 1, Chain: config.Genesis(cluster)}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func apply(tb testing.TB, s *config.Snapshot, changes ...muster.Change) *config.Snapshot {
	tb.Helper()
	next, err := s.Apply(chained(s.Position().Chain, changes...))
	if err != nil {
		tb.Fatal(err)
	}
	return next
}

func TestApplyLeavesTheOldSnapshotAlone(t *testing.T) {
	t.Parallel()
	first := apply(t, emptySnapshot(t), put(1, "route", "a", `1`), put(2, "route", "b", `2`))
	before := first.List("")
	digest := first.StateDigest()
	second := apply(t, first, put(3, "route", "a", `3`), remove(4, "route", "b"), put(5, "limit", "c", `5`))

	if diff := cmp.Diff(before, first.List("")); diff != "" || first.StateDigest() != digest || first.Len() != 2 {
		t.Errorf("the first snapshot changed: %s", diff)
	}
	if got := second.Position().Rev; got != 5 || second.Len() != 2 {
		t.Errorf("got revision %d with %d documents, want 5 with 2", got, second.Len())
	}
	if _, there := second.Get("route", "b"); there {
		t.Error("a deleted document is still there")
	}
	if doc, _ := second.Get("route", "a"); string(doc.Spec) != `3` || doc.Generation != 2 || doc.CreatedRev != 1 || doc.Rev != 3 {
		t.Errorf("got %+v", doc)
	}
}

func TestApplyKeepsTheEnvelope(t *testing.T) {
	t.Parallel()
	c := put(1, "route", "a", `1`)
	c.Actor, c.Reason, c.At = "ann", "why not", time.Unix(1700000000, 0).UTC()
	c.Generation, c.CreatedRev = 7, 7 // a claim that the chain does not cover
	got, _ := apply(t, emptySnapshot(t), c).Get("route", "a")
	want := muster.Document{
		Kind: "route", Name: "a", Spec: json.RawMessage(`1`), Rev: 1, Generation: 1, CreatedRev: 1,
		UpdatedAt: c.At, UpdatedBy: "ann", Reason: "why not",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCreationAfterDeletionStartsAnew(t *testing.T) {
	t.Parallel()
	s := apply(t, emptySnapshot(t), put(1, "route", "a", `1`), put(2, "route", "a", `2`), remove(3, "route", "a"), put(4, "route", "a", `4`))
	if doc, _ := s.Get("route", "a"); doc.Generation != 1 || doc.CreatedRev != 4 {
		t.Errorf("got generation %d created at %d, want 1 at 4", doc.Generation, doc.CreatedRev)
	}
}

func TestApplyRefusesWhatDoesNotContinue(t *testing.T) {
	t.Parallel()
	s := apply(t, emptySnapshot(t), put(1, "route", "a", `1`))
	for name, tc := range map[string]struct {
		changes []muster.Change
		want    error
	}{
		"a gap":           {chained(s.Position().Chain, put(3, "route", "b", `1`)), config.ErrGap},
		"an old revision": {chained(config.Genesis(cluster), put(1, "route", "a", `1`)), config.ErrGap},
		"another history": {chained(config.Genesis(cluster), put(2, "route", "b", `1`)), config.ErrChain},
	} {
		if _, err := s.Apply(tc.changes); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	if same, err := s.Apply(nil); same != s || err != nil {
		t.Errorf("no changes: got %v, %v", same, err)
	}
}

func TestNewRefusesImpossibleSnapshots(t *testing.T) {
	t.Parallel()
	at := muster.Position{Epoch: 1, Rev: 2, Chain: muster.Hash{1}}
	doc := muster.Document{Kind: "route", Name: "a", Rev: 2, Spec: json.RawMessage(`1`)}
	late := doc
	late.Rev = 3
	for name, docs := range map[string][]muster.Document{"twice": {doc, doc}, "from the future": {late}, "of revision 0": {{Kind: "a", Name: "b"}}} {
		if _, err := config.New(cluster, at, docs); err == nil {
			t.Errorf("a document %s was accepted", name)
		}
	}
	if _, err := config.New(cluster, muster.Position{Epoch: 1, Chain: muster.Hash{1}}, nil); !errors.Is(err, config.ErrChain) {
		t.Errorf("revision 0 with a foreign chain: got %v", err)
	}
}

func TestEpochChangesAlone(t *testing.T) {
	t.Parallel()
	s := apply(t, emptySnapshot(t), put(1, "route", "a", `1`))
	moved := s.AtEpoch(2)
	want := s.Position()
	want.Epoch = 2
	if moved.Position() != want || s.Position().Epoch != 1 || moved.StateDigest() != s.StateDigest() {
		t.Errorf("got %v from %v", moved.Position(), s.Position())
	}
}

// A history, cut into batches in any way, leads to the snapshot that a plain map
// predicts; loading that snapshot from its documents gives the same digest.
func TestSnapshotAgreesWithModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		model := map[string]string{}
		s := emptySnapshot(t)
		var batch []muster.Change
		for rev := range int64(rapid.IntRange(0, 60).Draw(rt, "changes")) {
			name := strconv.Itoa(rapid.IntRange(0, 12).Draw(rt, "name"))
			if _, there := model[name]; there && rapid.Bool().Draw(rt, "delete") {
				delete(model, name)
				batch = append(batch, remove(rev+1, "kind", name))
			} else {
				model[name] = strconv.FormatInt(rev, 10)
				batch = append(batch, put(rev+1, "kind", name, model[name]))
			}
			if rapid.Bool().Draw(rt, "cut") {
				s, batch = apply(t, s, batch...), nil
			}
		}
		s = apply(t, s, batch...)
		got := map[string]string{}
		for _, doc := range s.List("kind") {
			got[doc.Name] = string(doc.Spec)
		}
		if diff := cmp.Diff(model, got); diff != "" || s.Len() != len(model) {
			rt.Fatalf("%d documents: %s", s.Len(), diff)
		}
		loaded, err := config.New(cluster, s.Position(), s.List(""))
		if err != nil || loaded.StateDigest() != s.StateDigest() || s.Audit() != nil {
			rt.Fatalf("loaded anew: %v, digest %s and %s, audit %v", err, loaded.StateDigest(), s.StateDigest(), s.Audit())
		}
	})
}

func TestListIsOrdered(t *testing.T) {
	t.Parallel()
	s := apply(t, emptySnapshot(t), put(1, "b", "x", `1`), put(2, "a", "y", `1`), put(3, "a", "x", `1`), put(4, "c", "x", `1`))
	var got []string
	for _, doc := range s.List("") {
		got = append(got, doc.Kind+"/"+doc.Name)
	}
	if diff := cmp.Diff([]string{"a/x", "a/y", "b/x", "c/x"}, got); diff != "" {
		t.Error(diff)
	}
	if n := len(s.List("a")); n != 2 {
		t.Errorf("kind a has %d documents, want 2", n)
	}
}

func TestAuditFindsAChangedDocument(t *testing.T) {
	t.Parallel()
	s := apply(t, emptySnapshot(t), put(1, "route", "a", `1`))
	doc, _ := s.Get("route", "a")
	doc.Spec[0] = '2' // what nobody may do
	if s.Audit() == nil {
		t.Error("the audit saw nothing")
	}
}

func tenThousand(tb testing.TB) *config.Snapshot {
	var changes []muster.Change
	for i := range int64(10_000) {
		changes = append(changes, put(i+1, "route", fmt.Sprintf("service-%d", i), `{"weight":10}`))
	}
	return apply(tb, emptySnapshot(tb), changes...)
}

func BenchmarkGet(b *testing.B) {
	s := tenThousand(b)
	names := make([]string, 1024)
	for i := range names {
		names[i] = fmt.Sprintf("service-%d", i*7)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := s.Get("route", names[i&1023]); !ok {
			b.Fatal("missing")
		}
	}
}

func BenchmarkTypedGet(b *testing.B) {
	s := tenThousand(b)
	routes := config.NewTyped[route]("route")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := routes.Get(s, "service-77"); !ok {
			b.Fatal("missing")
		}
	}
}

func BenchmarkApplyOne(b *testing.B) {
	s := tenThousand(b)
	change := chained(s.Position().Chain, put(10_001, "route", "service-5", `{"weight":11}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Apply(change); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAudit(b *testing.B) {
	s := tenThousand(b)
	for b.Loop() {
		if err := s.Audit(); err != nil {
			b.Fatal(err)
		}
	}
}

// Package storetest is the suite that every implementation of store.Store passes.
// It says in code what the contract says in words: when the two differ, the suite
// decides.
package storetest

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// ClusterID is the cluster that the suite forms.
const ClusterID = muster.ClusterID("0b8cf2d5-9a3e-4c1f-8f67-2f1f3a9d7c55")

// Node is the node in whose name the suite writes.
const Node = muster.NodeID("5f3c1f0e-7d0b-8a52-9c41-6a7b8c9d0e1f")

// Run runs the suite. open returns a store without a cluster that shares its data
// with no other; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"FormMintsOnce", formMintsOnce},
		{"NothingWorksBeforeForm", nothingWorksBeforeForm},
		{"FormRefusesBadIdentity", formRefusesBadIdentity},
		{"FirstWriteIsRevisionOne", firstWriteIsRevisionOne},
		{"CompareAndSetOutcomes", compareAndSetOutcomes},
		{"OneOfManyCreatorsWins", oneOfManyCreatorsWins},
		{"PoisonTouchesNoNeighbour", poisonTouchesNoNeighbour},
		{"BatchSeesItsOwnWrites", batchSeesItsOwnWrites},
		{"GroupIsAllOrNone", groupIsAllOrNone},
		{"RequestIsAppliedOnce", requestIsAppliedOnce},
		{"RefusedRequestMayComeAgain", refusedRequestMayComeAgain},
		{"SpecComesBackByteIdentical", specComesBackByteIdentical},
		{"EnvelopeComesBack", envelopeComesBack},
		{"ChangesArePaged", changesArePaged},
		{"HistoryReadsBackwards", historyReadsBackwards},
		{"SnapshotEqualsReplay", snapshotEqualsReplay},
		{"CompactedHistoryIsNamed", compactedHistoryIsNamed},
		{"NoRevisionIsMissed", noRevisionIsMissed},
		{"BatchIsBounded", batchIsBounded},
		{"MembersAreKept", membersAreKept},
		{"MembersAreFreshByTheClockOfTheStore", membersAreFresh},
		{"LeaseHasOneHolder", leaseHasOneHolder},
		{"LeaseEnds", leaseEnds},
		{"OneOfManyClaimantsWins", oneOfManyClaimantsWins},
		{"LeasesAreListed", leasesAreListed},
		{"BadClaimsAreRefused", badClaimsAreRefused},
		{"LeasesNeedTheStore", leasesNeedTheStore},
		{"CancelledCallEnds", cancelledCallEnds},
		{"ClosedStoreRefuses", closedStoreRefuses},
		{"CloseEndsCallsUnderWay", closeEndsCallsUnderWay},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			c.test(t, s)
		})
	}
}

// Put is a write that creates or replaces a document, whatever is there.
func Put(kind, name, spec string) store.Write {
	return store.Write{
		Op: muster.OpPut, Kind: kind, Name: name, Spec: json.RawMessage(spec), Expect: store.Any,
		Actor: "ann", Node: Node, Reason: "a test",
	}
}

// Delete is a write that deletes a document, whatever is there.
func Delete(kind, name string) store.Write {
	w := Put(kind, name, "")
	w.Op, w.Spec = muster.OpDelete, nil
	return w
}

// Form forms the cluster of the suite.
func Form(t testing.TB, s store.Store) store.Cluster {
	t.Helper()
	c, err := s.Form(t.Context(), ClusterID)
	if err != nil {
		t.Fatalf("form: %v", err)
	}
	return c
}

// Apply applies writes in one call, which must succeed as a call.
func Apply(t testing.TB, s store.Store, writes ...store.Write) []store.Outcome {
	t.Helper()
	outcomes, err := s.Apply(t.Context(), writes)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if len(outcomes) != len(writes) {
		t.Fatalf("apply: %d outcomes of %d writes", len(outcomes), len(writes))
	}
	for i, o := range outcomes {
		if (o.Change == nil) == (o.Err == nil) {
			t.Fatalf("write %d: exactly one of change and error must be set: %+v", i, o)
		}
	}
	return outcomes
}

// MustApply applies writes in one call, none of which may be refused.
func MustApply(t testing.TB, s store.Store, writes ...store.Write) []muster.Change {
	t.Helper()
	changes := make([]muster.Change, len(writes))
	for i, o := range Apply(t, s, writes...) {
		if o.Err != nil {
			t.Fatalf("write %d: %v", i, o.Err)
		}
		changes[i] = *o.Change
	}
	return changes
}

// History returns all changes of a store, read in pages, and checks the chain
// from Genesis on.
func History(t testing.TB, s store.Store, page int) []muster.Change {
	t.Helper()
	var all []muster.Change
	for {
		changes, err := s.Changes(t.Context(), int64(len(all)), page)
		if err != nil {
			t.Fatalf("changes after %d: %v", len(all), err)
		}
		if len(changes) == 0 {
			break
		}
		all = append(all, changes...)
	}
	for i, c := range all {
		if c.Rev != int64(i)+1 {
			t.Fatalf("change %d has revision %d", i+1, c.Rev)
		}
	}
	if err := config.Verify(config.Genesis(ClusterID), all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Replay is the snapshot that changes lead to from the beginning.
func Replay(t testing.TB, changes []muster.Change) *config.Snapshot {
	t.Helper()
	s, err := config.New(ClusterID, muster.Position{Epoch: 1, Chain: config.Genesis(ClusterID)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = s.Apply(changes); err != nil {
		t.Fatal(err)
	}
	return s
}

func head(t testing.TB, s store.Store) store.Head {
	t.Helper()
	h, err := s.Head(t.Context())
	if err != nil {
		t.Fatalf("head: %v", err)
	}
	return h
}

func snapshot(t testing.TB, s store.Store) *store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return snap
}

// code returns the code with which a write was refused, or "" if it was not.
func code(o store.Outcome) muster.Code {
	if o.Err == nil {
		return ""
	}
	return o.Err.Code
}

func diff(t testing.TB, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// isDown reports whether err is what a store answers that cannot be used.
func isDown(err error) bool {
	c := muster.CodeOf(err)
	return c == muster.CodeStoreUnavailable || c == muster.CodeConfigHomeDown || c == muster.CodeOutcomeUnknown
}

// compacter is what a store offers that can forget old changes.
type compacter interface {
	Compact(ctx context.Context, upTo int64) error
}

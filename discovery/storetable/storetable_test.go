package storetable_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/musterhq/muster"
	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/discovery/storetable"
	"github.com/musterhq/muster/store"
)

type table struct {
	rows []store.Member
	err  error
}

func (b table) Members(context.Context) ([]store.Member, error) { return b.rows, b.err }

func TestOnlyFreshRowsWithAnEndpointAreFound(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) // of the store, which need not be ours
	row := func(id, endpoint string, state muster.State, age time.Duration) store.Member {
		return store.Member{ID: muster.NodeID(id), Endpoint: endpoint, State: state, SeenAt: now.Add(-age)}
	}
	source := storetable.New(table{rows: []store.Member{
		row("a", "http://a:1", muster.StateAlive, 0),
		row("b", "http://b:1", muster.StateAlive, 29*time.Second),
		row("stale", "http://c:1", muster.StateAlive, 31*time.Second),
		row("left", "http://d:1", muster.StateLeft, time.Second),
		row("outbound", "", muster.StateAlive, 0),
	}})
	got, err := source.Find(t.Context())
	want := []discovery.Candidate{{Endpoint: "http://a:1", ID: "a", Source: "store"}, {Endpoint: "http://b:1", ID: "b", Source: "store"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestErrorOfTheTableIsPassedOn(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	if _, err := storetable.New(table{err: down}).Find(t.Context()); !errors.Is(err, down) {
		t.Errorf("%v, want %v", err, down)
	}
}

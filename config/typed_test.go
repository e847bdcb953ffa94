package config_test

import (
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/config"
)

type route struct {
	Weight int `json:"weight"`
}

// counted counts how often a value of it is decoded.
type counted struct{ Times *atomic.Int64 }

func (c *counted) UnmarshalJSON([]byte) error {
	decodes.Add(1)
	return nil
}

var decodes atomic.Int64

func TestTypedReadsTheValueOfTheSnapshot(t *testing.T) {
	t.Parallel()
	routes := config.NewTyped[route]("route")
	first := apply(t, emptySnapshot(t), put(1, "route", "a", `{"weight":1}`), put(2, "other", "a", `{"weight":9}`))
	second := apply(t, first, put(3, "route", "a", `{"weight":3}`))
	for s, want := range map[*config.Snapshot]int{first: 1, second: 3} {
		if got, ok := routes.Get(s, "a"); !ok || got.Weight != want {
			t.Errorf("at revision %d: got %v, %v", s.Position().Rev, got, ok)
		}
	}
	if _, ok := routes.Get(first, "b"); ok {
		t.Error("a missing document was found")
	}
}

func TestTypedDecodesOncePerChange(t *testing.T) {
	t.Parallel()
	values := config.NewTyped[counted]("counted")
	before := decodes.Load()
	changes := chained(config.Genesis(cluster), put(1, "counted", "a", `{}`))
	s, err := emptySnapshot(t).Apply(changes)
	if err != nil {
		t.Fatal(err)
	}
	if err := values.Observe(s, changes); err != nil {
		t.Fatal(err)
	}
	later := apply(t, s, put(2, "route", "b", `1`))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			values.Get(s, "a")
			values.Get(later, "a")
		})
	}
	wg.Wait()
	if n := decodes.Load() - before; n != 1 {
		t.Errorf("decoded %d times, want once", n)
	}
}

func TestTypedReportsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	routes := config.NewTyped[route]("route")
	changes := chained(config.Genesis(cluster),
		put(1, "route", "good", `{"weight":1}`), put(2, "route", "bad", `{"weight":"heavy"}`), put(3, "other", "bad", `{"weight":"heavy"}`))
	s, err := emptySnapshot(t).Apply(changes)
	if err != nil {
		t.Fatal(err)
	}
	err = routes.Observe(s, changes)
	if err == nil || strings.Count(err.Error(), "decode") != 1 || !strings.Contains(err.Error(), "route/bad at revision 2") {
		t.Errorf("got %v", err)
	}
	if v, ok := routes.Get(s, "bad"); ok {
		t.Errorf("got %+v for what does not fit", v)
	}
	got := maps.Collect(routes.All(s))
	if diff := cmp.Diff(map[string]*route{"good": {Weight: 1}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTwoTypesReadOneDocument(t *testing.T) {
	t.Parallel()
	s := apply(t, emptySnapshot(t), put(1, "route", "a", `{"weight":1}`))
	routes, raw := config.NewTyped[route]("route"), config.NewTyped[json.RawMessage]("route")
	for range 2 {
		r, ok := routes.Get(s, "a")
		text, ok2 := raw.Get(s, "a")
		if !ok || !ok2 || r.Weight != 1 || string(*text) != `{"weight":1}` {
			t.Errorf("got %v and %s", r, *text)
		}
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	s := tenThousand(t)
	routes := config.NewTyped[route]("route")
	n := testing.AllocsPerRun(100, func() {
		s.Get("route", "service-7")
		routes.Get(s, "service-7")
	})
	if n != 0 {
		t.Errorf("a read allocates %v times", n)
	}
}

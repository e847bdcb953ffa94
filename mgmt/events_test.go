package mgmt_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/journal"
	"github.com/musterhq/muster/mgmt"
)

// TestEventStreamTellsGapsWhereTheyAre: a viewer that was away for too long is told
// how much it missed before it gets the rest.
func TestEventStreamTellsGapsWhereTheyAre(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.events.add("seen")
	seen := s.open(t, get("/v1/events")).named("member.state")
	for i := range journal.Keep + 3 {
		s.events.add(fmt.Sprint("later ", i))
	}
	f := s.open(t, get("/v1/events", "Last-Event-ID", seen.id))
	var names []string
	var last message
	for len(names) < 2 {
		m, ok := f.next()
		if !ok {
			t.Fatalf("the stream ends after %v", names)
		}
		if m.name != "" {
			names, last = append(names, m.name), m
		}
		if m.name == "gap" && !strings.Contains(m.data, `"lost":3`) {
			t.Errorf("gap %s, want 3 lost", m.data)
		}
	}
	if strings.Join(names, " ") != "gap member.state" || !strings.Contains(last.data, `"later 3"`) {
		t.Errorf("resumed with %v, %s", names, last.data)
	}
}

func TestEventStreamIsFiltered(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.events.add("about n3")
	s.events.Add(muster.Event{Kind: muster.EventMemberState, Subject: "n2", Text: "about n2"})
	s.events.Add(muster.Event{Kind: muster.EventConfigChange, Subject: "route/n2", Text: "written"})
	for query, want := range map[string]string{
		"?member=n2": "about n2", "?kind=config": "written", "?kind=member.state&member=n3": "about n3", "?since=1h": "about n2",
	} {
		f := s.open(t, get("/v1/events"+query))
		m, ok := f.next()
		for ok && m.name == "" {
			m, ok = f.next()
		}
		if !ok || !strings.Contains(m.data, want) {
			t.Errorf("%s begins with %+v, want %s", query, m, want)
		}
	}
}

// TestResumingNeverSkipsWhatTheClockPutLater: by the clock number 2 stands before
// number 1 of the same node. Whoever saw only that must not resume behind both.
func TestResumingNeverSkipsWhatTheClockPutLater(t *testing.T) {
	t.Parallel()
	event := func(node string, seq uint64) muster.Event {
		id := muster.EventID{Node: node, Boot: 1, Seq: seq}
		return muster.Event{ID: id.String(), Seq: seq, Boot: 1, Kind: muster.EventJoin, Text: id.String()}
	}
	s := setup(t, func(cfg *mgmt.Config) {
		cfg.ClusterEvents = func(_ context.Context, q muster.EventQuery) muster.EventPage {
			page := muster.EventPage{Next: "aaaaaaaa.1.2,bbbbbbbb.1.7", Missing: []string{"n9"}}
			if len(q.After) == 0 {
				page.Events = []muster.Event{event("aaaaaaaa", 2), event("bbbbbbbb", 7), event("aaaaaaaa", 1)}
			}
			return page
		}
	})
	f := s.open(t, get("/v1/events?scope=cluster"))
	if m := f.named("missing"); m.data != `{"missing":["n9"]}` {
		t.Errorf("missing: %s", m.data)
	}
	for _, want := range []string{"", "bbbbbbbb.1.7", "aaaaaaaa.1.1,bbbbbbbb.1.7"} {
		if m := f.named("join"); m.id != want {
			t.Errorf("after %s a viewer resumes at %q, want %q", m.data, m.id, want)
		}
	}
}

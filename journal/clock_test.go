package journal_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/journal"
)

// TestClocksRespectCauses lets nodes tell each other things at random: whatever a
// node does after it has heard something has a higher clock than what it heard of.
func TestClocksRespectCauses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clocks := make([]journal.Clock, rapid.IntRange(2, 5).Draw(t, "nodes"))
		latest := make([]muster.Clock, len(clocks)) // the highest cause of what a node does next
		for range 200 {
			from, to := rapid.IntRange(0, len(clocks)-1).Draw(t, "from"), rapid.IntRange(0, len(clocks)-1).Draw(t, "to")
			at := clocks[from].Tick()
			if at <= latest[from] {
				t.Fatalf("node %d acts at %s after it knew of %s", from, at, latest[from])
			}
			latest[from] = at
			if ahead := rapid.Int64Range(0, int64(journal.MaxAhead/2)).Draw(t, "skew"); rapid.Bool().Draw(t, "skewed") {
				at = max(at, muster.ClockAt(time.Now().Add(time.Duration(ahead)))) // of a node whose clock runs ahead
			}
			if !clocks[to].Observe(at) {
				t.Fatalf("%s was refused", at)
			}
			latest[to] = max(latest[to], at)
		}
	})
}

func TestClockFollowsTheTimeOfDayAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c journal.Clock
		if c.Observe(muster.ClockAt(time.Now().Add(journal.MaxAhead + time.Second))) {
			t.Error("a clock more than an hour ahead was followed")
		}
		if got := c.Tick(); got != muster.ClockAt(time.Now()) {
			t.Errorf("after that: %s, want the time of day", got.Time())
		}
		ahead := muster.ClockAt(time.Now().Add(time.Minute))
		if !c.Observe(ahead) || c.Tick() <= ahead {
			t.Error("a clock a minute ahead was not followed")
		}
		time.Sleep(2 * time.Minute)
		if got := c.Tick(); got != muster.ClockAt(time.Now()) {
			t.Errorf("two minutes later: %s, want the time of day", got.Time())
		}
	})
}

func TestMergedEventsAreInCausalOrder(t *testing.T) {
	t.Parallel()
	nodes := make([]*journal.Journal, 3)
	for i := range nodes {
		id := muster.NodeID(strings.Repeat(fmt.Sprint(i+1), 8) + "-1111-8111-8111-111111111111")
		var err error
		if nodes[i], err = journal.Open(journal.Config{Node: id, Name: fmt.Sprintf("n%d", i+1), Boot: 1}); err != nil {
			t.Fatal(err)
		}
	}
	at := rand.IntN(3)
	for i := range 300 { // a rumour that wanders
		nodes[at].Add(muster.Event{Kind: muster.EventMemberUpdate, Rev: int64(i)})
		next := rand.IntN(3)
		nodes[next].Clock().Observe(nodes[at].Clock().Tick())
		at = next
	}
	var pages []muster.EventPage
	for _, n := range nodes {
		page, _ := n.Events(muster.EventQuery{})
		pages = append(pages, page)
	}
	merged := journal.Merge(pages, nil, []string{"n9", "n4"})
	for i, e := range merged.Events {
		if e.Rev != int64(i) {
			t.Fatalf("at %d stands what happened as number %d", i, e.Rev)
		}
	}
	if merged.Complete || strings.Join(merged.Missing, " ") != "n4 n9" || strings.Count(merged.Next, ",") != 2 {
		t.Errorf("complete %t without %v, next %s", merged.Complete, merged.Missing, merged.Next)
	}
}

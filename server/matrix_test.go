package server_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
	"github.com/musterhq/muster/server"
)

// crowd is n members that all see one another, but the first does not reach the last.
func crowd(n int) ([]muster.Member, map[muster.NodeID]health.Outlook) {
	members, outlooks := []muster.Member{}, map[muster.NodeID]health.Outlook{}
	for i := range n {
		id := muster.NodeID(fmt.Sprintf("%08d-0000-8000-8000-000000000000", i))
		members = append(members, muster.Member{ID: id, Name: fmt.Sprintf("n%03d", i), State: muster.StateAlive, Since: time.Unix(1, 0)})
	}
	for i, by := range members {
		o := health.Outlook{}
		for j, m := range members {
			s := health.Sight{ID: m.ID, State: muster.StateAlive, Since: m.Since}
			if i == 0 && j == n-1 {
				s.Trouble = []health.Trouble{{Channel: "stream", Why: "no answer in time"}}
			}
			if i != j {
				o.Sights = append(o.Sights, s)
			}
		}
		outlooks[by.ID] = o
	}
	return members, outlooks
}

func TestListsHaveOnlyObserversWhoDiffer(t *testing.T) {
	t.Parallel()
	members, outlooks := crowd(100)
	for i, m := range server.Dissenting(members[1].ID, members, outlooks) {
		want := map[bool]int{true: 1}[i == 99]
		if len(m.Observers) != want {
			t.Errorf("%s has %d observers, want %d", m.Name, len(m.Observers), want)
		}
	}
	if o := members[99].Observers[0]; o.Name != "n000" || o.Link != muster.LinkOneWay || o.Reason != "state streams: no answer in time (packets and calls pass)" {
		t.Errorf("observer %+v", o)
	}
}

// BenchmarkMembersOfHundred is what a list of members with their observers costs.
func BenchmarkMembersOfHundred(b *testing.B) {
	members, outlooks := crowd(100)
	for b.Loop() {
		for i := range members {
			members[i].Observers = nil
		}
		if _, err := json.Marshal(server.Dissenting(members[1].ID, members, outlooks)); err != nil {
			b.Fatal(err)
		}
	}
}

package join_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

func TestDroppedKeysAreRememberedOverARestart(t *testing.T) {
	t.Parallel()
	disk := &join.Memory{}
	open := func() *join.State {
		s, err := join.OpenMemory(disk, "n1")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	set := func(s *join.State, at time.Time, kids ...string) {
		if err := s.SetKIDs(kids, at); err != nil {
			t.Fatal(err)
		}
	}
	day := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := open()
	set(s, day, "a", "b")
	if got := s.Retired(); len(got) != 0 {
		t.Errorf("retired before anything was dropped: %v", got)
	}
	s = open()
	set(s, day, "b") // dropped while the node was stopped
	want := muster.RetiredKey{KID: "a", Since: day}
	if got := open().Retired(); len(got) != 1 || got[0] != want {
		t.Errorf("got %v, want %v", got, want)
	}
	set(s, day, "b", "a") // taken back
	if got := s.Retired(); len(got) != 0 {
		t.Errorf("a key that is accepted again is retired: %v", got)
	}
	for i := range 20 {
		set(s, day.Add(time.Duration(i)*time.Hour), fmt.Sprint("k", i))
	}
	if got := s.Retired(); len(got) != 16 || got[0].KID != "k18" {
		t.Errorf("got %d retired keys, the latest %v; want 16 and k18", len(got), got[0])
	}
}

package server_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestInvariantsCanFail changes what was observed in a good run, one invariant at a
// time: a check that stays green then would prove nothing.
func TestInvariantsCanFail(t *testing.T) {
	t.Parallel()
	plan, err := parseSchedule("7 3 chain 0 0s,100ms,200ms\n20s twin n2 for 8s\n")
	if err != nil {
		t.Fatal(err)
	}
	good := runSchedule(t, plan)
	judge(t, good)
	if t.Failed() {
		return
	}
	last := len(good.samples) - 1
	acknowledged := slices.IndexFunc(good.writes, func(w write) bool { return w.Rev > 0 })
	for _, c := range []struct {
		name   string
		mutate func(*history)
	}{
		{"I1", func(h *history) { h.final[1].Status.Config.Chain[0]++ }},
		{"I1", func(h *history) { h.final[1].Members = h.final[1].Members[1:] }},
		{"I1", func(h *history) { h.final[1].Status.ViewHash = "other" }},
		{"I1", func(h *history) { h.final[1].Err = errors.New("no answer") }},
		{"I2", func(h *history) { h.final[2].Changes = h.final[2].Changes[:acknowledged] }},
		{"I2", func(h *history) { h.final[2].Changes = append(h.final[2].Changes, h.final[2].Changes[acknowledged]) }},
		{"I2", func(h *history) { h.writes[acknowledged].Rev++ }},
		{"I2", func(h *history) {
			h.writes[acknowledged].Rev, h.writes[acknowledged].Code = 0, muster.CodeStoreUnavailable
		}},
		{"I3", func(h *history) { h.samples[last].Status.Config.Rev = 1 }},
		{"I3", func(h *history) { h.samples[last].Status.Config.Epoch-- }},
		{"I3", func(h *history) { h.writes[acknowledged].Unseen = "status 404" }},
		{"I4", func(h *history) { h.samples[last].Members[0].ID = "stranger" }},
		{"I5", func(h *history) { h.samples[last].Members[0].State = muster.StateDead }},
		{"I6", func(h *history) { h.samples[last].Health = errors.New("503") }},
		{"I6", func(h *history) { h.samples[last].Status.Config.Source = "" }},
		{"I6", func(h *history) {
			h.plan.Steps = append(h.plan.Steps, step{At: 16 * time.Second, For: 20 * time.Second, Do: doKill, On: []string{"n3"}})
		}},
		{"I7", func(h *history) { h.recovered = recoverBar + time.Second }},
		{"I7", func(h *history) { h.recovered, h.broken = -1, errors.New("never") }},
		{"I8", func(h *history) { h.leaked = []string{"goroutine 17"} }},
		{"I8", func(h *history) { h.exits[0].Took = exitBar + time.Second }},
		{"I9", func(h *history) { h.log.lines[3] += h.secrets[1] }},
		{"I9", func(h *history) { h.revealed = []string{"/cluster/status"} }},
		{"I10", func(h *history) { h.log.lines[3] += `msg="http: panic serving"` }},
		{"I10", func(h *history) { h.exits[0].Err = errors.New("link: broken") }},
		{"I11", func(h *history) { h.samples[last].Status.ClusterID = "another" }},
		{"I12", func(h *history) {
			h.log.lines = slices.DeleteFunc(h.log.lines, func(line string) bool { return strings.Contains(line, "name-in-use") })
		}},
	} {
		bad := copyOf(good)
		c.mutate(bad)
		if found := bad.violations(); !slices.ContainsFunc(found, func(text string) bool { return strings.HasPrefix(text, c.name+" ") }) {
			t.Errorf("%s stays green after a mutation: %q", c.name, found)
		}
	}
}

// copyOf copies as much as the mutations change.
func copyOf(h *history) *history {
	c := *h
	c.plan.Steps = slices.Clone(h.plan.Steps)
	c.log = &virtualLog{begun: h.log.begun, lines: slices.Clone(h.log.lines)}
	c.samples, c.writes, c.exits, c.final = slices.Clone(h.samples), slices.Clone(h.writes), slices.Clone(h.exits), slices.Clone(h.final)
	last := &c.samples[len(c.samples)-1]
	last.Members = slices.Clone(last.Members)
	return &c
}

// TestLeftGoroutinesAreFound: the simulator's own check of I8 sees a goroutine that
// nobody waits for.
func TestLeftGoroutinesAreFound(t *testing.T) {
	simulate(t, func(s *sim) {
		if list := bubbleGoroutines(); len(list) != 0 {
			s.t.Errorf("found before: %q", list)
		}
		release, ended := make(chan struct{}), make(chan struct{})
		go func() { <-release; close(ended) }()
		if list := bubbleGoroutines(); len(list) != 1 {
			s.t.Errorf("found %d goroutines, want the one that was left", len(list))
		}
		close(release)
		<-ended
	})
}

// TestScheduleIsReadAsItIsPrinted: what a failure prints is what MUSTER_SCHEDULE plays.
func TestScheduleIsReadAsItIsPrinted(t *testing.T) {
	t.Parallel()
	seen := map[action]bool{}
	for seed := range uint64(500) {
		plan := newSchedule(seed)
		again, err := parseSchedule(plan.String())
		if err != nil || again.String() != plan.String() {
			t.Fatalf("seed %d: %v\n%s\nis read as\n%s", seed, err, plan, again)
		}
		for _, s := range plan.Steps {
			seen[s.Do] = true
		}
	}
	if len(seen) != 17 {
		t.Errorf("500 schedules hold %d of 17 actions: %v", len(seen), seen)
	}
	for _, text := range []string{"", "1 2 ring 2 0s", "1 1 ring 1 0s\nkill n1", "1 1 ring 1 soon", "1 1 ring 1 0s\n1s kill n1 for long"} {
		if _, err := parseSchedule(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

package server_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestSimulatedClustersKeepTheInvariants plays random schedules of faults. MUSTER_SEED
// and MUSTER_SEEDS choose the first one and how many, MUSTER_SCHEDULE names a file
// with a schedule to play instead: what a failure prints.
func TestSimulatedClustersKeepTheInvariants(t *testing.T) {
	t.Parallel()
	few := 10
	if testing.Short() {
		few = 3 // the race detector makes handshakes dear
	}
	first, count := number(t, "MUSTER_SEED", 1), number(t, "MUSTER_SEEDS", few)
	if count < 1 {
		t.Fatalf("MUSTER_SEEDS is %d: nothing would be tested", count)
	}
	plans := make([]schedule, count)
	for i := range plans {
		plans[i] = newSchedule(uint64(first + i))
	}
	if file := os.Getenv("MUSTER_SCHEDULE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := parseSchedule(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		plans = []schedule{plan}
	}
	results := make([]outcome, len(plans))
	begun := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for i, plan := range plans {
			t.Run(fmt.Sprint(plan.Seed), func(t *testing.T) {
				t.Parallel()
				h := runSchedule(t, plan)
				judge(t, h)
				results[i] = h.outcome()
			})
		}
	})
	summarize(t, results, time.Since(begun))
}

func number(t *testing.T, name string, fallback int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(fallback)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// judge fails the test with all that is needed to play the run again.
func judge(t *testing.T, h *history) {
	t.Helper()
	bad := h.violations()
	if len(bad) == 0 {
		return
	}
	for _, text := range bad {
		t.Error(text)
	}
	t.Logf("again: make sim SEED=%d N=1, or make sim SCHEDULE=FILE with this schedule in a file:\n%s\nwhat happened:\n%s", h.plan.Seed, h.plan, h.log)
}

// outcome is what stays of a run: a history is some megabytes.
type outcome struct {
	virtual, recovered   time.Duration
	faults, acknowledged int
}

func (h *history) outcome() outcome {
	o := outcome{h.quietAt + max(h.recovered, 0), h.recovered, len(h.plan.Steps), 0}
	for _, w := range h.writes {
		if w.Rev > 0 {
			o.acknowledged++
		}
	}
	return o
}

// summarize prints what the runs cost and how fast clusters recovered.
func summarize(t *testing.T, results []outcome, took time.Duration) {
	t.Helper()
	var total outcome
	for _, o := range results {
		total.virtual += o.virtual
		total.faults += o.faults
		total.acknowledged += o.acknowledged
	}
	slices.SortFunc(results, func(a, b outcome) int { return cmp.Compare(a.recovered, b.recovered) })
	say := t.Logf
	if os.Getenv("MUSTER_SEEDS") != "" { // somebody asked for it: say so also when all is well
		say = func(format string, args ...any) { _, _ = fmt.Printf(format+"\n", args...) }
	}
	n := len(results)
	say("%d seeds, %d faults, %d acknowledged writes in %s: %.2f seeds/s, virtual time %.0f times as fast; recovered after %s (half), %s (all but 1 %%), %s (all)",
		n, total.faults, total.acknowledged, took.Round(time.Millisecond), float64(n)/took.Seconds(), total.virtual.Seconds()/took.Seconds(),
		results[n/2].recovered, results[n*99/100].recovered, results[n-1].recovered)
}

package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// report collects the results by contender and size of the cluster; 0 is micro.
type report struct {
	names   []string
	results map[int]map[string]result
}

func newReport(all []contender) *report {
	r := &report{results: map[int]map[string]result{}}
	for _, c := range all {
		r.names = append(r.names, c.name)
	}
	return r
}

func (r *report) of(name string, size int) result {
	if r.results[size] == nil {
		r.results[size] = map[string]result{}
	}
	if r.results[size][name] == nil {
		r.results[size][name] = result{}
	}
	return r.results[size][name]
}

// value returns the median of what was measured; the worst case where the name says so.
func (r *report) value(name string, size int, what string) (float64, bool) {
	values := r.results[size][name][what]
	if len(values) == 0 {
		return 0, false
	}
	if worst(what) {
		return slices.Max(values), true
	}
	return median(values), true
}

// worst reports whether a value is only as good as its worst measurement.
func worst(what string) bool {
	for _, p := range []string{"worst", "kill", "cut off", "false", "packets lost"} {
		if strings.HasPrefix(what, p) {
			return true
		}
	}
	return false
}

// rows returns what is measured, in the order of the tables.
func rows(size int) []string {
	if size == 0 {
		return []string{
			"packets/s, 64 under way", "packets/s, 1 under way", "CPU s per 100k packets", "allocations per packet",
			"bytes allocated per packet", "packets lost", "ping p50 µs", "ping p99 µs", "stream open µs",
			"worst write, peer frozen, ms", "worst write, peer blackholed, ms",
		}
	}
	return []string{
		"join, ms", "idle CPU, ms/s per node", "idle garbage, KiB/s per node", "broadcast p50, ms", "broadcast p99, ms",
		"direct push p50, ms", "direct push p99, ms", "kill, s", "cut off, s", "false deaths under load", "false deaths otherwise",
	}
}

func (r *report) print(w io.Writer) {
	for _, size := range slices.Sorted(maps.Keys(r.results)) {
		title := "Between two endpoints"
		if size > 0 {
			title = fmt.Sprintf("%d members", size)
		}
		fmt.Fprintf(w, "\n### %s\n\n| | %s |\n|---|%s\n", title, strings.Join(r.names, " | "), strings.Repeat("---|", len(r.names)))
		for _, what := range rows(size) {
			r.printRow(w, size, what)
		}
	}
	fmt.Fprint(w, "\nIn brackets: ratio to native. Medians of all rounds; the worst case of writes, kills, cut-offs and losses.\n")
	r.printTargets(w)
}

func (r *report) printRow(w io.Writer, size int, what string) {
	base, _ := r.value(nameNative, size, what)
	fmt.Fprintf(w, "| %s |", what)
	for _, name := range r.names {
		v, ok := r.value(name, size, what)
		switch {
		case !ok:
			fmt.Fprint(w, " - |")
		case name == nameNative || base == 0 || math.IsInf(v, 1):
			fmt.Fprintf(w, " %s |", number(v))
		default:
			fmt.Fprintf(w, " %s (%.2f) |", number(v), v/base)
		}
	}
	fmt.Fprintln(w)
}

func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "never"
	case v == math.Trunc(v) && v < 1e3:
		return fmt.Sprintf("%.0f", v)
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// target is a bound on one value.
type target struct {
	id, name string
	size     int
	what     string
	ratio    bool // of the value to memberlist's own
	atLeast  bool
	bound    float64
}

func targets() []target {
	return []target{
		{"A2", nameSealed, 0, "packets/s, 64 under way", true, true, 8},
		{"A2", nameTLS, 0, "packets/s, 64 under way", true, true, 6},
		{"A2", nameSealed, 0, "CPU s per 100k packets", true, false, 0.12},
		{"A2", nameTLS, 0, "CPU s per 100k packets", true, false, 0.15},
		{"A2", nameSealed, 0, "allocations per packet", false, false, 3.5},
		{"A2", nameSealed, 0, "bytes allocated per packet", false, false, 1.2 * 1024},
		{"A2", nameSealed, 0, "ping p50 µs", true, false, 1.1},
		{"A2", nameSealed, 0, "ping p99 µs", true, false, 0.5},
		{"A2", nameSealed, 20, "idle garbage, KiB/s per node", true, false, 0.1},
		{"A3", nameSealed, 0, "worst write, peer frozen, ms", false, false, 20},
		{"A3", nameSealed, 0, "worst write, peer blackholed, ms", false, false, 20},
		{"A3", nameTLS, 0, "worst write, peer frozen, ms", false, false, 20},
		{"A4", nameSealed, 3, "kill, s", false, false, 1.5},
		{"A4", nameSealed, 3, "cut off, s", false, false, 1.5},
		{"A4", nameSealed, 20, "kill, s", false, false, 2},
		{"A4", nameSealed, 20, "cut off, s", false, false, 2},
		{"A4", nameSealed, 50, "kill, s", false, false, 2.5},
		{"A4", nameSealed, 50, "cut off, s", false, false, 2.5},
		{"A4", nameSealed, 20, "false deaths under load", false, false, 0},
		{"A5", nameSealed, 20, "direct push p99, ms", false, false, 5},
	}
}

func (r *report) printTargets(w io.Writer) {
	fmt.Fprint(w, "\n### Targets\n\n| | | bound | measured | |\n|---|---|---|---|---|\n")
	for _, t := range targets() {
		v, ok := r.value(t.name, t.size, t.what)
		if !ok {
			continue
		}
		if base, _ := r.value(nameNative, t.size, t.what); t.ratio {
			v /= base
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", t.id, t.describe(), t.limit(), number(v), t.verdict(v))
	}
}

func (t target) describe() string {
	if t.size == 0 {
		return t.name + ": " + t.what
	}
	return fmt.Sprintf("%s, %d members: %s", t.name, t.size, t.what)
}

func (t target) limit() string {
	sign, unit := "at most ", ""
	if t.atLeast {
		sign = "at least "
	}
	if t.ratio {
		unit = " x native"
	}
	return sign + number(t.bound) + unit
}

func (t target) verdict(v float64) string {
	if v == t.bound || (v > t.bound) == t.atLeast {
		return "ok"
	}
	return "missed"
}

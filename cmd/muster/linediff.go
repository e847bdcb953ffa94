package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// context is how many equal lines stand around a change.
const diffContext = 3

// maxEdits bounds the search for a short diff; beyond it everything is exchanged.
const maxEdits = 2000

// edit is one line of a diff: ' ' kept, '-' gone, '+' new.
type edit struct {
	op   byte
	text string
}

// lineEdits returns the shortest way from a to b by lines: Myers, "An O(ND) Difference
// Algorithm and Its Variations", Algorithmica 1 (1986).
func lineEdits(a, b []string) []edit {
	trace, ok := search(a, b)
	if !ok {
		return exchange(a, b)
	}
	var way []edit
	x, y := len(a), len(b)
	for d := len(trace) - 1; d >= 0; d-- {
		v, k := trace[d], x-y
		from := k - 1
		if k == -d || k != d && v[k-1+d+1] < v[k+1+d+1] {
			from = k + 1
		}
		startX := v[from+d+1]
		startY := startX - from
		for x > max(startX, 0) && y > max(startY, 0) {
			x, y = x-1, y-1
			way = append(way, edit{' ', a[x]})
		}
		switch {
		case d == 0:
		case from == k+1:
			y--
			way = append(way, edit{'+', b[y]})
		default:
			x--
			way = append(way, edit{'-', a[x]})
		}
	}
	slices.Reverse(way)
	return way
}

// search returns, for each number of edits d, how far the paths with fewer edits
// have come on the diagonals -d-1 to d+1; false if too many are needed.
func search(a, b []string) (trace [][]int, ok bool) {
	most := min(len(a)+len(b), maxEdits)
	middle := most + 1
	v := make([]int, 2*middle+1)
	for d := range most + 1 {
		trace = append(trace, slices.Clone(v[middle-d-1:middle+d+2]))
		for k := -d; k <= d; k += 2 {
			x := v[middle+k-1] + 1
			if k == -d || k != d && v[middle+k-1] < v[middle+k+1] {
				x = v[middle+k+1]
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			v[middle+k] = x
			if x >= len(a) && x-k >= len(b) {
				return trace, true
			}
		}
	}
	return nil, false
}

func exchange(a, b []string) (way []edit) {
	for _, line := range a {
		way = append(way, edit{'-', line})
	}
	for _, line := range b {
		way = append(way, edit{'+', line})
	}
	return way
}

// unified writes a diff in the form of diff -u, without its head.
func unified(w io.Writer, way []edit) {
	x, y := 0, 0 // lines of both sides before the next edit
	for i := 0; i < len(way); {
		end := hunkEnd(way, i)
		if end == i { // an equal line that belongs to no change
			x, y, i = x+1, y+1, i+1
			continue
		}
		inA, inB := 0, 0
		for _, e := range way[i:end] {
			if e.op != '+' {
				inA++
			}
			if e.op != '-' {
				inB++
			}
		}
		_, _ = fmt.Fprintf(w, "@@ -%s +%s @@\n", hunkRange(x, inA), hunkRange(y, inB))
		for _, e := range way[i:end] {
			_, _ = fmt.Fprintf(w, "%c%s\n", e.op, cleaned(e.text))
		}
		x, y, i = x+inA, y+inB, end
	}
}

func hunkRange(before, count int) string {
	if count == 0 {
		return fmt.Sprintf("%d,0", before)
	}
	return fmt.Sprintf("%d,%d", before+1, count)
}

// hunkEnd returns where the hunk that begins at i ends, or i if none does.
func hunkEnd(way []edit, i int) int {
	end := i
	for j := i; j < len(way) && j <= end+2*diffContext; j++ {
		if way[j].op == ' ' {
			continue
		}
		if end == i && j > i+diffContext {
			return i
		}
		end = j + 1
	}
	if end == i {
		return i
	}
	return min(end+diffContext, len(way))
}

// lines splits a text; the empty text has none.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

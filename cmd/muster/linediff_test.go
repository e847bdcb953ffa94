package main

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDiffLeadsFromOneTextToTheOther, with as few edits as the longest common
// subsequence allows.
func TestDiffLeadsFromOneTextToTheOther(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	text := func() []string {
		lines := make([]string, random.IntN(12))
		for i := range lines {
			lines[i] = strconv.Itoa(random.IntN(4))
		}
		return lines
	}
	for range 5000 {
		a, b := text(), text()
		var before, after []string
		count := 0
		for _, e := range lineEdits(a, b) {
			if e.op != '+' {
				before = append(before, e.text)
			}
			if e.op != '-' {
				after = append(after, e.text)
			}
			if e.op != ' ' {
				count++
			}
		}
		if !slices.Equal(a, before) || !slices.Equal(b, after) || count != len(a)+len(b)-2*common(a, b) {
			t.Fatalf("%q to %q: %d edits lead from %q to %q", a, b, count, before, after)
		}
	}
}

// common is the length of the longest common subsequence.
func common(a, b []string) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := range a {
		for j := range b {
			table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			if a[i] == b[j] {
				table[i+1][j+1] = table[i][j] + 1
			}
		}
	}
	return table[len(a)][len(b)]
}

func TestDiffOfAllThatDiffersIsBounded(t *testing.T) {
	t.Parallel()
	a, b := make([]string, 20_000), make([]string, 20_000)
	for i := range a {
		a[i], b[i] = "a"+strconv.Itoa(i), "b"+strconv.Itoa(i)
	}
	if way := lineEdits(a, b); len(way) != 40_000 || way[0] != (edit{'-', "a0"}) || way[39_999] != (edit{'+', "b19999"}) {
		t.Errorf("%d edits", len(way))
	}
}

func TestUnifiedDiffShowsWhatIsAround(t *testing.T) {
	t.Parallel()
	var a []string
	for i := range 30 {
		a = append(a, strconv.Itoa(i))
	}
	b := slices.Clone(a)
	b[5], b[12], b[29] = "five", "twelve\x1b[2J", "end"
	var out strings.Builder
	unified(&out, lineEdits(a, b))
	want := `@@ -3,14 +3,14 @@
 2
 3
 4
-5
+five
 6
 7
 8
 9
 10
 11
-12
+twelve[2J
 13
 14
 15
@@ -27,4 +27,4 @@
 26
 27
 28
-29
+end
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

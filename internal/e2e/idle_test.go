package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ticks is how often a second the kernel counts the time of a process (USER_HZ).
const ticks = 100

// TestIdleNodesCostNextToNothing: five nodes with nothing to do use less than 0.5 % of
// a core and 64 MiB each, and their memory does not grow. Beside other tests, whose
// switches cost time too, three times as much is let pass.
func TestIdleNodesCostNextToNothing(t *testing.T) {
	t.Parallel()
	window, bar := 30*time.Second, 1.5
	if os.Getenv("MUSTER_LONG") != "" {
		window, bar = 5*time.Minute, 0.5
	}
	c := newCluster(t)
	first := c.node("n1").up()
	nodes := []*node{first}
	for i := 2; i <= 5; i++ {
		nodes = append(nodes, c.node(fmt.Sprintf("n%d", i), "--cluster-join-endpoint", first.url()).up())
	}
	all(t, 20*time.Second, nodes...)
	pass(t, 15*time.Second) // what a start costs: handshakes, first exchanges, garbage
	before := usages(t, nodes)
	begun := time.Now()
	pass(t, window)
	for i, after := range usages(t, nodes) {
		share := 100 * (after.cpu - before[i].cpu).Seconds() / time.Since(begun).Seconds()
		t.Logf("%s uses %.2f %% of a core and %.1f MiB, %.1f MiB %s before", nodes[i].name, share, mebi(after.rss), mebi(before[i].rss), window)
		if share >= bar {
			t.Errorf("%s uses %.2f %% of a core with nothing to do, want less than %.1f %%", nodes[i].name, share, bar)
		}
		if after.rss > 64<<20 || after.rss > before[i].rss+before[i].rss/10 {
			t.Errorf("%s holds %.1f MiB after %.1f MiB, want at most 64 MiB and no growth", nodes[i].name, mebi(after.rss), mebi(before[i].rss))
		}
	}
}

// pass lets real time go by.
func pass(t *testing.T, window time.Duration) {
	t.Helper()
	begun := time.Now()
	eventually(t, 2*window, func() error {
		if left := window - time.Since(begun); left > 0 {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
}

// usage is what the kernel says of a process.
type usage struct {
	cpu time.Duration
	rss int
}

func mebi(bytes int) float64 { return float64(bytes) / (1 << 20) }

func usages(t *testing.T, nodes []*node) (list []usage) {
	t.Helper()
	for _, n := range nodes {
		u, err := usageOf(n.process.PID())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, u)
	}
	return list
}

// usageOf reads /proc/PID/stat: fields 14 and 15 are ticks in user mode and kernel, 24
// is the number of pages in memory. The name in field 2 may hold anything.
func usageOf(pid int) (u usage, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest) // begins with field 3
	if len(fields) < 22 {
		return u, fmt.Errorf("stat of %d has %d fields", pid, len(fields))
	}
	var numbers [3]int
	for i, field := range []int{14, 15, 24} {
		if numbers[i], err = strconv.Atoi(fields[field-3]); err != nil {
			return u, err
		}
	}
	return usage{cpu: time.Duration(numbers[0]+numbers[1]) * time.Second / ticks, rss: numbers[2] * os.Getpagesize()}, nil
}

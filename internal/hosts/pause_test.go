package hosts_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestPausedNodeComesBackAndAccusesNobody stops a process for 20 s, as a hypervisor
// does: its kernel goes on accepting connections. Afterwards it holds nobody dead who
// is not, and all are whole again.
func TestPausedNodeComesBackAndAccusesNobody(t *testing.T) {
	t.Parallel()
	c := form(t, 5)
	well, paused := c.nodes[:4], c.nodes[4]
	paused.Signal(t, syscall.SIGSTOP)
	noticed := c.await(10*time.Second, func() error { return listsAs(well[0], paused.name, muster.StateDead) })
	c.pass(20*time.Second-noticed, func() error { return nobodyDied(c, well...) })
	paused.Signal(t, syscall.SIGCONT)
	back := c.healthy(10*time.Second, c.nodes...)
	if dead := c.deaths(c.nodes...); len(dead) != len(c.deathsOf(paused)) {
		t.Errorf("deaths of healthy nodes: %v", dead)
	}
	t.Logf("noticed after %s, all whole %s after it went on", noticed, back)
}

// TestStarvedNodeKillsNobody lets a process run for 5 of 100 ms only.
func TestStarvedNodeKillsNobody(t *testing.T) {
	t.Parallel()
	c := form(t, 5)
	well, starved := c.nodes[:4], c.nodes[4]
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		starve(t, starved, end)
	}()
	c.pass(lasting(), func() error { return nobodyDied(c, well...) })
	close(end)
	<-ended
	t.Logf("0 deaths among the healthy in %s, %d of the starved node; all whole %s after it could run again",
		lasting(), len(c.deathsOf(starved)), c.healthy(30*time.Second, c.nodes...))
}

// starve stops a process for 95 ms out of 100 until end is closed.
func starve(t *testing.T, n *node, end <-chan struct{}) {
	run, stop := 5*time.Millisecond, 95*time.Millisecond
	for {
		n.Signal(t, syscall.SIGSTOP)
		over := wait(end, stop)
		n.Signal(t, syscall.SIGCONT)
		if over || wait(end, run) {
			return
		}
	}
}

// wait lets time pass, and reports whether end was closed meanwhile.
func wait(end <-chan struct{}, d time.Duration) bool {
	select {
	case <-end:
		return true
	case <-time.After(d):
		return false
	}
}

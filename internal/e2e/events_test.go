package e2e_test

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prints waits until a process has printed a text so many times.
func prints(t *testing.T, p *process, text string, times int) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		if n := strings.Count(p.Output(), text); n != times {
			return fmt.Errorf("%d times %q, want %d, in:\n%s", n, text, times, p.Output())
		}
		return nil
	})
}

// follow starts muster events --follow.
func (n *node) follow(args ...string) *process {
	n.c.t.Helper()
	args = append([]string{"events", "--follow", "--addr", n.url(), "--cluster-cookie-file", n.c.cookie}, args...)
	return launchCommand(n.c.t, exec.Command(binary.Path(), args...))
}

// TestEventsAreFollowedOverRestarts: one viewer sees a node stop and start again,
// each thing once; after a kill -9 it is told that something may be lost.
func TestEventsAreFollowedOverRestarts(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	eventually(t, 10*time.Second, func() error { return n1.healthy(1) })
	viewer := n1.follow()
	prints(t, viewer, "n1 started, boot 1", 1)
	if _, err := n1.create("route/one", "1"); err != nil {
		t.Fatal(err)
	}
	prints(t, viewer, "route/one written", 1)

	n1.terminate()
	prints(t, viewer, "waiting for ", 1)
	n1.up()
	prints(t, viewer, "n1 started, boot 2", 1)
	prints(t, viewer, "n1 stopped", 1)
	prints(t, viewer, "is back", 1)
	if strings.Contains(viewer.Output(), "gap") {
		t.Errorf("an orderly restart has a gap:\n%s", viewer.Output())
	}

	n1.kill()
	prints(t, viewer, "waiting for ", 2)
	n1.up()
	prints(t, viewer, "n1 started, boot 3", 1)
	prints(t, viewer, "-- gap: n1 did not end in order", 1)
	prints(t, viewer, "n1 started, boot 1", 1) // nothing is told twice
	prints(t, viewer, "route/one written", 1)

	viewer.Signal(t, syscall.SIGINT)
	if code := viewer.exit(5 * time.Second); code != 0 {
		t.Errorf("Ctrl-C ends the viewer with %d, want 0", code)
	}
}

// TestEventsOfTheClusterAreFollowed: one viewer sees what all members see, filtered,
// and is told whose events stay away.
func TestEventsOfTheClusterAreFollowed(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2, n3)
	viewer := n2.follow("--cluster", "--kind", "member", "--member", "n3", "--since", "1h")
	n3.kill()
	prints(t, viewer, "missing: the events of n3", 1)
	for _, seer := range []string{"n1  ", "n2  "} {
		eventually(t, 10*time.Second, func() error {
			for line := range strings.Lines(viewer.Output()) {
				if strings.Contains(line, seer) && strings.Contains(line, "-> dead") {
					return nil
				}
			}
			return fmt.Errorf("no line of %s about a death in:\n%s", seer, viewer.Output())
		})
	}
	if strings.Contains(viewer.Output(), "config.change") || strings.Contains(viewer.Output(), "node.start") {
		t.Errorf("other kinds were asked for:\n%s", viewer.Output())
	}
	n3.up()
	prints(t, viewer, "the events of all members come again", 1)
	if code, out, stderr := run(t, nil, "events", "--cluster", "--addr", n1.url(), "--cluster-cookie-file", c.cookie); code != 0 || !strings.Contains(out, "n3 started, boot 2") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
}

// TestEachEventIsOneLogLine: every event names itself in the log, once.
func TestEachEventIsOneLogLine(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1", "--log-format", "json", "--log-level", "debug").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	writeIsSeenEverywhere(t, n2, n1, n2)
	n2.kill()
	eventually(t, 5*time.Second, func() error { return sees("dead", "n2", n1) })
	var list struct {
		Events []struct{ ID, Kind string }
	}
	if _, err := n1.get("/v1/events?wait=0s", &list); err != nil || len(list.Events) < 6 {
		t.Fatalf("%d events, %v", len(list.Events), err)
	}
	kinds := map[string]bool{}
	for _, e := range list.Events {
		kinds[e.Kind] = true
		prints(t, n1.process, fmt.Sprintf(`"event":%q,"event_id":%q`, e.Kind, e.ID), 1)
	}
	for _, kind := range []string{"node.start", "join", "member.state", "config.change"} {
		if !kinds[kind] {
			t.Errorf("no %s among %v", kind, kinds)
		}
	}
	prints(t, n1.process, `"msg":"node marked as dead"`, 1)
}

package main

import (
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestWaitReachesTheNode: --wait and --wait-time are what the node is asked for.
func TestWaitReachesTheNode(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	if code := term.muster(t, "config", "set", "route/demo", "1"); code != 0 {
		t.Fatalf("exit code %d: %s", code, term.err)
	}
	if w := term.cluster.writes[0]; w.Confirmed != nil || w.Wait != "" || w.WaitTime != 0 {
		t.Errorf("without --wait: %+v", w)
	}
	if code := term.muster(t, "config", "set", "route/demo", "2", "--wait", "all", "--wait-time", "7s"); code != int(partial) {
		t.Errorf("exit code %d, want %d", code, partial)
	}
	if w := term.cluster.writes[1]; w.Wait != muster.WaitAll || w.WaitTime != 7*time.Second {
		t.Errorf("asked %+v", w)
	}
}

// TestMinRevReachesTheNode: the node may wait a little less than the command.
func TestMinRevReachesTheNode(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.seed("route", "demo", "1")
	for _, command := range [][]string{{"config", "get", "route/demo"}, {"config", "list"}} {
		term.muster(t, append(command, "--min-rev", "42", "--timeout", "20s")...)
		if to := term.dialled[len(term.dialled)-1]; to.minRev != 42 || to.minWait != 19*time.Second {
			t.Errorf("%v: asked for revision %d within %s", command, to.minRev, to.minWait)
		}
		term.muster(t, command...)
		if to := term.dialled[len(term.dialled)-1]; to.minRev != 0 || to.minWait != 0 {
			t.Errorf("%v without --min-rev: %d %s", command, to.minRev, to.minWait)
		}
	}
}

// TestDriftSaysNoOnlyIfSomebodyDiffers.
func TestDriftSaysNoOnlyIfSomebodyDiffers(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	if code := term.muster(t, "config", "drift"); code != int(no) {
		t.Errorf("exit code %d with a member that lags, want %d", code, no)
	}
	term.cluster.drift = muster.Drift{Same: true, Verdict: "All 3 members serve revision 42 of epoch 1."}
	if code := term.muster(t, "config", "drift"); code != 0 {
		t.Errorf("exit code %d without a difference", code)
	}
}

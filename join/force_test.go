package join_test

import (
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

// promised brings a node into the state in which it waits for a former that
// holds its promise and is gone, and returns both.
func promised(t *testing.T, w *world) (former, bound *node) {
	t.Helper()
	edit := func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n1", "n2") }
	a, b := w.node("n1", edit).start(), w.node("n2", edit).start()
	former, bound = a, b
	if b.id() < a.id() {
		former, bound = b, a
	}
	body := `{"expect":3,"round":0}`
	time.Sleep(time.Second)
	if got := bound.as(former, join.PathPromise, body); got != 200 {
		t.Fatalf("promise: status %d", got)
	}
	former.stop()
	time.Sleep(15 * time.Second)
	return former, bound
}

func TestPromiseToAGoneFormerIsShownAndHeld(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		former, bound := promised(t, w)
		p, ok := problemOf(bound, muster.CodePromiseHeld)
		if !ok || !strings.Contains(p.Text, former.name) {
			t.Errorf("problems = %+v, want promise-held that names %s", bound.seeker.Status().Problems, former.name)
		}
		bound.stop()
		bound.start()
		time.Sleep(5 * time.Second)
		if got := bound.state.Promised().To; got != former.id() {
			t.Errorf("the promise after a restart is to %q, want %s", got, former.id())
		}
		c := w.node("n3", func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n1", "n2") }).start()
		d := w.node("n4", func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n1", "n2") }).start()
		time.Sleep(10 * time.Second)
		if got := clusters(bound, c, d); len(got) != 0 {
			t.Errorf("clusters = %v: a promise was given twice", got)
		}
		former.start()
		time.Sleep(10 * time.Second)
		one(t, former, bound, c, d)
	})
}

func TestForceFormsAgainstAPromise(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		former, bound := promised(t, w)
		if err := bound.seeker.Form(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := bound.state.Cluster().ID
		former.start()
		time.Sleep(10 * time.Second)
		if got := one(t, former, bound); got != id {
			t.Errorf("cluster %s, want the forced one %s", got, id)
		}
		if err := bound.seeker.Form(t.Context()); muster.CodeOf(err) != muster.CodeAlreadyFormed {
			t.Errorf("second time: %v, want conflict", err)
		}
	})
}

func TestForceIsRefusedWhileAClusterAnswers(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		w.node("n1", nil).start()
		time.Sleep(time.Second)
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints, c.ClusterName, c.JoinNodeID = endpoints("n1"), "other", "n9" }).start()
		time.Sleep(time.Second)
		if err := b.seeker.Form(t.Context()); muster.CodeOf(err) != muster.CodeAlreadyFormed {
			t.Errorf("Form: %v, want conflict", err)
		}
	})
}

// A former that dies after it has minted and before anybody knows, and whose
// promisers an operator has form by force, discards what it minted.
func TestReturningFormerDiscardsWhatNobodyConfirmed(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		edit := func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n1", "n2", "n3") }
		nodes := []*node{w.node("n1", edit), w.node("n2", edit), w.node("n3", edit)}
		w.loseCommits()
		for _, n := range nodes {
			n.start()
		}
		var former *node
		for former == nil {
			time.Sleep(time.Millisecond)
			for _, n := range nodes {
				if n.state.Cluster().ID != "" {
					former = n
				}
			}
		}
		former.stop()
		orphaned := former.state.Cluster().ID
		w.keepCommits()
		time.Sleep(10 * time.Second)
		var bound *node
		for _, n := range nodes {
			if n != former {
				bound = n
			}
		}
		if _, ok := problemOf(bound, muster.CodePromiseHeld); !ok {
			t.Fatalf("problems = %+v, want promise-held", bound.seeker.Status().Problems)
		}
		if err := bound.seeker.Form(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		former.start()
		time.Sleep(10 * time.Second)
		if got := one(t, nodes...); got == orphaned {
			t.Errorf("all are in %s, which was never confirmed", got)
		}
	})
}

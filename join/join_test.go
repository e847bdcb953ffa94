package join_test

import (
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

func TestSingleNodeFormsAtOnce(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		n := w.node("n1", func(c *join.Config) { c.ClusterName = "prod" }).start()
		time.Sleep(100 * time.Millisecond)
		one(t, n)
		if got := n.state.Cluster(); got.Name != "prod" || got.Store.Home != n.id() || got.Store.Epoch != 1 {
			t.Errorf("cluster = %+v, want name prod and this node as home", got)
		}
		if len(n.answers) != 1 || !n.answers[0].Formed {
			t.Errorf("answers = %+v, want one that says formed", n.answers)
		}
	})
}

func TestChainOfJoinEndpointsIsOneCluster(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") }).start()
		c := w.node("n3", func(c *join.Config) { c.JoinEndpoints = endpoints("n2") }).start()
		d := w.node("n4", func(c *join.Config) { c.JoinEndpoints = endpoints("n3") }).start()
		time.Sleep(3 * time.Second)
		one(t, a, b, c, d)
		if got := d.state.Cluster().Store.Home; got != a.id() {
			t.Errorf("n4 takes %s for the config home, want n1 %s", got, a.id())
		}
		// One or two: n3 may have joined through n2 meanwhile.
		if log := b.log(); !strings.Contains(log, "successfully joined ") || !strings.Contains(log, " peers on startup") {
			t.Errorf("the log of n2 lacks the phrase:\n%s", log)
		}
	})
}

func TestLateEndpointIsJoinedSoonAfterItAppears(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") }).start()
		time.Sleep(60 * time.Second)
		if _, ok := problemOf(b, muster.CodePeerUnreachable); !ok {
			t.Errorf("problems = %+v, want peer-unreachable", b.seeker.Status().Problems)
		}
		if got := b.state.Cluster().ID; got != "" {
			t.Fatalf("n2 formed %s although it was told to join", got)
		}
		a := w.node("n1", nil).start()
		time.Sleep(15 * time.Second)
		one(t, a, b)
	})
}

func TestRestartKeepsIdentityAndFindsItsCluster(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") }).start()
		time.Sleep(20 * time.Second)
		cluster, id, boot := one(t, a, b), a.id(), a.state.Self().Boot
		a.stop()
		time.Sleep(time.Minute)
		a.start() // no join endpoint: it has to remember n2
		time.Sleep(10 * time.Second)
		if got := one(t, a, b); got != cluster {
			t.Errorf("cluster = %s after the restart, want %s", got, cluster)
		}
		if got := a.state.Self(); got.ID != id || got.Boot.Counter != boot.Counter+1 || got.Boot.Random == boot.Random {
			t.Errorf("self = %v %+v, want id %v and boot after %+v", got.ID, got.Boot, id, boot)
		}
	})
}

package join_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
)

func TestUnreachableJoinerIsToldAddressAndClass(t *testing.T) {
	t.Parallel()
	for class, breakIt := range map[string]func(w *world, b *node){
		"refused": func(_ *world, b *node) { b.cfg.Endpoint = "http://closed:9113" },
		"timeout": func(w *world, b *node) { w.setCut("n1", at("n2"), true) },
		"other-node": func(w *world, b *node) {
			b.cfg.Endpoint = at("n3")
		},
	} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			simulate(t, func(t *testing.T, w *world) {
				a := w.node("n1", nil).start()
				b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") })
				breakIt(w, b)
				b.start()
				if class != "timeout" {
					w.hide(b)
				}
				if class == "other-node" {
					w.node("n3", func(c *join.Config) { c.JoinEndpoints = endpoints("nowhere") }).start()
				}
				time.Sleep(10 * time.Second)
				p, ok := problemOf(b, muster.CodeEndpointUnreachable)
				if !ok || !strings.Contains(p.Text, b.cfg.Endpoint+": "+class) {
					t.Errorf("problems = %+v, want one that names %s and %s", b.seeker.Status().Problems, b.cfg.Endpoint, class)
				}
				if st := b.seeker.Status(); st.Stage != join.StageRefused {
					t.Errorf("stage = %s, want refused", st.Stage)
				}
				if slices.Contains(a.live(), b.id()) {
					t.Errorf("n1 has admitted n2")
				}
			})
		})
	}
}

func TestOutboundOnlyNodeJoinsWithoutBeingCalledBack(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		b := w.node("n2", func(c *join.Config) { c.Endpoint, c.JoinEndpoints = join.Outbound, endpoints("n1") }).start()
		time.Sleep(3 * time.Second)
		one(t, a, b)
	})
}

func TestLiveNameIsInUse(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") }).start()
		time.Sleep(3 * time.Second)
		twin := w.node("n2", func(c *join.Config) { c.Endpoint, c.JoinEndpoints = at("twin"), endpoints("n1") }).start()
		time.Sleep(10 * time.Second)
		p, ok := problemOf(twin, muster.CodeNameInUse)
		if !ok || !strings.Contains(p.Text, b.id().Short()) || !strings.Contains(p.Text, at("n2")) {
			t.Errorf("problems = %+v, want name-in-use that names the holder", twin.seeker.Status().Problems)
		}
		one(t, a, b)
		b.stop() // a dead holder's name is free
		time.Sleep(5 * time.Second)
		if twin.state.Cluster().ID != a.state.Cluster().ID {
			t.Errorf("the name of a dead node was not taken over: %+v", twin.seeker.Status())
		}
	})
}

func TestForeignClusterRaisesAnAlarmOnBothAndIsLeftAlone(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		time.Sleep(time.Second)
		b := w.node("n2", nil).start()
		time.Sleep(time.Second)
		b.stop()
		b.cfg.JoinEndpoints = endpoints("n1")
		b.start()
		time.Sleep(4 * time.Minute)
		for _, n := range []*node{a, b} {
			if got := n.alarmList(); len(got) != 1 || !strings.Contains(got[0], "cluster-mismatch") {
				t.Errorf("%s: alarms = %q, want one cluster-mismatch", n.name, got)
			}
			if _, ok := problemOf(n, muster.CodeClusterMismatch); !ok {
				t.Errorf("%s: problems = %+v, want cluster-mismatch", n.name, n.seeker.Status().Problems)
			}
			if len(n.live()) != 0 {
				t.Errorf("%s took in %v", n.name, n.live())
			}
		}
		if got := len(w.callsTo("n2", at("n1"))); got != 1 {
			t.Errorf("n2 called n1 %d times in 4 minutes, want 1", got)
		}
	})
}

func TestOtherClusterNameIsRefused(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		w.node("n1", func(c *join.Config) { c.ClusterName = "prod" }).start()
		b := w.node("n2", func(c *join.Config) { c.ClusterName, c.JoinEndpoints = "staging", endpoints("n1") }).start()
		time.Sleep(3 * time.Second)
		p, ok := problemOf(b, muster.CodeClusterMismatch)
		if !ok || !strings.Contains(p.Text, "prod") || !strings.Contains(p.Text, "staging") {
			t.Errorf("problems = %+v, want cluster-mismatch with both names", b.seeker.Status().Problems)
		}
	})
}

func TestDrainingMemberAdmitsNobody(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		a.setDraining(true)
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") }).start()
		time.Sleep(3 * time.Second)
		if got := b.seeker.Status().Endpoints[0].Code; got != muster.CodeDraining {
			t.Errorf("n1 answered %s, want draining", got)
		}
		a.setDraining(false)
		time.Sleep(2 * time.Second)
		one(t, a, b)
	})
}

func TestJoinNodeIDMustAnswer(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", nil).start()
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints, c.JoinNodeID = endpoints("n1"), "n9" }).start()
		c := w.node("n3", func(c *join.Config) { c.JoinEndpoints, c.JoinNodeID = endpoints("n1"), "n1" }).start()
		time.Sleep(3 * time.Second)
		if _, ok := problemOf(b, muster.CodeWrongTarget); !ok || b.state.Cluster().ID != "" {
			t.Errorf("problems = %+v, want wrong-target", b.seeker.Status().Problems)
		}
		if c.state.Cluster().ID != a.state.Cluster().ID {
			t.Errorf("n3 has not joined: %+v", c.seeker.Status())
		}
	})
}

func TestExpelledNodeStopsCalling(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		gone := &muster.Error{Code: muster.CodeExpelled, Text: "expelled by ops on Friday"}
		w.node("n1", func(c *join.Config) { c.Expelled = func(muster.NodeID) *muster.Error { return gone } }).start()
		b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1") }).start()
		time.Sleep(10 * time.Minute)
		if got := len(w.callsTo("n2", at("n1"))); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
		if st := b.seeker.Status(); st.Stage != join.StageRefused {
			t.Errorf("stage = %s, want refused", st.Stage)
		}
	})
}

func TestEndpointThatNeverAnswersIsCalledSparingly(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		// n2 cannot reach n1, but n1 calls n2 all the time: that must not bring on
		// a storm.
		w.setCut("n2", at("n1"), true)
		w.node("n1", func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n2") }).start()
		w.node("n2", func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("dead", "n1") }).start()
		time.Sleep(5 * time.Minute)
		for _, endpoint := range endpoints("dead", "n1") {
			calls := w.callsTo("n2", endpoint)
			if len(calls) < 30 {
				t.Errorf("%s: %d calls in 5 minutes, want it to go on trying", endpoint, len(calls))
			}
			for i := range calls {
				if i >= 20 && calls[i].Sub(calls[i-20]) < 30*time.Second {
					t.Fatalf("%s: more than 20 calls within %v", endpoint, calls[i].Sub(calls[i-20]))
				}
			}
		}
	})
}

func TestGateKeepsTheUnformedOffPacketsAndStreams(t *testing.T) {
	t.Parallel()
	state, err := join.OpenMemory(&join.Memory{}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	policy := join.NewPolicy(join.PolicyConfig{State: state})
	peer := link.Hello{ID: "0b0b0b0b-0000-8000-8000-000000000000", Name: "n2"}
	for _, channel := range []link.Channel{link.ChannelPacket, link.ChannelStream} {
		if err := policy.Admit(peer, channel); err == nil || err.Code != muster.CodeNotFormed {
			t.Errorf("%s: %v, want not-formed", channel, err)
		}
	}
	if err := policy.Admit(peer, link.ChannelRPC); err != nil {
		t.Errorf("rpc: %v, want it admitted", err)
	}
}

func TestCallsWithoutAPeerAreRefused(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		n := w.node("n1", nil).start()
		for _, path := range []string{join.PathJoin, join.PathCandidates, join.PathPromise, join.PathCommit} {
			if got := n.post(path, "{}"); got != 401 {
				t.Errorf("%s: status %d, want 401", path, got)
			}
		}
	})
}

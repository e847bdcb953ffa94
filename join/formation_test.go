package join_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

// seeds is how many random starts a formation is tried with.
func seeds(t *testing.T) int {
	t.Helper()
	switch {
	case os.Getenv("MUSTER_LONG") != "":
		return 1000
	case testing.Short():
		return 20
	}
	return 200
}

func names(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("n%d", i+1)
	}
	return list
}

// wiring is how nodes come to know of each other.
type wiring func(i int, all []string, rng *rand.Rand) func(*join.Config)

// ring gives each node its neighbour alone.
func ring(i int, all []string, _ *rand.Rand) func(*join.Config) {
	return func(c *join.Config) { c.JoinEndpoints = endpoints(all[(i+1)%len(all)]) }
}

// mesh gives each node the same list.
func mesh(_ int, all []string, _ *rand.Rand) func(*join.Config) {
	return func(c *join.Config) { c.JoinEndpoints = endpoints(all...) }
}

// late is discovery that answers after a while, and at first in part.
func late(_ int, all []string, rng *rand.Rand) func(*join.Config) {
	from, first := time.Now().Add(time.Duration(rng.IntN(2000))*time.Millisecond), rng.IntN(len(all))
	return func(c *join.Config) {
		c.Discovered = func() []join.Found {
			shown := all
			switch wait := time.Until(from); {
			case wait > 0:
				return nil
			case wait > -time.Second:
				shown = all[:first+1]
			}
			var found []join.Found
			for _, e := range endpoints(shown...) {
				found = append(found, join.Found{Endpoint: e, Source: "dns"})
			}
			return found
		}
	}
}

// partly is discovery that names another random part of the nodes at each answer,
// never all of them.
func partly(i int, all []string, rng *rand.Rand) func(*join.Config) {
	start, seed := time.Now(), rng.Uint64()
	return func(c *join.Config) {
		c.Discovered = func() (found []join.Found) {
			answer := uint64(time.Since(start) / (500 * time.Millisecond))
			now := rand.New(rand.NewPCG(seed, answer))
			for _, k := range now.Perm(len(all))[:1+now.IntN(len(all)-1)] {
				found = append(found, join.Found{Endpoint: at(all[k]), Source: "dns"})
			}
			return found
		}
	}
}

var topologies = map[string]wiring{"ring": ring, "mesh": mesh, "late discovery": late, "partial discovery": partly}

func TestNodesThatExpectEachOtherFormOneCluster(t *testing.T) {
	t.Parallel()
	for name, wire := range topologies {
		for _, size := range []int{3, 4, 5, 12} {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				t.Parallel()
				start, runs := crowd{size: size, expect: 3}, seeds(t)
				if size == 12 {
					start.expect = 12
					runs = fewer(runs, 10)
				}
				var slowest time.Duration
				for seed := range runs {
					slowest = max(slowest, start.form(t, seed, wire))
				}
				t.Logf("one cluster %d times, the slowest %v after the last start", runs, slowest)
			})
		}
	}
}

// fewer is for starts of many nodes, which are dear: the long run makes them all.
func fewer(runs, by int) int {
	if os.Getenv("MUSTER_LONG") != "" {
		return runs
	}
	return runs / by
}

// crowd is a number of nodes that start with one command.
type crowd struct{ size, expect int }

// form starts nodes within a second, some of them twice, and returns how long
// the cluster took after the last start.
func (start crowd) form(t *testing.T, seed int, wire wiring) (took time.Duration) {
	t.Helper()
	size := start.size
	simulate(t, func(t *testing.T, w *world) {
		rng := rand.New(rand.NewPCG(uint64(seed), uint64(size)))
		all := names(size)
		nodes := make([]*node, size)
		for i, name := range all {
			edit := wire(i, all, rng)
			nodes[i] = w.node(name, func(c *join.Config) { c.Expect = start.expect; edit(c) })
		}
		for _, i := range rng.Perm(size) {
			time.Sleep(time.Duration(rng.IntN(1000/size)) * time.Millisecond)
			nodes[i].start()
			if rng.IntN(4) == 0 {
				time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
				nodes[i].stop()
				nodes[i].start()
			}
		}
		began := time.Now()
		for !settled(nodes) && time.Since(began) < 20*time.Second {
			time.Sleep(50 * time.Millisecond)
		}
		took = time.Since(began)
		if n := len(clusters(nodes...)); n != 1 {
			t.Errorf("seed %d: %d clusters, want 1", seed, n)
		}
		one(t, nodes...)
	})
	return took
}

func settled(nodes []*node) bool {
	for _, n := range nodes {
		if len(n.live()) != len(nodes)-1 {
			return false
		}
	}
	return true
}

func TestNodeToldToJoinNeverForms(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*join.Config){
		"join endpoint":            func(c *join.Config) {},
		"formation never":          func(c *join.Config) { c.Expect, c.Formation = 2, join.FormationNever },
		"observer":                 func(c *join.Config) { c.Expect, c.Role = 2, muster.RoleObserver },
		"expect 1 and a neighbour": func(c *join.Config) { c.Expect = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			simulate(t, func(t *testing.T, w *world) {
				a := w.node("n1", func(c *join.Config) { c.JoinEndpoints = endpoints("n2"); edit(c) }).start()
				b := w.node("n2", func(c *join.Config) { c.JoinEndpoints = endpoints("n1"); edit(c) }).start()
				time.Sleep(10 * time.Minute)
				if got := clusters(a, b); len(got) != 0 {
					t.Errorf("clusters = %v, want none", got)
				}
				for _, n := range []*node{a, b} {
					if st := n.seeker.Status(); st.Stage == join.StageJoined || st.Waiting == "" {
						t.Errorf("%s: status = %+v, want one that waits", n.name, st)
					}
				}
			})
		})
	}
}

func TestDiscoveryWithoutExpectAsksForIt(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		n := w.node("n1", func(c *join.Config) { c.Discovered = func() []join.Found { return nil } }).start()
		time.Sleep(time.Minute)
		if _, ok := problemOf(n, muster.CodeExpectNotSet); !ok || n.state.Cluster().ID != "" {
			t.Errorf("problems = %+v, cluster %q, want expect-not-set and none", n.seeker.Status().Problems, n.state.Cluster().ID)
		}
	})
}

func TestExpectOneFormsWhenNobodyElseIsInSight(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		n := w.node("n1", func(c *join.Config) { c.Expect, c.JoinEndpoints = 1, endpoints("n1") }).start()
		time.Sleep(10 * time.Second)
		one(t, n)
	})
}

func TestWaitingTextCountsPeers(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		edit := func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n1", "n2", "n3") }
		a, b := w.node("n1", edit).start(), w.node("n2", edit).start()
		time.Sleep(5 * time.Second)
		for _, n := range []*node{a, b} {
			st := n.seeker.Status()
			if st.Waiting != "waiting for peers 2/3" || st.Stage != join.StageForming {
				t.Errorf("%s: %s, %q, want forming, waiting for peers 2/3", n.name, st.Stage, st.Waiting)
			}
		}
		c := w.node("n3", edit).start()
		time.Sleep(3 * time.Second)
		one(t, a, b, c)
	})
}

func TestExpectMismatchIsShownOnAll(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		var nodes []*node
		for i, name := range names(3) {
			nodes = append(nodes, w.node(name, func(c *join.Config) {
				c.JoinEndpoints = endpoints(names(3)...)
				c.Expect = 3
				if i == 2 {
					c.Expect = 1
				}
			}).start())
		}
		time.Sleep(10 * time.Second)
		for _, n := range nodes {
			if p, ok := problemOf(n, muster.CodeExpectMismatch); !ok || !strings.Contains(p.Text, "expects 1") {
				t.Errorf("%s: problems = %+v, want expect-mismatch", n.name, n.seeker.Status().Problems)
			}
		}
		if got := clusters(nodes...); len(got) != 0 {
			t.Errorf("clusters = %v, want none", got)
		}
	})
}

// Six nodes may know each other from the start, or piece by piece; they never
// make two clusters.
func TestExpectTooSmallFormsAtMostOneCluster(t *testing.T) {
	t.Parallel()
	for name, wire := range map[string]wiring{"ring": ring, "mesh": mesh, "late discovery": late} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			formed, runs := 0, fewer(seeds(t), 5)
			for seed := range runs {
				formed += tooSmall(t, seed, wire)
			}
			t.Logf("%d of %d formed, the others say expect-too-small on all six", formed, runs)
		})
	}
}

// tooSmall starts six nodes that expect three and returns how many clusters
// there are; if there is none, all six must say why.
func tooSmall(t *testing.T, seed int, wire wiring) (formed int) {
	simulate(t, func(t *testing.T, w *world) {
		rng := rand.New(rand.NewPCG(uint64(seed), 6))
		var nodes []*node
		for i, name := range names(6) {
			edit := wire(i, names(6), rng)
			n := w.node(name, func(c *join.Config) { c.Expect = 3; edit(c) })
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			nodes = append(nodes, n.start())
		}
		time.Sleep(5 * time.Second)
		if formed = len(clusters(nodes...)); formed > 1 {
			t.Fatalf("seed %d: %v, want at most one cluster", seed, clusters(nodes...))
		}
		for _, n := range nodes {
			if _, ok := problemOf(n, muster.CodeExpectTooSmall); !ok && formed == 0 {
				t.Errorf("seed %d: %s: problems = %+v, want expect-too-small", seed, n.name, n.seeker.Status().Problems)
			}
		}
	})
	return formed
}

func TestCrashBetweenPromiseAndCommitLeavesOneCluster(t *testing.T) {
	t.Parallel()
	for seed := range seeds(t) / 2 {
		simulate(t, func(t *testing.T, w *world) {
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			var nodes []*node
			for _, name := range names(5) {
				nodes = append(nodes, w.node(name, func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints(names(5)...) }).start())
			}
			for range 6 {
				time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
				n := nodes[rng.IntN(len(nodes))]
				n.stop()
				time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
				n.start()
			}
			time.Sleep(25 * time.Second)
			if got := clusters(nodes...); len(got) != 1 {
				t.Fatalf("seed %d: clusters = %v, want one", seed, got)
			}
			one(t, nodes...)
		})
	}
}

func TestFiftyNodesFormWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var nodes []*node
		all := names(50)
		for _, name := range all {
			nodes = append(nodes, w.node(name, func(c *join.Config) { c.Expect, c.JoinEndpoints = 50, endpoints(all...) }).start())
		}
		began := time.Now()
		for !settled(nodes) && time.Since(began) < 20*time.Second {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("formed after %v, want 5 s", took)
		}
		one(t, nodes...)
		w.stopAll()
	})
}

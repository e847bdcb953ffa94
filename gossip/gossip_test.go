package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

func TestMembersJoinAndAgree(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			simulate(t, uint64(n), func(t *testing.T, c *cluster) {
				nodes := c.start(n)
				c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
				got := nodes[1].view(nodes[2])
				want := gossip.View{
					ID: nodes[2].self.ID, Name: "n02", Endpoint: "http://n02:9113", Zone: "z1", Version: "v0.1.0",
					Role: muster.RoleVoter, Boot: nodes[2].self.Boot, State: muster.StateAlive, Reason: "joined",
					Since: got.Since, RTT: got.RTT,
				}
				if got != want {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
				if self := nodes[1].view(nodes[1]); !self.Self || self.Endpoint != "http://n01:9113" {
					t.Errorf("own view: %+v", self)
				}
				time.Sleep(10 * time.Second)
				if rtt := nodes[0].view(nodes[1]).RTT; rtt < time.Millisecond || rtt > 4*time.Millisecond {
					t.Errorf("round trip %v, want 1 to 3 ms", rtt)
				}
				for _, n := range nodes {
					if e := n.transitions(nodes[0], muster.StateSuspect); len(e) != 0 {
						t.Errorf("%s suspected n00 in quiet: %+v", n.name, e)
					}
				}
			})
		})
	}
}

// SWIM probes in random order, so that with many members one death in a hundred
// waits long for its first probe: of three deaths the second slowest counts.
func TestKillIsSeenByAllWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	for _, n := range []int{4, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			simulate(t, uint64(n), func(t *testing.T, c *cluster) {
				nodes := c.start(n)
				c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
				var took []time.Duration
				for i := n - 1; len(took) < 3; i-- {
					time.Sleep(3 * time.Second)
					nodes[i].kill()
					took = append(took, c.within(3*time.Second, "dead everywhere", sees(nodes[:i], nodes[i:], muster.StateDead)))
				}
				slices.Sort(took)
				t.Logf("seen by all after %v", took)
				if took[1] > 2*time.Second {
					t.Errorf("deaths were seen by all after %v", took)
				}
			})
		})
	}
}

func TestDeadMemberStaysListed(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		victim, rest := nodes[2], nodes[:2]
		victim.kill()
		c.within(2*time.Second, "dead everywhere", sees(rest, nodes[2:], muster.StateDead))
		since := rest[0].view(victim).Since
		time.Sleep(10 * time.Minute)
		for _, n := range rest {
			if e := n.transitions(victim, muster.StateSuspect); len(e) != 1 {
				t.Errorf("%s told %d suspicions, want 1: %+v", n.name, len(e), e)
			}
			v := n.view(victim)
			if v.State != muster.StateDead || v.Endpoint == "" || !strings.Contains(v.Reason, "connection refused") {
				t.Errorf("%s: %+v", n.name, v)
			}
		}
		if got := rest[0].view(victim).Since; !got.Equal(since) {
			t.Errorf("dead since %v, was %v", got, since)
		}
		if !sees(rest, rest, muster.StateAlive)() {
			t.Error("the others did not stay alive")
		}
	})
}

func TestSilentDeathIsSeenByAllWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(5)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		time.Sleep(3 * time.Second)
		c.setBlocked(true, nodes[:4], nodes[4:])
		took := c.within(2*time.Second, "dead everywhere", sees(nodes[:4], nodes[4:], muster.StateDead))
		t.Logf("seen by all after %v", took)
	})
}

func TestPartitionsHealWhateverTheirLength(t *testing.T) {
	t.Parallel()
	for _, length := range []time.Duration{5 * time.Second, 20 * time.Second, 45 * time.Second, 10 * time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			t.Parallel()
			simulate(t, uint64(length), func(t *testing.T, c *cluster) {
				nodes := c.start(8)
				c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
				a, b := nodes[:4], nodes[4:]
				c.setBlocked(true, a, b)
				time.Sleep(length)
				// Who loses half of its probes seeks the fault at home first, so after
				// five seconds not everybody is sure yet.
				sure := sees(a, b, muster.StateDead)() && sees(b, a, muster.StateDead)()
				if sees(nodes, nodes, muster.StateAlive)() || length > 10*time.Second && !sure {
					t.Fatalf("the halves do not hold each other dead\n%s", c.dump())
				}
				c.setBlocked(false, a, b)
				took := c.within(15*time.Second, "healed", sees(nodes, nodes, muster.StateAlive))
				t.Logf("healed after %v", took)
				time.Sleep(10 * time.Second)
				if !sees(nodes, nodes, muster.StateAlive)() {
					t.Errorf("not stable\n%s", c.dump())
				}
			})
		})
	}
}

func TestHealBringsAMemberBackAtOnce(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		c.setBlocked(true, nodes[:2], nodes[2:])
		time.Sleep(2 * time.Minute)
		c.setBlocked(false, nodes[:2], nodes[2:])
		nodes[0].g.Heal(nodes[2].self.ID)
		c.within(time.Second, "healed", sees(nodes, nodes, muster.StateAlive))
		if reason := nodes[1].view(nodes[2]).Reason; reason != "came back" {
			t.Errorf("reason %q", reason)
		}
	})
}

func TestRestartElsewhereIsKnownAtOnceWithoutADeath(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(5)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		time.Sleep(3 * time.Second)
		old, rest := nodes[4], slices.Clone(nodes[:4])
		old.kill()
		again := c.add("n04", "elsewhere", 2)
		again.join(rest[0])
		took := c.within(500*time.Millisecond, "new endpoint known", func() bool {
			for _, n := range rest {
				v := n.view(again)
				if v.Boot != again.self.Boot || v.Endpoint != "http://elsewhere:9113" || v.State != muster.StateAlive {
					return false
				}
			}
			return true
		})
		t.Logf("known to all after %v", took)
		time.Sleep(10 * time.Second)
		for _, n := range rest {
			if e := n.transitions(again, muster.StateDead); len(e) != 0 {
				t.Errorf("%s told of a death: %+v", n.name, e)
			}
			if n.host0(again.self.ID) != "elsewhere" {
				t.Errorf("%s did not tell the link of the new endpoint", n.name)
			}
			n.mu.Lock()
			restarts := 0
			for _, e := range n.events {
				if e.Member.ID == again.self.ID && e.Updated && e.Member.Boot == again.self.Boot && e.Member.Reason == "restarted" {
					restarts++
				}
			}
			n.mu.Unlock()
			if restarts != 1 {
				t.Errorf("%s told %d restarts, want 1", n.name, restarts)
			}
		}
	})
}

func TestLeaverIsLeftNotDead(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			simulate(t, 1, func(t *testing.T, c *cluster) {
				nodes := c.start(n)
				c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
				leaver, rest := nodes[n-1], nodes[:n-1]
				start := time.Now()
				if err := leaver.g.Leave(t.Context()); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("leaving took %v", took)
				}
				if v := leaver.view(leaver); v.State != muster.StateLeft {
					t.Errorf("the leaver sees itself as %s", v.State)
				}
				leaver.kill()
				c.within(time.Second, "left everywhere", sees(rest, nodes[n-1:], muster.StateLeft))
				time.Sleep(5 * time.Minute)
				if !sees(rest, nodes[n-1:], muster.StateLeft)() {
					t.Error("not listed as left any more")
				}
				for _, n := range rest {
					if e := n.transitions(leaver, muster.StateDead); len(e) != 0 {
						t.Errorf("%s told of a death: %+v", n.name, e)
					}
				}
			})
		})
	}
}

func TestLeftMemberComesBackWhenItJoins(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := slices.Clone(c.start(3))
		if err := nodes[2].g.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		nodes[2].kill()
		time.Sleep(5 * time.Second)
		nodes[2] = c.add("n02", "n02", 2)
		nodes[2].join(nodes[0])
		c.within(500*time.Millisecond, "back", sees(nodes, nodes, muster.StateAlive))
	})
}

func TestSuspectedMemberAnswersInTime(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		c.setBlocked(true, nodes[:2], nodes[2:])
		c.within(time.Second, "suspect", sees(nodes[:1], nodes[2:], muster.StateSuspect))
		v := nodes[0].view(nodes[2])
		if time.Since(v.Since) > 100*time.Millisecond || v.Reason == "" {
			t.Errorf("suspect since %v: %q", time.Since(v.Since), v.Reason)
		}
		c.setBlocked(false, nodes[:2], nodes[2:])
		c.within(time.Second, "alive again", sees(nodes, nodes, muster.StateAlive))
		if e := nodes[0].transitions(nodes[2], muster.StateDead); len(e) != 0 {
			t.Errorf("told of a death: %+v", e)
		}
		if reason := nodes[0].view(nodes[2]).Reason; reason != "answered in time" {
			t.Errorf("reason %q", reason)
		}
	})
}

func TestRefreshTellsTheOthers(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(3)
		n := nodes[2]
		n.mu.Lock()
		n.meta.Draining, n.meta.Zone = true, "z2"
		n.mu.Unlock()
		n.g.Refresh()
		c.within(500*time.Millisecond, "draining everywhere", func() bool {
			for _, o := range nodes {
				if v := o.view(n); !v.Draining || v.Zone != "z2" || v.State != muster.StateAlive {
					return false
				}
			}
			return true
		})
	})
}

// TestRefreshReachesTwentyBeforeGossipWould: rounds of gossip are 100 ms apart, and
// twenty members take two or three of them.
func TestRefreshReachesTwentyBeforeGossipWould(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(20)
		c.within(time.Minute, "all see all", sees(nodes, nodes, muster.StateAlive))
		for i := range 5 {
			n := nodes[3*i]
			n.mu.Lock()
			n.meta.Draining = true
			n.mu.Unlock()
			n.g.Refresh()
			c.within(60*time.Millisecond, "draining everywhere", func() bool {
				return !slices.ContainsFunc(nodes, func(o *node) bool { return !o.view(n).Draining })
			})
		}
	})
}

func TestDigestRidesOnExchanges(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(2)
		for i, n := range nodes {
			n.mu.Lock()
			if want := "digest of " + nodes[1-i].name; !n.observed[want] {
				t.Errorf("%s observed %v, want %q", n.name, n.observed, want)
			}
			n.mu.Unlock()
		}
		nodes[0].mu.Lock()
		clear(nodes[0].observed)
		nodes[0].mu.Unlock()
		time.Sleep(time.Minute)
		nodes[0].mu.Lock()
		defer nodes[0].mu.Unlock()
		if !nodes[0].observed["digest of n01"] {
			t.Error("no digest in a minute of periodic exchanges")
		}
	})
}

func TestForgottenMemberStaysAwayUntilItJoins(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := slices.Clone(c.start(3))
		c.within(time.Second, "up", sees(nodes, nodes, muster.StateAlive))
		nodes[0].g.Forget(nodes[2].self.ID)
		if nodes[0].view(nodes[2]).State != muster.StateAlive {
			t.Error("a live member was forgotten")
		}
		nodes[2].kill()
		c.within(3*time.Second, "dead", sees(nodes[:1], nodes[2:], muster.StateDead))
		nodes[0].g.Forget(nodes[2].self.ID)
		for range 120 {
			time.Sleep(time.Second)
			if v := nodes[0].view(nodes[2]); v.ID != "" {
				t.Fatalf("listed again: %+v", v)
			}
		}
		nodes[2] = c.add("n02", "n02", 2)
		nodes[2].join(nodes[0])
		c.within(time.Second, "back", sees(nodes, nodes, muster.StateAlive))
	})
}

func TestColdStartOfFiftyConverges(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		for i := range 50 {
			name := fmt.Sprintf("n%02d", i)
			c.add(name, name, 1)
		}
		nodes, joined := c.nodes, make(chan error, 49)
		for i, n := range nodes[1:] {
			n.Learn(nodes[i%3].self.ID, nodes[i%3].facts().Endpoint)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				joined <- n.g.Join(ctx, nodes[i%3].self.ID)
			}()
		}
		for range 49 {
			if err := <-joined; err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Logf("join: %v", err)
			}
		}
		took := c.within(5*time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		t.Logf("converged after %v", took)
	})
}

func TestLossOfTenPercentKillsNobody(t *testing.T) {
	t.Parallel()
	simulate(t, 1, func(t *testing.T, c *cluster) {
		nodes := c.start(10)
		c.within(time.Second, "all alive everywhere", sees(nodes, nodes, muster.StateAlive))
		c.mu.Lock()
		c.loss = .1
		c.mu.Unlock()
		time.Sleep(5 * time.Minute)
		for _, n := range nodes {
			for _, o := range nodes {
				if e := n.transitions(o, muster.StateDead); len(e) != 0 {
					t.Errorf("%s told of the death of %s", n.name, o.name)
				}
			}
		}
	})
}

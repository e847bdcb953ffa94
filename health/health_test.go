package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
)

func TestJudgeRanksEvidence(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		in      health.Evidence
		state   muster.State
		healthy bool
	}{
		{"alive with a link is healthy", health.Evidence{Gossip: muster.StateAlive}, muster.StateAlive, true},
		{"suspect is not healthy", health.Evidence{Gossip: muster.StateSuspect}, muster.StateSuspect, false},
		{"a broken link makes an alive member unhealthy", health.Evidence{Gossip: muster.StateAlive, LinkDown: true}, muster.StateAlive, false},
		{"an own drain outranks the link", health.Evidence{Gossip: muster.StateAlive, Draining: true, LinkDown: true}, muster.StateDraining, false},
		{"death outranks a drain", health.Evidence{Gossip: muster.StateDead, Draining: true}, muster.StateDead, false},
		{"left stays left", health.Evidence{Gossip: muster.StateLeft, LinkDown: true}, muster.StateLeft, false},
		{"a node does not judge itself by its links", health.Evidence{Self: true, Gossip: muster.StateAlive, LinkDown: true}, muster.StateAlive, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := health.Judge(c.in)
			if got.State != c.state || got.Healthy != c.healthy {
				t.Errorf("got %s healthy=%v, want %s healthy=%v", got.State, got.Healthy, c.state, c.healthy)
			}
		})
	}
}

func TestClusterVerdict(t *testing.T) {
	t.Parallel()
	members := func(states ...muster.State) (list []muster.Member) {
		for i, s := range states {
			list = append(list, muster.Member{Name: string(rune('a' + i)), State: s, Healthy: s == muster.StateAlive})
		}
		return list
	}
	const alive, dead, left = muster.StateAlive, muster.StateDead, muster.StateLeft
	cases := []struct {
		name      string
		in        health.Cluster
		want      muster.Health
		tolerates int
		sentence  string
	}{
		{"not formed", health.Cluster{Waiting: "waiting for peers 1/3"}, muster.Unhealthy, 0, "waiting for peers 1/3"},
		{"three of three", health.Cluster{Formed: true, Size: 3, Converged: true, Members: members(alive, alive, alive)}, muster.Healthy, 1, "All 3 members are healthy"},
		{"two of three", health.Cluster{Formed: true, Size: 3, Converged: true, Members: members(alive, alive, dead)}, muster.Degraded, 0, "c dead"},
		{"one of three", health.Cluster{Formed: true, Size: 3, Converged: true, Members: members(alive, dead, dead)}, muster.Unhealthy, 0, "1 of 3"},
		{"one of two is at most half", health.Cluster{Formed: true, Size: 2, Converged: true, Members: members(alive, dead)}, muster.Unhealthy, 0, "1 of 2"},
		{"a member that left still counts in the size", health.Cluster{Formed: true, Size: 3, Converged: true, Members: members(alive, alive, left)}, muster.Degraded, 0, "2 of 3"},
		{"lag is something to watch", health.Cluster{Formed: true, Size: 2, Members: members(alive, alive), Behind: []string{"b"}, Rev: 7}, muster.Degraded, 0, "b not yet at revision 7"},
		{"a problem is something to watch", health.Cluster{Formed: true, Size: 1, Converged: true, Members: members(alive), Problems: []muster.Problem{{Text: "the store is down"}}}, muster.Degraded, 0, "the store is down"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.in.Now = time.Unix(100, 0)
			got := c.in.Judge()
			if got.Health != c.want || got.Tolerates != c.tolerates || !strings.Contains(got.Sentence, c.sentence) {
				t.Errorf("got %s tolerates %d %q, want %s tolerates %d and %q", got.Health, got.Tolerates, got.Sentence, c.want, c.tolerates, c.sentence)
			}
		})
	}
}

package server_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// logbook keeps what a node logs.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logbook) keep(cfg *server.Config) {
	cfg.Log = slog.New(slog.NewTextHandler(l, nil))
}

// times returns when a line was written that has all the words.
func (l *logbook) times(words ...string) (list []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.SplitSeq(l.text.String(), "\n") {
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			continue
		}
		at, err := time.Parse(time.RFC3339, strings.TrimPrefix(strings.Fields(line)[0], "time="))
		if err == nil {
			list = append(list, at)
		}
	}
	return list
}

// densest returns the largest number of times within a span.
func densest(times []time.Time, span time.Duration) (most int) {
	for i, from := range times {
		n := 0
		for _, t := range times[i:] {
			if t.Sub(from) < span {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestSimulatedFlappingIsDamped(t *testing.T) {
	simulate(t, func(s *sim) {
		book := &logbook{}
		nodes := cluster(s, []string{"n1", "n2", "n3", "n4"}, func(name string, cfg *server.Config) {
			if name == "n1" {
				book.keep(cfg)
			}
		})
		for round := range 20 { // two minutes, 3 s cut off, 3 s not
			cut(s, nodes, (*simNode).cutOff)
			time.Sleep(3 * time.Second)
			cut(s, nodes, (*simNode).mend)
			time.Sleep(3 * time.Second)
			m, err := nodes[0].member("n4")
			if err != nil {
				s.t.Fatal(err)
			}
			if round >= 2 && (m.Healthy || m.Flapping < 2 || !strings.Contains(m.Reason, "flapping")) {
				s.t.Errorf("round %d: shown as healthy=%v, %s, flapping %d (%s)", round, m.Healthy, m.State, m.Flapping, m.Reason)
			}
		}
		for _, n := range nodes[:3] {
			changes := n.stateChanges("n4")
			if got := densest(changes, time.Minute); got > 4 || got < 3 {
				s.t.Errorf("%s shows %d changes of n4 within a minute, want 3 or 4", n.name, got)
			}
			s.t.Logf("%s: at most %d changes within a minute, %d in all", n.name, densest(changes, time.Minute), len(changes))
		}
		for _, class := range []string{"marked as suspect", "marked as dead", "node is alive"} {
			if got := densest(book.times(class, "member=n4"), 10*time.Second); got > 1 {
				s.t.Errorf("%d lines %q about n4 within 10 s", got, class)
			}
		}
		s.t.Logf("believed again after %s", s.formed(45*time.Second, nodes...))
		nodes[3].kill()
		s.t.Logf("a lasting death is shown after %s", s.within(3*time.Second, func() error { return call("n4", muster.StateDead, nodes[:3]...) }))
		stopAll(nodes[:3])
	})
}

// cut does something to the cables of the last node to all others.
func cut(s *sim, nodes []*simNode, do func(n, other *simNode)) {
	last := nodes[len(nodes)-1]
	for _, other := range nodes[:len(nodes)-1] {
		do(last, other)
	}
}

func (n *simNode) cutOff(other *simNode) { n.s.net.Cut(n.name, other.name) }
func (n *simNode) mend(other *simNode)   { n.s.net.Mend(n.name, other.name) }

// member returns a member as a node shows it.
func (n *simNode) member(name string) (m muster.Member, err error) {
	err = n.get("/v1/members/"+name, &m)
	return m, err
}

// stateChanges returns when a node told of another state of a member.
func (n *simNode) stateChanges(of string) (list []time.Time) {
	n.s.t.Helper()
	for _, e := range n.events() {
		if e.Kind == muster.EventMemberState && e.Subject == of && e.From != "" && e.From != e.To {
			list = append(list, e.At)
		}
	}
	return list
}

func TestSimulatedReasonsAreWordsWithTheirTime(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := cluster(s, []string{"n1", "n2", "n3"}, nil)
		at := time.Now()
		nodes[1].kill()
		s.within(3*time.Second, func() error { return call("n2", muster.StateDead, nodes[0], nodes[2]) })
		m, err := nodes[0].member("n2")
		if err != nil {
			s.t.Fatal(err)
		}
		want := fmt.Sprintf("does not answer: connection refused at n2:9113 since %s", at.UTC().Format(time.RFC3339)[:16])
		if !strings.HasPrefix(m.Reason, want) || strings.Contains(m.Reason, "dial tcp") {
			s.t.Errorf("reason %q, want %q", m.Reason, want)
		}
		if since := m.Since.Sub(at); since < 0 || since > 2*time.Second {
			s.t.Errorf("dead since %s after the kill", since)
		}
		at = time.Now()
		nodes[1].revive()
		s.formed(5*time.Second, nodes...)
		if m, err = nodes[0].member("n2"); err != nil || m.Since.Before(at) || m.Reason == "" || strings.Contains(m.Reason, "refused") {
			s.t.Errorf("back, and shown since %s (%s after it began): %q %v", m.Since, m.Since.Sub(at), m.Reason, err)
		}
		s.net.Cut("n1", "n3")
		s.net.Cut("n2", "n3")
		s.within(5*time.Second, func() error { return call("n3", muster.StateDead, nodes[0], nodes[1]) })
		if m, err = nodes[0].member("n3"); err != nil || strings.Contains(m.Reason, "tcp") || !strings.Contains(m.Reason, "no answer") {
			s.t.Errorf("cut off: %q %v", m.Reason, err)
		}
		s.net.MendAll()
		s.formed(15*time.Second, nodes...)
		stopAll(nodes)
	})
}

func TestSimulatedClockSkewIsShownAndKillsNobody(t *testing.T) {
	simulate(t, func(s *sim) {
		ahead := map[string]time.Duration{"n2": 10 * time.Second, "n3": -10 * time.Second}
		nodes := cluster(s, []string{"n1", "n2", "n3"}, func(name string, cfg *server.Config) {
			cfg.Now = func() time.Time { return time.Now().Add(ahead[name]) }
		})
		s.within(10*time.Second, func() error {
			for name, want := range ahead {
				m, err := nodes[0].member(name)
				if err != nil {
					return err
				}
				if got := time.Duration(m.ClockSkew) * time.Millisecond; (got - want).Abs() > 10*time.Millisecond {
					return fmt.Errorf("the clock of %s is off by %s, want %s", name, got, want)
				}
			}
			return nil
		})
		p, st, err := nodes[0].problem(muster.CodeClockSkew)
		if err != nil || p.Text != "the clock of n2 is 10s ahead of this node's" || p.Fix == "" || st.ClusterHealth != muster.Healthy {
			s.t.Errorf("%s with problem %+v %v", st.ClusterHealth, p, err)
		}
		time.Sleep(time.Minute)
		quiet(s, nodes)
		stopAll(nodes)
	})
}

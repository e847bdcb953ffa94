package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
)

// leads returns who all of the nodes agree to be the leader.
func leads(nodes ...*node) (*node, error) {
	var lead *node
	var id muster.NodeID
	for _, n := range nodes {
		st, err := n.status()
		if err != nil {
			return nil, err
		}
		if st.LeaderID == "" || id != "" && st.LeaderID != id {
			return nil, fmt.Errorf("%s says that %q leads, another one %q", n.name, st.LeaderID, id)
		}
		if id = st.LeaderID; st.IsLeader {
			lead = n
		}
	}
	if lead == nil {
		return nil, fmt.Errorf("%q leads, and is none of these", id)
	}
	return lead, nil
}

// elect waits until all agree on a leader other than not.
func elect(t *testing.T, limit time.Duration, not *node, nodes ...*node) (lead *node, took time.Duration) {
	t.Helper()
	took = eventually(t, limit, func() (err error) {
		if lead, err = leads(nodes...); err == nil && lead == not {
			err = fmt.Errorf("%s leads still", lead.name)
		}
		return err
	})
	return lead, took
}

// others are all nodes but one.
func others(not *node, nodes ...*node) (rest []*node) {
	for _, n := range nodes {
		if n != not {
			rest = append(rest, n)
		}
	}
	return rest
}

// sight is one answer of one node: between two moments it said whether it leads.
type sight struct {
	of       *node
	from, to time.Time
	leads    bool
}

// watchLeaders polls all nodes as fast as they answer until it is stopped. A node that
// said twice in a row that it leads led all the time between: what another one said in
// that time must not be the same.
func watchLeaders(t *testing.T, nodes ...*node) (stop func() (polls int)) {
	t.Helper()
	var mu sync.Mutex
	seen := make([][]sight, len(nodes))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s := sight{of: n, from: time.Now()}
				st, err := n.status()
				s.to, s.leads = time.Now(), err == nil && st.IsLeader
				mu.Lock()
				seen[i] = append(seen[i], s)
				mu.Unlock()
			}
		})
	}
	return func() (polls int) {
		t.Helper()
		close(done)
		wg.Wait()
		for i := range seen {
			polls += len(seen[i])
			for j := range seen {
				if i != j {
					compare(t, seen[i], seen[j])
				}
			}
		}
		return polls
	}
}

// compare looks for an answer of b that it leads, given wholly between two of a.
func compare(t *testing.T, a, b []sight) {
	t.Helper()
	for k := 1; k < len(a); k++ {
		if !a[k-1].leads || !a[k].leads {
			continue
		}
		for _, s := range b {
			if s.leads && s.from.After(a[k-1].to) && s.to.Before(a[k].from) {
				t.Errorf("%s and %s both led at %s", a[k].of.name, s.of.name, s.from)
			}
		}
	}
}

// reign takes the leader of three real nodes away in every way there is.
func reign(t *testing.T, spare *node, nodes ...*node) {
	lead, _ := elect(t, 10*time.Second, nil, nodes...)
	stop := watchLeaders(t, nodes...)
	killed := lead
	if killed == spare { // the home itself: with it all leases go
		nodes[len(nodes)-1].cli(0, "lease", "release", "leader")
		killed, _ = elect(t, 5*time.Second, spare, nodes...)
	}
	rest := others(killed, nodes...)
	killed.kill()
	lead, took := elect(t, 3*time.Second, killed, rest...)
	t.Logf("kill -9: the others agree on %s after %s", lead.name, took)
	killed.up()
	all(t, 20*time.Second, nodes...)

	if lead == spare {
		rest[len(rest)-1].cli(0, "lease", "release", "leader", "--reason", "test")
		lead, _ = elect(t, 5*time.Second, spare, nodes...)
	}
	frozen := lead
	frozen.Signal(t, syscall.SIGSTOP)
	lead, took = elect(t, 4*time.Second, frozen, others(frozen, nodes...)...)
	t.Logf("SIGSTOP: the others agree on %s after %s", lead.name, took)
	frozen.Signal(t, syscall.SIGCONT)
	elect(t, 10*time.Second, frozen, nodes...)
	all(t, 20*time.Second, nodes...)

	lead, _ = elect(t, time.Second, nil, nodes...)
	begun := time.Now()
	nodes[0].cli(0, "node", "drain", lead.name)
	next, took := elect(t, 2*time.Second, lead, nodes...)
	t.Logf("drain: all agree on %s %s after the answer, %s after the question", next.name, took, time.Since(begun))
	nodes[0].cli(0, "node", "resume", lead.name)

	out, _ := nodes[1].cli(0, "lease", "list", "-o", "json")
	var list struct{ Leases []muster.LeaseInfo }
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Leases) != 1 || list.Leases[0].Holder != next.name {
		t.Errorf("lease list, while %s leads: %v %s", next.name, err, out)
	}
	if polls := stop(); polls < 100 {
		t.Errorf("only %d answers: nothing was watched", polls)
	} else {
		t.Logf("%d answers, never two leaders", polls)
	}
}

// TestLeaderOnPostgres: killed, frozen, drained; never two leaders.
func TestLeaderOnPostgres(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t).Database(t)
	c := newCluster(t)
	n1 := c.node("n1", "--config-store", dsn).up()
	n2 := c.node("n2", "--config-store", dsn).up()
	n3 := c.node("n3", "--config-store", dsn).up()
	all(t, 15*time.Second, n1, n2, n3)
	reign(t, nil, n1, n2, n3)
}

// TestLeaderOnSQLite: the same while the config home lives; without it nobody leads.
func TestLeaderOnSQLite(t *testing.T) {
	t.Parallel()
	n1, n2, n3 := three(t)
	reign(t, n1, n1, n2, n3)
	n1.kill()
	took := eventually(t, 4*time.Second, func() error {
		for _, n := range []*node{n2, n3} {
			if st, err := n.status(); err != nil || st.LeaderID != "" || st.IsLeader {
				return fmt.Errorf("%s: %q leads (%w)", n.name, st.LeaderID, err)
			}
		}
		return nil
	})
	t.Logf("nobody leads %s after kill -9 of the config home", took)
	eventually(t, 6*time.Second, func() error {
		st, err := n2.status()
		if err != nil {
			return err
		}
		for _, p := range st.Problems {
			if p.Code == muster.CodeNoLeader && strings.Contains(p.Text, string(muster.CodeConfigHomeDown)) {
				return nil
			}
		}
		return fmt.Errorf("no word of why nobody leads: %+v", st.Problems)
	})
	n1.up()
	elect(t, 10*time.Second, nil, n1, n2, n3)
}

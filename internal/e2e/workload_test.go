package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// workload writes to nodes in turn, faster than promised, and watches the members.
type workload struct {
	token func() string
	stop  context.CancelFunc
	ended sync.WaitGroup
	began time.Time

	mu     sync.Mutex
	writes int      // that were acknowledged
	failed []string // writes
	lost   []string // members that some node did not hold alive
}

// promised is the rate of writes per second that a rotation must bear.
const promised = 50

// work starts writers to all nodes. Their token may change.
func work(t *testing.T, token func() string, nodes ...*rotated) *workload {
	ctx, stop := context.WithCancel(t.Context())
	l := &workload{token: token, stop: stop, began: time.Now()}
	period := time.Duration(len(nodes)) * time.Second / (promised * 3 / 2)
	for i, n := range nodes {
		l.ended.Go(func() {
			every(ctx, period, func(k int) {
				_, err := n.client(token()).create(fmt.Sprintf("route/r%d-%d", i, k), `{"weight":1}`)
				l.note(err)
			})
		})
	}
	l.ended.Go(func() { every(ctx, 100*time.Millisecond, func(k int) { l.watch(nodes[k%len(nodes)]) }) })
	t.Cleanup(l.end)
	return l
}

// every calls f until ctx ends. A call that takes long delays the next one and no
// further one.
func every(ctx context.Context, period time.Duration, f func(i int)) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for i, next := 0, time.Now(); ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f(i)
		next = next.Add(period)
		tick.Reset(time.Until(next))
	}
}

// client is the node as callers of its API know it. Unlike the node itself it may be
// used while a test goes on.
func (r *rotated) client(token string) *node {
	return &node{c: &cluster{t: r.c.t, token: token}, name: r.name, addr: r.addr}
}

func (l *workload) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err.Error())
		return
	}
	l.writes++
}

func (l *workload) watch(n *rotated) {
	if err := lost(n.client(l.token())); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lost = append(l.lost, err.Error())
	}
}

// end waits until no write is under way.
func (l *workload) end() {
	l.stop()
	l.ended.Wait()
}

// report ends the writes and tells how they went: at the promised rate, none failed,
// no member lost.
func (l *workload) report(t *testing.T) {
	t.Helper()
	l.end()
	took := time.Since(l.began)
	rate := float64(l.writes) / took.Seconds()
	t.Logf("%d writes in %s: %.1f a second, %d failed, %d sightings of a lost member", l.writes, took.Round(time.Millisecond), rate, len(l.failed), len(l.lost))
	if rate < promised {
		t.Errorf("%.1f writes a second, want %d: the claim was not put to the test", rate, promised)
	}
	for what, list := range map[string][]string{"writes failed": l.failed, "sightings of a lost member": l.lost} {
		if len(list) > 0 {
			t.Errorf("%d %s: %s", len(list), what, strings.Join(list[:min(5, len(list))], "\n"))
		}
	}
}

// lost tells of a member that a node does not hold alive.
func lost(n *node) error {
	var list struct{ Members []muster.Member }
	if _, err := n.get("/cluster/members", &list); err != nil {
		return err
	}
	for _, m := range list.Members {
		if m.State != muster.StateAlive && m.Name != "sleeper" {
			return fmt.Errorf("%s says that %s is %s: %s", n.name, m.Name, m.State, m.Reason)
		}
	}
	return nil
}

// goOn waits for so many further writes.
func (l *workload) goOn(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.writes
	}
	before := count()
	eventually(t, 10*time.Second, func() error {
		if n := count() - before; n < more {
			return fmt.Errorf("%d further writes", n)
		}
		return nil
	})
}

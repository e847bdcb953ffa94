package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store/memory"
)

// measured gives a node a registry that the test can read.
func measured(registries map[string]*prometheus.Registry, change func(*server.Config)) func(*server.Config) {
	return func(cfg *server.Config) {
		if change != nil {
			change(cfg)
		}
		cfg.Metrics = prometheus.NewRegistry()
		registries[cfg.NodeName] = cfg.Metrics
	}
}

// series returns the values of all series of a registry whose name begins so.
func series(t *testing.T, registry *prometheus.Registry, prefix string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		for _, m := range f.GetMetric() {
			values[f.GetName()+fmt.Sprint(m.GetLabel())] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

// calls counts what a store is asked, by method.
type calls struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *calls) note(method string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[method]++
	return nil
}

// TestSimulatedIdleClusterIsQuiet: five nodes with nothing to do send less than
// 5 kB/s each, and nobody asks for documents, changes or snapshots.
func TestSimulatedIdleClusterIsQuiet(t *testing.T) {
	const idle = 10 * time.Minute
	simulate(t, func(s *sim) {
		registries := map[string]*prometheus.Registry{}
		first := s.node("n1", measured(registries, nil)).start()
		nodes := []*simNode{first}
		for i := 2; i <= 5; i++ {
			n := s.node(fmt.Sprintf("n%d", i), nil)
			n.change = measured(registries, joining(first))
			nodes = append(nodes, n.start())
		}
		s.formed(5*time.Second, nodes...)
		if err := first.create("route/demo", `{"weight":10}`); err != nil {
			s.t.Fatal(err)
		}
		s.within(time.Second, func() error { return agree(1, nodes...) })
		time.Sleep(time.Minute) // warm links, last exchanges
		asked := &calls{count: map[string]int{}}
		for _, conn := range first.conns {
			conn.Inject(memory.Faults{Fail: asked.note})
		}
		sent, hints := map[string]int64{}, map[string]map[string]float64{}
		for _, n := range nodes {
			sent[n.host], hints[n.name] = s.net.Sent(n.host), series(t, registries[n.name], "muster_config_")
		}
		time.Sleep(idle)
		for _, n := range nodes {
			rate := float64(s.net.Sent(n.host)-sent[n.host]) / idle.Seconds()
			s.t.Logf("%s sends %.0f B/s", n.name, rate)
			if rate >= 5000 || rate == 0 {
				s.t.Errorf("%s sends %.0f B/s, want less than 5000", n.name, rate)
			}
			if before, after := hints[n.name], series(t, registries[n.name], "muster_config_"); fmt.Sprint(before) != fmt.Sprint(after) {
				s.t.Errorf("%s exchanged configuration:\n%v\n%v", n.name, before, after)
			}
		}
		asked.mu.Lock()
		for _, method := range []string{"Changes", "Snapshot", "Apply"} {
			if asked.count[method] != 0 {
				s.t.Errorf("the store was asked for %s %d times", method, asked.count[method])
			}
		}
		if asked.count["Head"] == 0 {
			s.t.Errorf("the store was asked nothing: the count is broken: %v", asked.count)
		}
		asked.mu.Unlock()
		slices.Reverse(nodes)
		for _, n := range nodes {
			n.stop()
		}
	})
}

// TestSimulatedComersAndGoersLeaveNothing: members that join and leave for good do not
// make the list of members, the metrics or the goroutines of those who stay grow.
func TestSimulatedComersAndGoersLeaveNothing(t *testing.T) {
	cycles := long(30, 1000)
	simulate(t, func(s *sim) {
		registries := map[string]*prometheus.Registry{}
		a := s.node("n1", measured(registries, nil)).start()
		b := s.node("n2", nil)
		b.change = measured(registries, joining(a))
		b.start()
		s.formed(5*time.Second, a, b)
		visit(s, a, b, "first")
		metrics, routines := len(series(t, registries["n1"], "")), len(bubbleGoroutines())
		for i := range cycles {
			visit(s, a, b, fmt.Sprintf("guest-%d", i))
		}
		for _, n := range []*simNode{a, b} {
			if got := len(n.server.Status().Problems); got > 1 {
				s.t.Errorf("%s has %d problems: %+v", n.name, got, n.server.Status().Problems)
			}
			s.within(3*time.Minute, func() error { return allAlive(n, 2) })
		}
		if got := len(series(t, registries["n1"], "")); got > metrics+metrics/10 {
			s.t.Errorf("%d metric series after %d comers and goers, %d before", got, cycles, metrics)
		}
		s.within(time.Minute, func() error { // a look or an exchange may be under way
			if got := len(bubbleGoroutines()); got > routines+routines/10 {
				return fmt.Errorf("%d goroutines after %d comers and goers, %d before", got, cycles, routines)
			}
			return nil
		})
		b.stop()
		a.stop()
	})
}

// visit lets a new node join and leave for good.
func visit(s *sim, a, b *simNode, name string) {
	s.t.Helper()
	guest := s.node(name, joining(b)).start()
	s.within(10*time.Second, func() error { return call(name, "alive", a, b) })
	status, body, err := guest.request("POST", "/v1/leave", "")
	if err != nil || status >= 300 {
		s.t.Fatalf("leave: %d %s %v", status, body, err)
	}
	if err := <-guest.done; err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
}

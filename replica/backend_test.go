package replica_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/peer"
	"github.com/musterhq/muster/store/storetest"
)

// peerStore returns the store of another node as this one uses it.
func (n *node) peerStore(home *node, down muster.Code) *peer.Store {
	return peer.New(peer.Config{Down: down, Targets: func() []peer.Target {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		if home.Replica == nil {
			return nil
		}
		handler := home.Stamp(peer.Handler(home.Backend()))
		return []peer.Target{{ID: home.id, Name: "home", Transport: wire{n, home, handler}}}
	}, Home: func() string { return "home" }})
}

// homed makes a cluster without a database: the first node's store serves all.
func homed(t *testing.T, size int, test func(t *testing.T, w *world)) {
	simulate(t, 1, func(t *testing.T, w *world) {
		home := w.nodes[0]
		for range size - 1 {
			n := w.add()
			n.backing = n.peerStore(home, muster.CodeConfigHomeDown)
			n.start()
			n.reaches(0, time.Second)
		}
		test(t, w)
	})
}

func TestClusterWithoutDatabaseUsesTheHome(t *testing.T) {
	homed(t, 4, func(t *testing.T, w *world) {
		for i := range 20 {
			n := w.nodes[i%4]
			change := n.write("a", fmt.Sprint(i))
			n.serves("a", fmt.Sprint(i))
			if took := w.level(change.Rev, time.Second); took > 5*time.Millisecond {
				t.Errorf("write %d took %v", i, took)
			}
		}
	})
}

func TestHomeDownLeavesReadsAndRefusesWrites(t *testing.T) {
	homed(t, 3, func(t *testing.T, w *world) {
		home, b := w.nodes[0], w.nodes[1]
		b.write("a", `1`)
		w.level(1, time.Second)
		home.stop()
		for range 3 {
			if err := b.refuses(muster.CodeConfigHomeDown); !contains(err, "home") {
				t.Errorf("got %v", err)
			}
			b.serves("a", `1`)
			time.Sleep(3 * time.Second)
		}
		b.becomes(replica.Stale, time.Second)
		home.start()
		home.reaches(1, time.Second)
		b.write("a", `2`)
		w.level(2, time.Second)
	})
}

// TestBackendConforms runs the suite of all stores over the whole way: client,
// wire, handler, combiner, store.
func TestBackendConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return newChain(t) })
}

// chain is a store that is used through a running replica. Forming is done at the
// far end, and the request ids that the replica made up are hidden. It does not
// offer to compact: the replica remembers what the store has forgotten.
type chain struct {
	*peer.Store
	data  *memory.Store
	r     *replica.Replica
	asked sync.Map

	mu sync.Mutex
	id muster.ClusterID
}

func newChain(t *testing.T) *chain {
	c := &chain{data: memory.New()}
	r, stop := runWith(t, func(cfg *replica.Config) { cfg.Cluster, cfg.Store = c.cluster, c.data })
	t.Cleanup(stop)
	c.r = r
	handler := peer.Handler(c.r.Backend())
	c.Store = peer.New(peer.Config{Targets: func() []peer.Target {
		return []peer.Target{{ID: "home", Transport: direct{handler}}}
	}})
	return c
}

func (c *chain) cluster() muster.ClusterID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

func (c *chain) Form(ctx context.Context, id muster.ClusterID) (store.Cluster, error) {
	cluster, err := c.data.Form(ctx, id)
	if err == nil {
		c.mu.Lock()
		c.id = cluster.ID
		c.mu.Unlock()
		c.r.Poke()
		err = c.r.Wait(ctx, 0)
	}
	return cluster, err
}

func (c *chain) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	for _, w := range writes {
		c.asked.Store(w.RequestID, true)
	}
	outcomes, err := c.Store.Apply(ctx, writes)
	for _, o := range outcomes {
		if o.Change != nil {
			c.hide(o.Change)
		}
	}
	return outcomes, err
}

func (c *chain) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	changes, err := c.Store.Changes(ctx, after, limit)
	for i := range changes {
		c.hide(&changes[i])
	}
	return changes, err
}

func (c *chain) History(ctx context.Context, p store.Past) (store.History, error) {
	h, err := c.Store.History(ctx, p)
	for i := range h.Changes {
		c.hide(&h.Changes[i])
	}
	return h, err
}

func (c *chain) hide(change *muster.Change) {
	if _, asked := c.asked.Load(change.RequestID); !asked {
		change.RequestID = ""
	}
}

// direct is a wire without faults or delay.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	return serveInMemory(new(sync.WaitGroup), d.handler, req)
}

// TestLeasesAreForTheNodeThatAsks: a member cannot take, prolong or free a lease in the
// name of another one.
func TestLeasesAreForTheNodeThatAsks(t *testing.T) {
	t.Parallel()
	const honest, liar = muster.NodeID("aaaaaaaa-0000-8000-8000-000000000000"), muster.NodeID("bbbbbbbb-0000-8000-8000-000000000000")
	from := honest
	data := memory.New()
	r, stop := runWith(t, func(cfg *replica.Config) {
		cfg.Store = data
		cfg.Caller = func(context.Context) (muster.NodeID, bool) { return from, true }
	})
	defer stop()
	handler := peer.Handler(r.Backend())
	s := peer.New(peer.Config{Targets: func() []peer.Target {
		return []peer.Target{{ID: "home", Transport: direct{handler}}}
	}})
	claim := store.Claim{Name: "work", Holder: honest, TTL: store.MaxTTL}
	held, err := s.Acquire(t.Context(), claim)
	if err != nil || !held.HeldBy(claim) {
		t.Fatalf("its own: %+v, %v", held, err)
	}
	from, claim.Term = liar, held.Term
	_, acquireErr := s.Acquire(t.Context(), claim)
	_, renewErr := s.Renew(t.Context(), claim)
	for verb, err := range map[string]error{"acquire": acquireErr, "renew": renewErr, "release": s.Release(t.Context(), claim)} {
		if err == nil || !contains(err, "in the name of") {
			t.Errorf("%s for another node: got %v, want a refusal", verb, err)
		}
	}
	if list, err := s.Leases(t.Context()); err != nil || len(list) != 1 || !list[0].HeldBy(claim) || !list[0].Expires.Equal(held.Expires) {
		t.Errorf("after that: %+v, %v", list, err)
	}
}

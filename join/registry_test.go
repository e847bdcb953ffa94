package join_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/store"
)

// table is a shared database that holds what formation needs of it.
type table struct {
	mu      sync.Mutex
	down    bool
	cluster store.Cluster
	minted  int
	rows    map[muster.NodeID]store.Member
}

func newTable() *table { return &table{rows: map[muster.NodeID]store.Member{}} }

var errDown = errors.New("connection refused")

func (b *table) enter() (func(), error) {
	time.Sleep(time.Duration(1+rand.IntN(20)) * time.Millisecond)
	b.mu.Lock()
	if b.down {
		b.mu.Unlock()
		return nil, errDown
	}
	return b.mu.Unlock, nil
}

func (b *table) Cluster(context.Context) (store.Cluster, error) {
	leave, err := b.enter()
	if err != nil {
		return store.Cluster{}, err
	}
	defer leave()
	if b.cluster.ID == "" {
		return store.Cluster{}, store.ErrNoCluster
	}
	return b.cluster, nil
}

func (b *table) Form(_ context.Context, id muster.ClusterID) (store.Cluster, error) {
	leave, err := b.enter()
	if err != nil {
		return store.Cluster{}, err
	}
	defer leave()
	if b.cluster.ID == "" {
		b.cluster = store.Cluster{ID: id, Epoch: 1}
		b.minted++
	}
	return b.cluster, nil
}

func (b *table) Members(context.Context) ([]store.Member, error) {
	leave, err := b.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	var rows []store.Member
	for _, m := range b.rows {
		rows = append(rows, m)
	}
	slices.SortFunc(rows, func(a, b store.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return rows, nil
}

func (b *table) PutMember(_ context.Context, m store.Member) error {
	leave, err := b.enter()
	if err != nil {
		return err
	}
	defer leave()
	m.SeenAt = time.Now()
	b.rows[m.ID] = m
	return nil
}

func (b *table) set(edit func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	edit()
}

// sharing is the configuration of a node with a database, whose member table it
// also discovers others by.
func sharing(b *table, expect int) func(*join.Config) {
	return func(c *join.Config) {
		c.Registry, c.Expect = b, expect
		c.Discovered = func() []join.Found {
			rows, _ := b.Members(context.Background())
			var found []join.Found
			for _, m := range rows {
				found = append(found, join.Found{Endpoint: m.Endpoint, ID: m.ID, Source: "store"})
			}
			return found
		}
	}
}

func TestDatabaseMintsOneClusterForFiveAtOnce(t *testing.T) {
	t.Parallel()
	for _, expect := range []int{0, 3, 5} {
		simulate(t, func(t *testing.T, w *world) {
			b := newTable()
			var nodes []*node
			for _, name := range names(5) {
				nodes = append(nodes, w.node(name, sharing(b, expect)).start())
			}
			time.Sleep(8 * time.Second)
			if got := one(t, nodes...); got != b.cluster.ID || b.minted != 1 {
				t.Errorf("expect %d: cluster %s, minted %d times, database holds %s", expect, got, b.minted, b.cluster.ID)
			}
			formed := 0
			for _, n := range nodes {
				for _, a := range n.answers {
					if a.Formed {
						formed++
					}
				}
			}
			if formed != 1 {
				t.Errorf("expect %d: %d nodes say that they formed the cluster, want 1", expect, formed)
			}
		})
	}
}

func TestDatabaseWaitsForAsManyAsAreExpected(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		b := newTable()
		a, c := w.node("n1", sharing(b, 3)).start(), w.node("n2", sharing(b, 3)).start()
		w.node("watcher", func(c *join.Config) { sharing(b, 3)(c); c.Role = muster.RoleObserver }).start()
		time.Sleep(2 * time.Minute)
		if b.minted != 0 {
			t.Fatalf("formed with two voters of three: %+v", b.rows)
		}
		if got := a.seeker.Status().Waiting; got != "waiting for peers 2/3" {
			t.Errorf("waiting = %q, want waiting for peers 2/3", got)
		}
		c.stop()
		time.Sleep(time.Minute) // its row goes stale
		d := w.node("n3", sharing(b, 3)).start()
		time.Sleep(10 * time.Second)
		if b.minted != 0 {
			t.Fatal("a stale row counted")
		}
		c.start()
		time.Sleep(10 * time.Second)
		if got := clusters(a, c, d); len(got) != 1 || b.minted != 1 {
			t.Errorf("clusters = %v, minted %d times", got, b.minted)
		}
	})
}

func TestWipedNodeAdoptsTheClusterOfItsDatabase(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		b := newTable()
		a := w.node("n1", sharing(b, 3))
		b.cluster = store.Cluster{ID: muster.NewClusterID(), Epoch: 4}
		a.start()
		time.Sleep(3 * time.Second)
		if got := a.state.Cluster(); got.ID != b.cluster.ID || got.Store.Epoch != 4 || got.Store.Kind != store.KindPostgres {
			t.Errorf("cluster = %+v, want that of the database %+v", got, b.cluster)
		}
	})
}

func TestMemberNeverInsertsIntoAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		b := newTable()
		a := w.node("n1", sharing(b, 0)).start()
		time.Sleep(3 * time.Second)
		id := one(t, a)
		b.set(func() { b.cluster = store.Cluster{} })
		time.Sleep(time.Minute)
		a.stop()
		a.start()
		time.Sleep(time.Minute)
		if _, ok := problemOf(a, muster.CodeDiverged); !ok || b.cluster.ID != "" {
			t.Errorf("database holds %q, problems %+v; want none and diverged", b.cluster.ID, a.seeker.Status().Problems)
		}
		b.set(func() { b.cluster = store.Cluster{ID: muster.NewClusterID()} })
		time.Sleep(time.Minute)
		if _, ok := problemOf(a, muster.CodeStoreMismatch); !ok {
			t.Errorf("problems = %+v, want store-mismatch", a.seeker.Status().Problems)
		}
		b.set(func() { b.cluster = store.Cluster{ID: id} })
		time.Sleep(time.Minute)
		if got := a.seeker.Status().Problems; len(got) != 0 {
			t.Errorf("problems = %+v, want none", got)
		}
	})
}

func TestDatabaseThatIsDownIsWaitedFor(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		b := newTable()
		b.down = true
		a := w.node("n1", sharing(b, 0)).start()
		time.Sleep(time.Minute)
		if _, ok := problemOf(a, muster.CodeStoreUnavailable); !ok || a.state.Cluster().ID != "" {
			t.Errorf("problems = %+v, want store-unavailable and no cluster", a.seeker.Status().Problems)
		}
		b.set(func() { b.down = false })
		time.Sleep(8 * time.Second)
		one(t, a)
	})
}

func TestNodeWithOtherDatabaseDoesNotJoin(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		a := w.node("n1", sharing(newTable(), 0)).start()
		c := w.node("n2", nil).start()
		time.Sleep(3 * time.Second)
		empty := w.node("n3", func(c *join.Config) {
			c.Registry, c.Formation, c.JoinEndpoints = newTable(), join.FormationNever, endpoints("n1")
		}).start()
		shared := w.node("n4", func(c *join.Config) {
			c.Registry, c.Formation, c.JoinEndpoints = newTable(), join.FormationNever, endpoints("n2")
		}).start()
		own := w.node("n5", func(c *join.Config) { c.StoreFixed, c.JoinEndpoints = true, endpoints("n2") }).start()
		time.Sleep(10 * time.Second)
		for _, n := range []*node{empty, shared, own} {
			if _, ok := problemOf(n, muster.CodeStoreMismatch); !ok || n.state.Cluster().ID != "" {
				t.Errorf("%s: problems = %+v, want store-mismatch", n.name, n.seeker.Status().Problems)
			}
		}
		one(t, a)
		one(t, c)
	})
}

// TestDatabaseRefusesANameThatIsHeld: a second node of the same name takes the
// cluster only once nobody listens at the first one's endpoint.
func TestDatabaseRefusesANameThatIsHeld(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		b := newTable()
		a := w.node("n1", sharing(b, 0)).start()
		time.Sleep(5 * time.Second)
		held := one(t, a)
		twin := w.node("twin", func(c *join.Config) { sharing(b, 0)(c) })
		twin.name = "n1"
		twin.start()
		time.Sleep(20 * time.Second)
		if p, ok := problemOf(twin, muster.CodeNameInUse); !ok || twin.state.Cluster().ID != "" {
			t.Errorf("a live name was taken: cluster %q, problem %+v", twin.state.Cluster().ID, p)
		}
		a.stop()
		time.Sleep(20 * time.Second)
		if got := twin.state.Cluster().ID; got != held {
			t.Errorf("the name of a dead node is not taken over: cluster %q, want %s", got, held)
		}
	})
}

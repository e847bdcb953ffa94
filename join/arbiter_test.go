package join_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

// leaseTime is how long a right outlives the process that held it.
const leaseTime = 15 * time.Second

// keyspace is a service with compare-and-set and leases.
type keyspace struct {
	mu      sync.Mutex
	down    bool
	entries map[string]*entry
	minted  int // records that were written where none was
}

type entry struct {
	record  join.Minted
	holder  *session
	expires time.Time
}

func newKeyspace() *keyspace { return &keyspace{entries: map[string]*entry{}} }

// session is one process's way to the service. It implements join.Arbiter.
type session struct {
	space *keyspace
	key   string
	lost  func() // called once, between the right and the record
}

func (k *keyspace) open(clusterName string) *session {
	return &session{space: k, key: join.ArbiterKey(clusterName)}
}

func (s *session) Name() string { return "keyspace" }

func (s *session) enter() (*entry, func(), error) {
	time.Sleep(time.Duration(1+rand.IntN(20)) * time.Millisecond)
	s.space.mu.Lock()
	if s.space.down {
		s.space.mu.Unlock()
		return nil, nil, errors.New("connection refused")
	}
	e := s.space.entries[s.key]
	if e == nil {
		e = &entry{}
		s.space.entries[s.key] = e
	}
	return e, s.space.mu.Unlock, nil
}

func (e *entry) held(by *session) bool { return e.holder == by && time.Now().Before(e.expires) }

func (s *session) Acquire(context.Context) (join.Right, error) {
	e, leave, err := s.enter()
	if err != nil {
		return join.Right{}, err
	}
	defer leave()
	if e.holder == s || !time.Now().Before(e.expires) {
		e.holder, e.expires = s, time.Now().Add(leaseTime)
	}
	return join.Right{Held: e.held(s), Minted: e.record}, nil
}

func (s *session) Record(ctx context.Context, m join.Minted) (join.Minted, error) {
	if s.lost != nil {
		s.lost()
		<-ctx.Done()
		return join.Minted{}, ctx.Err()
	}
	e, leave, err := s.enter()
	if err != nil {
		return join.Minted{}, err
	}
	defer leave()
	if !e.held(s) {
		return e.record, nil
	}
	if e.record.Cluster == "" {
		s.space.minted++
	}
	e.record = m
	return m, nil
}

// recorded returns the record of a cluster name.
func (k *keyspace) recorded(clusterName string) join.Minted {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.entries[join.ArbiterKey(clusterName)]; e != nil {
		return e.record
	}
	return join.Minted{}
}

func (k *keyspace) setDown(down bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = down
}

// arbited is a node whose formation a keyspace decides, and which discovers the
// nodes of a list.
func (w *world) arbited(k *keyspace, name, clusterName string, all []string) *node {
	return w.node(name, func(c *join.Config) {
		c.ClusterName, c.Arbiter = clusterName, k.open(clusterName)
		c.KIDs = func() []string { return []string{"9f3a0000", "41c00000"} }
		c.Discovered = func() (found []join.Found) {
			for _, e := range endpoints(all...) {
				found = append(found, join.Found{Endpoint: e, Source: "keyspace"})
			}
			return found
		}
	})
}

// again starts a node as a new process, with a session of its own.
func (m *node) again(k *keyspace) *node {
	m.cfg.Arbiter = k.open(m.cfg.ClusterName)
	return m.start()
}

func TestArbiterMintsOneClusterForManyAtOnce(t *testing.T) {
	t.Parallel()
	for _, expect := range []int{0, 3} {
		for range seeds(t) / 10 {
			simulate(t, func(t *testing.T, w *world) {
				k := newKeyspace()
				var nodes []*node
				for _, name := range names(5) {
					n := w.arbited(k, name, "prod", names(5))
					n.cfg.Expect = expect
					nodes = append(nodes, n.start())
				}
				until(t, 10*time.Second, func() bool { return settled(nodes) })
				if got := one(t, nodes...); got != k.recorded("prod").Cluster || k.minted != 1 {
					t.Errorf("expect %d: cluster %s, on record %+v, minted %d times", expect, got, k.recorded("prod"), k.minted)
				}
			})
		}
	}
}

func TestArbiterThatIsDownIsWaitedFor(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		k.setDown(true)
		a, b := w.arbited(k, "n1", "prod", names(2)).start(), w.arbited(k, "n2", "prod", names(2)).start()
		time.Sleep(10 * time.Minute)
		if _, ok := problemOf(a, muster.CodeArbiterUnavailable); !ok || len(clusters(a, b)) != 0 {
			t.Fatalf("clusters %v, problems %+v; want none and arbiter-unavailable", clusters(a, b), a.seeker.Status().Problems)
		}
		k.setDown(false)
		until(t, 15*time.Second, func() bool { return settled([]*node{a, b}) })
		one(t, a, b)
		k.setDown(true) // a member is none the worse for it
		time.Sleep(time.Minute)
		one(t, a, b)
	})
}

func TestWinnerThatDiesBeforeItRecordsBlocksNobody(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a, b := w.arbited(k, "n1", "prod", names(2)), w.arbited(k, "n2", "prod", names(2))
		dying := make(chan struct{})
		a.cfg.Arbiter.(*session).lost = sync.OnceFunc(func() { close(dying) })
		a.start()
		<-dying
		a.stop()
		b.start()
		time.Sleep(5 * time.Second)
		if got := b.state.Cluster().ID; got != "" {
			t.Fatalf("n2 formed %s while n1 held the right", got)
		}
		until(t, leaseTime, func() bool { return b.state.Cluster().ID != "" })
		a.again(k)
		until(t, 5*time.Second, func() bool { return settled([]*node{a, b}) })
		one(t, a, b)
		if k.minted != 1 {
			t.Errorf("minted %d times", k.minted)
		}
	})
}

// All disks are lost: new nodes take the cluster on record, and no key has to be
// deleted by hand.
func TestNewNodesTakeTheClusterOnRecord(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		var nodes []*node
		for _, name := range names(3) {
			nodes = append(nodes, w.arbited(k, name, "prod", names(3)).start())
		}
		until(t, 10*time.Second, func() bool { return settled(nodes) })
		id := one(t, nodes...)
		nodes[1].stop()
		nodes[1].disk = &join.Memory{} // one wiped node joins the others
		time.Sleep(time.Minute)
		nodes[1].again(k)
		until(t, 10*time.Second, func() bool { return settled(nodes) })
		if got := k.recorded("prod").Epoch; one(t, nodes...) != id || got != 1 {
			t.Errorf("epoch %d after one wiped node has joined again, want 1", got)
		}
		for _, n := range nodes {
			n.stop()
			n.disk = &join.Memory{}
		}
		for _, n := range nodes {
			n.again(k)
		}
		took := until(t, 45*time.Second, func() bool { return settled(nodes) })
		t.Logf("one cluster of new nodes after %v", took)
		if got := one(t, nodes...); got != id || k.minted != 1 || k.recorded("prod").Epoch != 2 {
			t.Errorf("cluster %s minted %d times, record %+v; want %s and epoch 2", got, k.minted, k.recorded("prod"), id)
		}
	})
}

// While a member is there, nobody else gets the right, whether others reach that
// member or not.
func TestLivingMemberKeepsTheRight(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a, b := w.arbited(k, "n1", "prod", names(2)).start(), w.arbited(k, "n2", "prod", names(2))
		time.Sleep(10 * time.Second)
		w.part(true, []*node{a}, []*node{b})
		b.start()
		time.Sleep(10 * time.Minute)
		if got := b.state.Cluster().ID; got != "" {
			t.Fatalf("n2 formed %s although n1 lives", got)
		}
		if got, want := b.seeker.Status().Waiting, "waiting for a member of cluster "+string(a.state.Cluster().ID)+", which keyspace holds"; got != want {
			t.Errorf("waiting = %q, want %q", got, want)
		}
		w.part(false, []*node{a}, []*node{b})
		until(t, 15*time.Second, func() bool { return settled([]*node{a, b}) })
		one(t, a, b)
	})
}

// A member that was away while the cluster was formed anew says so.
func TestMemberOfAnOlderEpochIsTold(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a, b := w.arbited(k, "n1", "prod", nil).start(), w.arbited(k, "n2", "prod", nil)
		time.Sleep(10 * time.Second)
		a.stop()
		b.start()
		until(t, 30*time.Second, func() bool { return b.state.Cluster().ID != "" })
		a.again(k)
		time.Sleep(5 * time.Second)
		if _, ok := problemOf(a, muster.CodeDiverged); !ok {
			t.Errorf("problems = %+v, want diverged", a.seeker.Status().Problems)
		}
	})
}

func TestRecordOfAnotherCookieIsNotTouched(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		theirs := join.Minted{Cluster: muster.NewClusterID(), KID: "deadbeef", Epoch: 1}
		k.entries[join.ArbiterKey("prod")] = &entry{record: theirs}
		a := w.arbited(k, "n1", "prod", nil).start()
		time.Sleep(10 * time.Minute)
		if _, ok := problemOf(a, muster.CodeCookieMismatch); !ok || a.state.Cluster().ID != "" || k.recorded("prod") != theirs {
			t.Errorf("problems %+v, cluster %q, record %+v; want cookie-mismatch, none, and the record as it was",
				a.seeker.Status().Problems, a.state.Cluster().ID, k.recorded("prod"))
		}
	})
}

func TestRecordFollowsARotatedCookie(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a := w.arbited(k, "n1", "prod", nil).start()
		time.Sleep(10 * time.Second)
		a.stop()
		a.cfg.KIDs = func() []string { return []string{"77770000"} }
		a.again(k)
		time.Sleep(time.Minute)
		if got := k.recorded("prod"); got.KID != "77770000" || got.Cluster != a.state.Cluster().ID {
			t.Errorf("record %+v, want key id 77770000 of %s", got, a.state.Cluster().ID)
		}
	})
}

func TestClustersOfOtherNamesShareAnArbiter(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a, b := w.arbited(k, "n1", "prod", names(1)).start(), w.arbited(k, "n2", "test", []string{"n2"}).start()
		time.Sleep(10 * time.Second)
		if one(t, a) == one(t, b) || k.minted != 2 {
			t.Errorf("clusters %v, minted %d times; want two", clusters(a, b), k.minted)
		}
		// A third node of the one name, told to use the other one's record, is refused.
		b.stop()
		b.cfg.ClusterName = "prod"
		b.again(k)
		time.Sleep(5 * time.Second)
		if _, ok := problemOf(b, muster.CodeClusterMismatch); !ok {
			t.Errorf("problems = %+v, want cluster-mismatch", b.seeker.Status().Problems)
		}
	})
}

// Nodes with different means of forming never form beside each other: the
// difference shows on both.
func TestDifferentSourcesOfFormationAreShownOnBoth(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a := w.arbited(k, "n1", "prod", names(3))
		a.cfg.Expect = 2
		b := w.node("n2", func(c *join.Config) { c.Expect, c.JoinEndpoints = 2, endpoints("n1", "n3") }).start()
		c := w.node("n3", func(c *join.Config) { c.Expect, c.JoinEndpoints = 3, endpoints("n1", "n2") }).start()
		a.start()
		time.Sleep(time.Minute)
		for _, n := range []*node{a, b} {
			if _, ok := problemOf(n, muster.CodeFormationMismatch); !ok {
				t.Errorf("%s: problems = %+v, want formation-mismatch", n.name, n.seeker.Status().Problems)
			}
		}
		if got := clusters(a, b, c); len(got) != 0 {
			t.Errorf("clusters %v, want none", got)
		}
	})
}

// A node that was told whom to join forms by no right.
func TestJoinEndpointOutweighsTheArbiter(t *testing.T) {
	t.Parallel()
	simulate(t, func(t *testing.T, w *world) {
		k := newKeyspace()
		a := w.arbited(k, "n1", "prod", nil)
		a.cfg.JoinEndpoints = endpoints("n9")
		a.start()
		time.Sleep(10 * time.Minute)
		if got := a.state.Cluster().ID; got != "" || k.minted != 0 {
			t.Errorf("formed %s", got)
		}
	})
}

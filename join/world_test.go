package join_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
)

// world is a network of nodes in memory, with a gossip that is always right.
type world struct {
	t *testing.T

	mu    sync.Mutex
	nodes map[string]*proc // by endpoint, those that are up
	cut   map[[2]string]bool
	lost  bool                      // no word from a node that has formed reaches anybody
	calls map[[2]string][]time.Time // from name to endpoint
}

// node is a machine with a disk; start makes a process on it, stop kills it.
type node struct {
	*proc
	w    *world
	name string
	disk *join.Memory
	cfg  join.Config // as given; start fills in the rest
}

// proc is one run of a node.
type proc struct {
	w        *world
	name     string
	endpoint string
	state    *join.State
	seeker   *join.Seeker
	handler  http.Handler
	cancel   context.CancelFunc
	done     chan struct{}
	logs     *bytes.Buffer
	mu       sync.Mutex
	members  map[muster.NodeID]store.Member
	answers  []join.Answer
	alarms   []string
	draining bool
}

func newWorld(t *testing.T) *world {
	return &world{t: t, nodes: map[string]*proc{}, cut: map[[2]string]bool{}, calls: map[[2]string][]time.Time{}}
}

// simulate runs a test in a bubble and stops all its nodes at the end.
func simulate(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stopAll() // before the bubble ends, also when the test has failed
		test(t, w)
	})
}

func (w *world) stopAll() {
	for _, n := range w.up() {
		n.stop()
	}
}

func (w *world) up() []*proc {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*proc
	for _, n := range w.nodes {
		list = append(list, n)
	}
	return list
}

// node makes a node that has not started yet; its endpoint is its name.
func (w *world) node(name string, edit func(*join.Config)) *node {
	n := &node{w: w, name: name, disk: &join.Memory{}, cfg: join.Config{Endpoint: at(name)}}
	if edit != nil {
		edit(&n.cfg)
	}
	return n
}

func at(name string) string { return "http://" + name + ":9113" }

type contextKey struct{}

func (m *node) start() *node {
	w := m.w
	w.t.Helper()
	state, err := join.OpenMemory(m.disk, m.name)
	if err != nil {
		w.t.Fatal(err)
	}
	n := &proc{
		w: w, name: m.name, endpoint: m.cfg.Endpoint, state: state, members: map[muster.NodeID]store.Member{},
		logs: &bytes.Buffer{}, done: make(chan struct{}),
	}
	m.proc = n
	if n.seeker, err = join.New(n.config(m.cfg)); err != nil {
		w.t.Fatal(err)
	}
	n.handler = n.seeker.Handler()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	w.mu.Lock()
	w.nodes[n.key()] = n
	w.mu.Unlock()
	go func() {
		defer close(n.done)
		if err := n.seeker.Run(ctx); err != nil {
			w.t.Errorf("%s: Run: %v", n.name, err)
		}
	}()
	return m
}

// config completes what a test has set.
func (n *proc) config(cfg join.Config) join.Config {
	cfg.State, cfg.Meet = n.state, n.meet
	cfg.PeerFrom = func(ctx context.Context) (link.Hello, bool) {
		h, ok := ctx.Value(contextKey{}).(link.Hello)
		return h, ok
	}
	cfg.Members, cfg.Live, cfg.Holder = n.known, n.live, n.holder
	cfg.Joined, cfg.Gossip = n.joined, n.gossip
	cfg.Draining = func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.draining }
	cfg.OnAlarm = func(c muster.Code, text string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.alarms = append(n.alarms, string(c)+": "+text)
	}
	cfg.Log = slog.New(slog.NewTextHandler(&lockedWriter{mu: &n.mu, w: n.logs}, nil))
	return cfg
}

// key is where the world finds the node; one without an endpoint is known by
// its name.
func (n *proc) key() string {
	if n.endpoint == join.Outbound {
		return "outbound:" + n.name
	}
	return n.endpoint
}

func (n *proc) stop() {
	n.w.mu.Lock()
	maps.DeleteFunc(n.w.nodes, func(_ string, p *proc) bool { return p == n })
	n.w.mu.Unlock()
	n.cancel()
	<-n.done
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (n *proc) log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.logs.String()
}

func (n *proc) hello() link.Hello {
	self, facts := n.state.Self(), n.seeker.Facts()
	return link.Hello{
		ID: self.ID, Boot: self.Boot, Name: self.Name, Endpoint: facts.Endpoint, Cluster: facts.Cluster,
		Formation: facts.Formation, Expect: facts.Expect, Role: facts.Role,
	}
}

func (n *proc) id() muster.NodeID { return n.state.Self().ID }

// meeting is one connection between two nodes.
type meeting struct {
	from  link.Hello
	other *proc
	peer  link.Hello
}

func (m *meeting) Peer() link.Hello { return m.peer }
func (m *meeting) Close()           {}

func (m *meeting) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(latency())
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if !m.other.isUp() {
		return nil, io.ErrUnexpectedEOF
	}
	rec := httptest.NewRecorder()
	m.other.handler.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), contextKey{}, m.from)))
	return rec.Result(), nil
}

func latency() time.Duration { return time.Duration(1+rand.IntN(4)) * time.Millisecond }

func (n *proc) isUp() bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return slices.Contains(slices.Collect(maps.Values(n.w.nodes)), n)
}

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

func (n *proc) meet(ctx context.Context, endpoint string, target muster.NodeID) (join.Meeting, error) {
	time.Sleep(latency())
	w := n.w
	w.mu.Lock()
	other, cut := w.nodes[endpoint], w.cut[[2]string{n.name, endpoint}]
	pair := [2]string{n.name, endpoint}
	w.calls[pair] = append(w.calls[pair], time.Now())
	w.mu.Unlock()
	switch {
	case cut:
		<-ctx.Done()
		return nil, ctx.Err()
	case other == nil:
		return nil, errRefused
	case target != "" && other.id() != target:
		return nil, muster.Errorf(muster.CodeWrongTarget, "%s answered at %s", other.name, endpoint)
	}
	mine, theirs := n.hello(), other.hello()
	w.mu.Lock()
	lost := w.lost && mine.Cluster+theirs.Cluster != ""
	w.mu.Unlock()
	if lost {
		return nil, errRefused
	}
	ours, their := n.seeker.Policy().Admit(theirs, link.ChannelRPC), other.seeker.Policy().Admit(mine, link.ChannelRPC)
	if err := cmp.Or(ours, their); err != nil {
		return nil, err
	}
	return &meeting{from: mine, other: other, peer: theirs}, nil
}

func (w *world) setCut(from, endpoint string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{from, endpoint}] = cut
}

func (w *world) callsTo(from, endpoint string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls[[2]string{from, endpoint}])
}

func (n *proc) joined(_ context.Context, a join.Answer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers = append(n.answers, a)
	return nil
}

// gossip merges what two nodes know and tells everybody in it.
func (n *proc) gossip(_ context.Context, ids ...muster.NodeID) error {
	time.Sleep(latency())
	for _, other := range n.near() {
		if !slices.Contains(ids, other.id()) || other == n {
			continue
		}
		a, b := n.state.Cluster().ID, other.state.Cluster().ID
		if a == "" || b == "" {
			continue // the link would not admit it
		}
		if a != b {
			n.w.t.Errorf("gossip between clusters %q and %q", a, b)
		}
		merge(n.near(), n, other)
		return nil
	}
	return errors.New("no member answers")
}

// near lists the nodes that are up and not cut off from this one.
func (n *proc) near() []*proc {
	return slices.DeleteFunc(n.w.up(), func(o *proc) bool {
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		return n.w.cut[[2]string{n.name, o.endpoint}]
	})
}

func merge(up []*proc, a, b *proc) {
	all := map[muster.NodeID]store.Member{}
	for _, n := range []*proc{a, b} {
		for _, m := range n.roster() {
			all[m.ID] = m
		}
	}
	for _, n := range up {
		if _, ok := all[n.id()]; !ok {
			continue
		}
		n.mu.Lock()
		for id, m := range all {
			n.members[id] = m
		}
		n.mu.Unlock()
	}
}

func (n *proc) roster() []store.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	self := n.state.Self()
	list := []store.Member{{ID: self.ID, Name: self.Name, Endpoint: n.endpoint, Boot: self.Boot, Role: muster.RoleVoter, State: muster.StateAlive}}
	for id, m := range n.members {
		if id != self.ID {
			list = append(list, m)
		}
	}
	return list
}

// known adds to what gossip says the members that this run has not met yet.
func (n *proc) known() []store.Member {
	list := n.roster()
	for _, m := range n.state.Peers() {
		if !slices.ContainsFunc(list, func(o store.Member) bool { return o.ID == m.ID }) {
			list = append(list, m)
		}
	}
	return list
}

func (n *proc) live() []muster.NodeID {
	up := map[muster.NodeID]bool{}
	for _, o := range n.near() {
		up[o.id()] = true
	}
	var ids []muster.NodeID
	for _, m := range n.roster() {
		if m.ID != n.id() && up[m.ID] {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func (n *proc) holder(name string) (join.Holder, bool) {
	live := n.live()
	for _, m := range n.roster() {
		if m.Name == name && slices.Contains(live, m.ID) {
			return join.Holder{ID: m.ID, Endpoint: m.Endpoint, State: muster.StateAlive}, true
		}
	}
	return join.Holder{}, false
}

// one fails unless the nodes are one cluster and all know all.
func one(t *testing.T, nodes ...*node) muster.ClusterID {
	t.Helper()
	id := nodes[0].state.Cluster().ID
	if id == "" {
		t.Fatalf("%s belongs to no cluster: %+v", nodes[0].name, nodes[0].seeker.Status())
	}
	for _, n := range nodes {
		if got := n.state.Cluster().ID; got != id {
			t.Fatalf("%s belongs to %q, %s to %q: %+v", n.name, got, nodes[0].name, id, n.seeker.Status())
		}
		if got := len(n.live()); got != len(nodes)-1 {
			t.Fatalf("%s knows %d live members, want %d: %+v", n.name, got, len(nodes)-1, n.seeker.Status())
		}
		if st := n.seeker.Status(); st.Stage != join.StageJoined {
			t.Fatalf("%s is %s, want joined: %+v", n.name, st.Stage, st)
		}
	}
	return id
}

// clusters counts the different clusters that nodes belong to.
func clusters(nodes ...*node) map[muster.ClusterID]int {
	set := map[muster.ClusterID]int{}
	for _, n := range nodes {
		if id := n.state.Cluster().ID; id != "" {
			set[id]++
		}
	}
	return set
}

func problemOf(n *node, code muster.Code) (muster.Problem, bool) {
	for _, p := range n.seeker.Status().Problems {
		if p.Code == code {
			return p, true
		}
	}
	return muster.Problem{}, false
}

func endpoints(names ...string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = at(name)
	}
	return out
}

// hide takes a running node off the network: nobody can call it.
func (w *world) hide(n *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nodes[n.key()] == n.proc {
		delete(w.nodes, n.key())
	}
	w.nodes["hidden:"+n.name] = n.proc
}

func (n *proc) alarmList() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.alarms)
}

func (n *proc) setDraining(draining bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draining = draining
}

// post calls a handler as nobody.
func (n *proc) post(path, body string) int {
	rec := httptest.NewRecorder()
	n.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
	return rec.Code
}

// as calls a handler as another node.
func (n *proc) as(from *node, path, body string) int {
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	n.handler.ServeHTTP(rec, req.WithContext(context.WithValue(req.Context(), contextKey{}, from.hello())))
	return rec.Code
}

// loseCommits cuts every call to a node that has promised from one that formed.
func (w *world) loseCommits() { w.setLost(true) }
func (w *world) keepCommits() { w.setLost(false) }

func (w *world) setLost(lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = lost
}

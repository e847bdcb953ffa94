package replica_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

const clusterID = muster.ClusterID("0b8cf2d5-9a3e-4c1f-8f67-2f1f3a9d7c55")

// latency of the wires between simulated nodes, one way.
const latency = 200 * time.Microsecond

// world is some simulated nodes, the wires between them, and one database.
type world struct {
	t    *testing.T
	data *memory.Store

	mu    sync.Mutex
	nodes []*node
	cut   func(from, to *node, path string) bool // loses requests

	flying sync.WaitGroup // requests
}

// node is one simulated node. It survives restarts of its replica.
type node struct {
	w       *world
	id      muster.NodeID
	key     ed25519.PrivateKey
	store   *memory.Store // its connection
	backing store.Store   // what the replica uses; store unless a test sets it
	mirror  *disk
	change  func(*replica.Config)
	spy     map[muster.NodeID]http.RoundTripper // instead of the wire

	*replica.Replica
	stop func()
}

func newWorld(t *testing.T, size int) *world {
	t.Helper()
	w := &world{t: t, data: memory.New()}
	if _, err := w.data.Form(t.Context(), clusterID); err != nil {
		t.Fatal(err)
	}
	for range size {
		w.add()
	}
	return w
}

// start starts all nodes and waits for their first copy.
func (w *world) start() *world {
	w.t.Helper()
	for _, n := range w.nodes {
		n.start()
	}
	for _, n := range w.nodes {
		n.reaches(0, time.Second)
	}
	return w
}

func (w *world) add() *node {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{w: w, id: muster.NodeIDOf(public), key: private, store: w.data.Share(), mirror: &disk{}}
	n.backing = n.store
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes = append(w.nodes, n)
	return n
}

// lose sets which requests get lost; nil = none.
func (w *world) lose(cut func(from, to *node, path string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
}

func anyHint(_, _ *node, path string) bool { return path == "/peer/v1/hint" }
func everything(_, _ *node, _ string) bool { return true }

// storesDown cuts or restores the database for the given nodes, or for all.
func (w *world) storesDown(down bool, nodes ...*node) {
	if len(nodes) == 0 {
		nodes = w.nodes
	}
	for _, n := range nodes {
		n.store.SetDown(down)
	}
}

func (w *world) find(id muster.NodeID) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (n *node) config() replica.Config {
	cfg := replica.Config{
		Self:    replica.Self{ID: n.id, Sign: func(m []byte) []byte { return ed25519.Sign(n.key, m) }},
		Verify:  n.w.verify,
		Cluster: func() muster.ClusterID { return clusterID },
		Store:   n.backing,
		Mirror:  n.mirror,
		Peers:   n,
		Caller: func(ctx context.Context) (muster.NodeID, bool) {
			id, ok := ctx.Value(callerKey{}).(muster.NodeID)
			return id, ok
		},
	}
	if n.change != nil {
		n.change(&cfg)
	}
	return cfg
}

func (w *world) verify(id muster.NodeID, message, sig []byte) bool {
	n := w.find(id)
	return n != nil && ed25519.Verify(n.key.Public().(ed25519.PublicKey), message, sig)
}

// start starts the node's replica, anew if it ran before.
func (n *node) start() {
	n.w.t.Helper()
	r, err := replica.New(n.config())
	if err != nil {
		n.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.w.t.Context())
	ended := make(chan struct{})
	n.w.mu.Lock()
	n.Replica = r
	n.w.mu.Unlock()
	go func() {
		defer close(ended)
		if err := r.Run(ctx); err != nil {
			n.w.t.Errorf("run: %v", err)
		}
	}()
	n.stop = func() {
		cancel()
		<-ended
		n.w.mu.Lock()
		defer n.w.mu.Unlock()
		n.Replica = nil
	}
}

// Live implements replica.Peers.
func (n *node) Live() []muster.NodeID {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	var ids []muster.NodeID
	for _, other := range n.w.nodes {
		if other != n && other.Replica != nil {
			ids = append(ids, other.id)
		}
	}
	return ids
}

// Transport implements replica.Peers.
func (n *node) Transport(to muster.NodeID) http.RoundTripper {
	if spy := n.spy[to]; spy != nil {
		return spy
	}
	other := n.w.find(to)
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if other == nil || other.Replica == nil {
		return nil
	}
	return wire{from: n, to: other, handler: other.Handler()}
}

// callerKey holds who sent a request, as the sealed link knows it.
type callerKey struct{}

// wire is the way from one node to a handler of another.
type wire struct {
	from, to *node
	handler  http.Handler
}

func (w wire) RoundTrip(req *http.Request) (*http.Response, error) {
	world := w.from.w
	world.mu.Lock()
	lost := w.to.Replica == nil || world.cut != nil && world.cut(w.from, w.to, req.URL.Path)
	world.mu.Unlock()
	if lost {
		return nil, fmt.Errorf("no way to %s", w.to.id.Short())
	}
	req = req.Clone(context.WithValue(req.Context(), callerKey{}, w.from.id))
	late := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		w.handler.ServeHTTP(rw, r)
		time.Sleep(latency)
	})
	return serveInMemory(&world.flying, late, req)
}

// serveInMemory answers a request by a handler, unless its context ends before.
func serveInMemory(flying *sync.WaitGroup, handler http.Handler, req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	in.Body = http.NoBody
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		in.Body = io.NopCloser(bytes.NewReader(body))
	}
	answered := make(chan *http.Response, 1)
	flying.Go(func() {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, in)
		answered <- rec.Result()
	})
	select {
	case resp := <-answered:
		return resp, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// reaches fails the test unless the node serves rev within d.
func (n *node) reaches(rev int64, d time.Duration) time.Duration {
	n.w.t.Helper()
	ctx, cancel := context.WithTimeout(n.w.t.Context(), d)
	defer cancel()
	start := time.Now()
	if err := n.Wait(ctx, rev); err != nil {
		n.w.t.Fatalf("node %s: %v", n.id.Short(), err)
	}
	return time.Since(start)
}

// level fails the test unless all nodes serve the same history up to rev within d.
func (w *world) level(rev int64, d time.Duration) time.Duration {
	w.t.Helper()
	start := time.Now()
	first := w.nodes[0]
	for _, n := range w.nodes {
		n.reaches(rev, d-time.Since(start))
	}
	for _, n := range w.nodes {
		if n.View().Position() != first.View().Position() || n.View().StateDigest() != first.View().StateDigest() {
			w.t.Fatalf("node %s serves %v, node %s %v", first.id.Short(), first.View().Position(), n.id.Short(), n.View().Position())
		}
	}
	return time.Since(start)
}

func put(name, spec string) store.Write {
	return store.Write{Op: muster.OpPut, Kind: "route", Name: name, Spec: json.RawMessage(spec), Expect: store.Any, Actor: "ann"}
}

// write writes one document, which must be accepted.
func (n *node) write(name, spec string) muster.Change {
	n.w.t.Helper()
	outcomes, err := n.Apply(n.w.t.Context(), []store.Write{put(name, spec)})
	if err != nil {
		n.w.t.Fatalf("write at %s: %v", n.id.Short(), err)
	}
	if outcomes[0].Err != nil {
		n.w.t.Fatalf("write at %s: %v", n.id.Short(), outcomes[0].Err)
	}
	return *outcomes[0].Change
}

// refuses fails the test unless a write is refused at once with a code.
func (n *node) refuses(code muster.Code) error {
	n.w.t.Helper()
	start := time.Now()
	_, err := n.Apply(n.w.t.Context(), []store.Write{put("refused", `1`)})
	if muster.CodeOf(err) != code || time.Since(start) > 150*time.Millisecond {
		n.w.t.Fatalf("write at %s: got %v after %v, want %s at once", n.id.Short(), err, time.Since(start), code)
	}
	return err
}

func (n *node) serves(name, spec string) {
	n.w.t.Helper()
	doc, ok := n.View().Get("route", name)
	if !ok || string(doc.Spec) != spec {
		n.w.t.Errorf("node %s serves %s = %s, want %s", n.id.Short(), name, doc.Spec, spec)
	}
}

// eventually waits until a condition holds.
func (w *world) eventually(d time.Duration, what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(d); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func (n *node) becomes(state replica.State, d time.Duration) {
	n.w.t.Helper()
	n.w.eventually(d, "the store is "+string(state), func() bool { return n.Status().StoreState == state })
}

// simulate runs a test with some nodes that are started, in virtual time.
func simulate(t *testing.T, size int, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, size).start()
		defer w.end()
		test(t, w)
	})
}

func (w *world) end() {
	for _, n := range w.nodes {
		if n.Replica != nil {
			n.stop()
		}
	}
	w.flying.Wait()
}

// disk is a mirror that survives restarts of a replica.
type disk struct {
	mu   sync.Mutex
	view *config.Snapshot
	fail error
}

func (d *disk) Load(context.Context) (*store.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.view == nil {
		return nil, d.fail
	}
	return &store.Snapshot{ClusterID: d.view.Cluster(), Position: d.view.Position(), Documents: d.view.List("")}, d.fail
}

func (d *disk) Append(_ context.Context, changes []muster.Change, epoch int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.fail != nil:
		return d.fail
	case d.view == nil:
		return errors.New("append to an empty disk")
	}
	next, err := d.view.Apply(changes)
	if err == nil {
		d.view = next.AtEpoch(epoch)
	}
	return err
}

func (d *disk) Replace(_ context.Context, snap *store.Snapshot) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	view, err := config.New(snap.ClusterID, snap.Position, snap.Documents)
	d.view = view
	return err
}

func (d *disk) Close() error { return nil }

func (d *disk) rev() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.view == nil {
		return -1
	}
	return d.view.Position().Rev
}

func (d *disk) set(fail error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// counted makes the calls of a connection slow and counts them by method.
func counted(s *memory.Store, latency time.Duration) func(method string) int {
	var mu sync.Mutex
	calls := map[string]int{}
	s.Inject(memory.Faults{Latency: latency, Fail: func(method string) error {
		mu.Lock()
		defer mu.Unlock()
		calls[method]++
		return nil
	}})
	return func(method string) int {
		mu.Lock()
		defer mu.Unlock()
		return calls[method]
	}
}

func contains(err error, words ...string) bool {
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			return false
		}
	}
	return true
}

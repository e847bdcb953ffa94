package mgmt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/journal"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

const (
	testNode    muster.NodeID    = "6f1c3f2e-0000-8000-8000-000000000001"
	testCluster muster.ClusterID = "0d5f8a3c-0000-4000-8000-00000000c1a5"
)

// signal is a channel that is closed at the next change.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// awaited reports whether somebody waits for the next change.
func (s *signal) awaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch != nil
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

func newRegistry() *prometheus.Registry { return prometheus.NewPedanticRegistry() }

// value returns a counter, a gauge or the count of a histogram by its full name; 0
// if there is none.
func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			full := f.GetName()
			if len(labels) > 0 {
				full += "{" + strings.Join(labels, ",") + "}"
			}
			if full == name {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// fakeNode is a node of which a test says how it is.
type fakeNode struct {
	changed signal

	mu         sync.Mutex
	status     muster.Status
	members    []muster.Member
	observers  map[muster.NodeID][]muster.Observer
	matrix     muster.Matrix
	conditions []muster.Condition
	left       bool
	leases     []muster.LeaseInfo
}

func (n *fakeNode) edit(change func(*fakeNode)) {
	n.mu.Lock()
	change(n)
	n.mu.Unlock()
	n.changed.fire()
}

func (n *fakeNode) Status() muster.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *fakeNode) Members() []muster.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members
}

func (n *fakeNode) Observers(id muster.NodeID) []muster.Observer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.observers[id]
}

func (n *fakeNode) Matrix() muster.Matrix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.matrix
}

func (n *fakeNode) Conditions() []muster.Condition {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conditions
}

func (n *fakeNode) Changed() <-chan struct{} { return n.changed.wait() }

func (n *fakeNode) Leave(context.Context) error {
	n.edit(func(n *fakeNode) { n.left = true })
	return nil
}

// fakeConfig is a memory store with a view that follows it.
type fakeConfig struct {
	store   store.Store
	changed signal

	mu   sync.Mutex
	view *config.Snapshot
}

func newFakeConfig(t *testing.T) *fakeConfig {
	t.Helper()
	s := memory.New()
	if _, err := s.Form(t.Context(), testCluster); err != nil {
		t.Fatal(err)
	}
	view, err := config.New(testCluster, muster.Position{Epoch: 1, Chain: config.Genesis(testCluster)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeConfig{store: s, view: view}
}

func (c *fakeConfig) View() *config.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

func (c *fakeConfig) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	outcomes, err := c.store.Apply(ctx, writes)
	if err != nil {
		return nil, err
	}
	defer c.changed.fire()
	c.mu.Lock()
	defer c.mu.Unlock()
	changes, err := c.store.Changes(ctx, c.view.Position().Rev, store.MaxChanges)
	if err != nil {
		return nil, err
	}
	c.view, err = c.view.Apply(changes)
	return outcomes, err
}

func (c *fakeConfig) Wait(ctx context.Context, rev int64) error {
	for {
		changed := c.changed.wait()
		if c.View().Position().Rev >= rev {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *fakeConfig) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	return c.store.Changes(ctx, after, limit)
}

func (c *fakeConfig) History(ctx context.Context, p store.Past) (store.History, error) {
	return c.store.History(ctx, p)
}

// fakeEvents is a journal in memory that tells when its waiters are awaited.
type fakeEvents struct {
	*journal.Journal
	more signal
}

func newEvents(t *testing.T) *fakeEvents {
	t.Helper()
	j, err := journal.Open(journal.Config{Node: testNode, Name: "n1", Boot: 3})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeEvents{Journal: j}
}

func (e *fakeEvents) add(text string) {
	e.Add(muster.Event{At: time.Unix(1700000000, 0).UTC(), Kind: muster.EventMemberState, Subject: "n3", Text: text})
	e.more.fire()
}

func (e *fakeEvents) Events(q muster.EventQuery) (muster.EventPage, <-chan struct{}) {
	more := e.more.wait()
	page, _ := e.Journal.Events(q)
	return page, more
}

// surface is one API on a real listener, with everything behind it faked.
type surface struct {
	url    string
	client *http.Client
	server *http.Server
	addr   string // of the listener

	api    *mgmt.API
	node   *fakeNode
	config *fakeConfig
	spread *fakeSpread
	events *fakeEvents
	ring   auth.Ring
	logins *auth.Logins
	log    *lockedBuffer
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// setup starts a surface; adjust may change its configuration.
func setup(t *testing.T, adjust func(*mgmt.Config)) *surface {
	t.Helper()
	s := newSurface(t, adjust)
	server := httptest.NewUnstartedServer(nil)
	server.Config = s.server
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(s.api.Drain)
	s.reach(t, server.URL, server.Client().Transport)
	s.addr = server.Listener.Addr().String()
	return s
}

// reach gives the surface a client that checks every answer.
func (s *surface) reach(t *testing.T, url string, transport http.RoundTripper) {
	t.Helper()
	s.url = url
	s.client = &http.Client{
		Transport:     &checker{t: t, next: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newSurface makes a surface without a listener.
func newSurface(t *testing.T, adjust func(*mgmt.Config)) *surface {
	t.Helper()
	cookie, err := auth.ParseCookie([]byte(auth.NewCookie().Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	s := &surface{node: newFakeNode(), config: newFakeConfig(t), events: newEvents(t), ring: auth.Ring{cookie}, log: &lockedBuffer{}}
	s.spread = &fakeSpread{config: s.config}
	s.logins = auth.NewLogins(func() auth.Ring { return s.ring })
	cfg := mgmt.Config{
		NodeID: testNode, Node: s.node, Config: s.config, Spread: s.spread, Events: s.events, Auth: s.ring, Logins: s.logins, Version: "1.2.3",
		Loopback: true, Log: slog.New(slog.NewJSONHandler(s.log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintln(w, "muster_up 1")
		}),
		UI: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/ui/") {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "<!doctype html>")
		}),
	}
	if adjust != nil {
		adjust(&cfg)
	}
	if s.api, err = mgmt.New(cfg); err != nil {
		t.Fatal(err)
	}
	s.server = mgmt.NewHTTPServer(s.api)
	s.server.RegisterOnShutdown(s.api.Drain)
	return s
}

func newFakeNode() *fakeNode {
	since := time.Unix(1700000000, 0).UTC()
	return &fakeNode{
		status: muster.Status{
			LocalNode: "n1", NodeID: testNode, ClusterID: testCluster, ClusterName: "muster",
			Members: 2, HealthyMembers: 2, ClusterSize: 3, ClusterHealth: muster.Degraded, Summary: "one member is dead",
			Mode: "cluster", State: muster.NodeReady, Store: muster.StoreStatus{Kind: "memory", State: "fresh", Since: since},
			Problems: []muster.Problem{{Code: muster.CodeMembersMissing, Text: "n3 is dead", Fix: "start n3", Since: since}},
			Version:  "1.2.3", Uptime: 12,
		},
		members: []muster.Member{
			{ID: "6f1c3f2e-0000-8000-8000-000000000003", Name: "n3", State: muster.StateDead, Since: since, Role: muster.RoleVoter, Zone: "b"},
			{ID: testNode, Name: "n1", Endpoint: "http://127.0.0.1:9113", State: muster.StateAlive, Since: since, Role: muster.RoleVoter, Zone: "a",
				Tags: map[string]string{"rack": "7"}, Healthy: true, Self: true},
			{ID: "7a000000-0000-8000-8000-000000000002", Name: "n2", State: muster.StateAlive, Since: since, Role: muster.RoleObserver, Zone: "b", Healthy: true},
		},
		matrix: muster.Matrix{Members: []muster.MatrixMember{}, Rows: []muster.MatrixRow{}, Broken: []muster.BrokenLink{}},
		conditions: []muster.Condition{
			{Code: muster.CodeNotFormed, OK: true, Since: since, Text: "formed"},
			{Code: muster.CodeNotSynced, OK: true, Since: since, Text: "revision 0"},
		},
	}
}

// token issues a token of a role.
func (s *surface) token(t *testing.T, role auth.Role) string {
	t.Helper()
	token, err := s.ring.Issue(auth.Claims{Subject: "ann", ID: "t-" + string(role), Role: role, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// call is one request of a test. A value of "-" deletes a header.
type call struct {
	method, path, body string
	role               auth.Role // empty: anonymous
	header             map[string]string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// problem decodes a problem document and demands its form.
func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("Content-Type of a %d is %q, want application/problem+json; body %s", a.status, got, a.body)
	}
	var p api.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if p.Status != a.status || p.RequestID != a.header.Get("X-Request-Id") || p.Title == "" || p.Detail == "" || p.Fix == "" {
		t.Errorf("the problem is incomplete: %s", a.body)
	}
	return p
}

// decode reads a JSON body.
func decode[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in the %d %s", err, a.status, a.body)
	}
	return v
}

func (s *surface) request(t *testing.T, c call) *http.Request {
	t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, s.url+c.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if c.role != "" {
		r.Header.Set("Authorization", "Bearer "+s.token(t, c.role))
	}
	for name, value := range c.header {
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	return r
}

// do sends a request and reads the whole answer. It may be called from any goroutine.
func (s *surface) do(t *testing.T, c call) answer {
	t.Helper()
	resp, err := s.client.Do(s.request(t, c))
	if err != nil {
		t.Errorf("%s %s: %v", c.method, c.path, err)
		return answer{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s %s: %v", c.method, c.path, err)
		return answer{}
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// want is do with a demand on the status.
func (s *surface) want(t *testing.T, status int, c call) answer {
	t.Helper()
	a := s.do(t, c)
	if a.status != status {
		t.Fatalf("%s %s answered %d, want %d: %s", c.method, c.path, a.status, status, a.body)
	}
	return a
}

func (n *fakeNode) order(id muster.NodeID, change func(*muster.Member)) error {
	n.edit(func(n *fakeNode) {
		for i := range n.members {
			if n.members[i].ID == id {
				n.members = slices.Clone(n.members)
				change(&n.members[i])
			}
		}
	})
	return nil
}

func (n *fakeNode) Leases(context.Context) ([]muster.LeaseInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.leases), nil
}

func (n *fakeNode) ReleaseLease(_ context.Context, name string, _ muster.Order) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.leases {
		if n.leases[i].Name == name {
			n.leases[i].HolderID, n.leases[i].Holder = "", ""
			return nil
		}
	}
	return muster.Errorf(muster.CodeNotFound, "no lease has the name %s", name)
}

func (n *fakeNode) Drain(_ context.Context, id muster.NodeID, o muster.Order) error {
	return n.order(id, func(m *muster.Member) { m.State, m.Reason = muster.StateDraining, "drained "+o.String() })
}

func (n *fakeNode) Resume(_ context.Context, id muster.NodeID, _ muster.Order) error {
	return n.order(id, func(m *muster.Member) { m.State, m.Reason = muster.StateAlive, "" })
}

func (n *fakeNode) Remove(_ context.Context, id muster.NodeID, _ muster.Order) error {
	n.edit(func(n *fakeNode) {
		n.members = slices.DeleteFunc(slices.Clone(n.members), func(m muster.Member) bool { return m.ID == id })
	})
	return nil
}

func (n *fakeNode) Reapable() muster.ReapPlan {
	return muster.ReapPlan{Held: "reaping is switched off"}
}

func (n *fakeNode) Cluster() muster.ClusterInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	return muster.ClusterInfo{ID: n.status.ClusterID, Name: n.status.ClusterName, NodeID: n.status.NodeID}
}

func (n *fakeNode) Form(context.Context, muster.Order) error {
	if id := n.Status().ClusterID; id != "" {
		return muster.Errorf(muster.CodeAlreadyFormed, "n1 belongs to cluster %s already", id)
	}
	n.edit(func(n *fakeNode) { n.status.ClusterID = testCluster })
	return nil
}

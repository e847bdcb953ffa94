package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/client"
)

// terminal is one user's shell: an app with its streams.
type terminal struct {
	*app

	out, err *bytes.Buffer
	cluster  *fakeCluster
	dialled  []access // the connections that commands made
}

func newTerminal(t *testing.T, env ...string) *terminal {
	t.Helper()
	term := &terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}, cluster: newFakeCluster()}
	env = append([]string{"MUSTER_DATA_DIR=" + t.TempDir(), "USER=ada"}, env...)
	term.app = newApp(process{env: env, stdin: strings.NewReader(""), stdout: term.out, stderr: term.err})
	term.connect = func(to access) (cluster, error) {
		term.dialled = append(term.dialled, to)
		return term.cluster, nil
	}
	term.newNode = func(settings, *slog.Logger) (node, error) {
		t.Error("a node was started")
		return nil, muster.Errorf(muster.CodeInternal, "no node here")
	}
	term.browse = func(context.Context, string) error { return nil }
	return term
}

// muster runs a command line and returns its exit code.
func (term *terminal) muster(t *testing.T, args ...string) int {
	t.Helper()
	term.out.Reset()
	term.err.Reset()
	return term.run(t.Context(), args)
}

// fakeCluster is a cluster in memory.
type fakeCluster struct {
	status  muster.Status
	members []muster.Member
	matrix  muster.Matrix

	mu       sync.Mutex
	docs     map[string]muster.Document
	writes   []client.Write
	drift    muster.Drift
	rev      int64
	asked    []client.When
	left     bool
	meddle   func(*fakeCluster) // runs before each write
	keys     []muster.NodeKeys
	queries  []client.EventQuery
	page     muster.EventPage
	streams  []iter.Seq2[client.Notice, error]
	orders   []string
	plan     muster.ReapPlan
	leases   []muster.LeaseInfo
	info     muster.ClusterInfo
	statuses []func() (muster.Status, bool, error)
	log      []muster.Change
	gone     int64                             // revisions up to here are compacted
	follow   []func() ([]muster.Change, error) // answers of Changes
	batches  []client.Batch
	afters   []int64 // what Changes was asked for
}

func newFakeCluster() *fakeCluster {
	now := time.Now()
	day := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	n3 := fakeMember("n3", muster.StateDead)
	return &fakeCluster{
		docs: map[string]muster.Document{}, drift: fakeDrift(),
		info: muster.ClusterInfo{
			ID: "cccccccc-cccc-4ccc-8ccc-cccccccccccc", Name: "demo", Size: 3, Members: 3, Formation: "promise", Expect: 3, Store: "sqlite",
			HomeID: "11111111-1111-8111-8111-111111111111", HomeName: "n1", Epoch: 1, NodeID: "22222222-2222-8222-8222-222222222222", LocalNode: "n2", Accepted: []string{"9f3a41c0"},
		},
		leases: []muster.LeaseInfo{
			{Name: "leader", HolderID: "22222222-2222-8222-8222-222222222222", Holder: "n2", Term: 1777636800000000, Since: day, ExpiresIn: 1.6},
			{Name: "report", Term: 1777636800000007, Since: day},
		},
		plan: muster.ReapPlan{LeftAfter: 86400, DeadAfter: 259200, Size: 3, Most: 1, By: "n1", Members: []muster.Reapable{
			{ID: n3.ID, Name: "n3", State: n3.State, SeenAt: day, Due: day.Add(72 * time.Hour), Reason: "dead for 2h5m0s; the limit is 72h0m0s"},
		}},
		status: muster.Status{
			LocalNode: "n1", NodeID: "11111111-1111-8111-8111-111111111111", ClusterID: "cccccccc-cccc-4ccc-8ccc-cccccccccccc", ClusterName: "demo",
			Members: 3, HealthyMembers: 3, ClusterSize: 3, ClusterHealth: muster.Healthy, Summary: "3 of 3 members healthy, all serve revision 7",
			Mode: "cluster", State: muster.NodeReady, Config: muster.ConfigStatus{Epoch: 1, Rev: 7, Source: "store"},
			Store: muster.StoreStatus{Kind: "sqlite", State: "fresh", Since: now.Add(-90 * time.Minute)}, Tolerates: 1, Version: "v1.2.3", Uptime: 5400,
			Discovery: []muster.DiscoveryStatus{{Method: "static", At: now.Add(-3500 * time.Millisecond), Found: 2}},
			Problems:  []muster.Problem{},
		},
		page:    fakeEvents(),
		members: []muster.Member{fakeMember("n1", muster.StateAlive), fakeMember("n2", muster.StateAlive), fakeMember("n3", muster.StateDead)},
		matrix:  fakeMatrix(now),
	}
}

// fakeEvents are those of two members, with a gap, and of a third that is missing.
func fakeEvents() muster.EventPage {
	event := func(node string, seq uint64, kind muster.EventKind, text string) muster.Event {
		m := fakeMember(node, muster.StateAlive)
		id := muster.EventID{Node: m.ID.Short(), Boot: 4, Seq: seq}
		return muster.Event{ID: id.String(), Seq: seq, Boot: 4, Clock: muster.Clock(seq << 16), At: time.Now(), Kind: kind, Node: m.ID, NodeName: node, Subject: "n3", Text: text}
	}
	return muster.EventPage{
		Events: []muster.Event{
			event("n1", 1, muster.EventNodeStart, "n1 started, boot 4, version v1.2.3"),
			event("n1", 5, muster.EventMemberState, "n3: suspect -> dead (no answer by packet or stream)"),
			event("n2", 6, muster.EventConfigChange, "route/demo written by ada at revision 7"),
		},
		Gaps: []muster.EventGap{{Node: "n1", After: "11111111.4.1", Before: "11111111.4.5", Lost: 3, Text: "3 events of n1 are lost"}},
		Next: "11111111.4.5,22222222.4.6", Missing: []string{"n3"},
	}
}

// fakeMatrix has a link that works in one direction only, a death, and a node that has
// said nothing.
func fakeMatrix(now time.Time) muster.Matrix {
	const alive, dead = muster.Mark(muster.StateAlive), muster.Mark(muster.StateDead)
	x := muster.Matrix{
		Rows: []muster.MatrixRow{
			{Name: "n1", Heard: now.Add(-2500 * time.Millisecond), Marks: []muster.Mark{muster.MarkSelf, muster.MarkOneWay, dead}},
			{Name: "n2", Heard: now.Add(-2500 * time.Millisecond), Marks: []muster.Mark{alive, muster.MarkSelf, dead}},
			{Name: "n3", Marks: []muster.Mark{muster.MarkUnknown, muster.MarkUnknown, muster.MarkSelf}},
		},
		Broken: []muster.BrokenLink{{
			From: "n1", To: "n2", OneWay: true, Channels: []string{"stream"}, Since: now.Add(-125 * time.Minute),
			Reason: "state streams: no answer in time (packets and calls pass)",
		}},
	}
	for i, r := range x.Rows {
		m := fakeMember(r.Name, muster.StateAlive)
		x.Rows[i].ID = m.ID
		x.Members = append(x.Members, muster.MatrixMember{ID: m.ID, Name: m.Name})
	}
	return x
}

func fakeMember(name string, state muster.State) muster.Member {
	digit := name[1:]
	id := strings.Repeat(digit, 8) + "-" + strings.Repeat(digit, 4) + "-8" + strings.Repeat(digit, 3) + "-8" + strings.Repeat(digit, 3) + "-" + strings.Repeat(digit, 12)
	return muster.Member{
		ID: muster.NodeID(id), Name: name, Endpoint: "http://10.0.0." + digit + ":9113", State: state, Since: time.Now().Add(-125 * time.Minute), Zone: "z" + digit, Region: "eu",
		Role: muster.RoleVoter, Version: "v1.2.3", Boot: muster.Boot{Counter: 4}, RTT: 0.42, Healthy: state == muster.StateAlive, AppliedRevision: 7,
		DiscoveredBy: "static", Self: name == "n1", Reason: map[bool]string{true: "", false: "no answer by packet or stream"}[state == muster.StateAlive],
		Tags: map[string]string{"disk": "ssd", "rack": "r" + digit}, ClockSkew: map[bool]float64{true: -1250}[name == "n2"],
		Observers: fakeObservers(name),
	}
}

func fakeObservers(of string) []muster.Observer {
	if of != "n2" {
		return []muster.Observer{}
	}
	return []muster.Observer{{
		ID: "33333333-3333-8333-8333-333333333333", Name: "n3", State: muster.StateAlive, Since: time.Now().Add(-125 * time.Minute),
		Link: muster.LinkOneWay, Reason: "calls: connection refused",
	}}
}

func (c *fakeCluster) StatusWhen(_ context.Context, w client.When) (muster.Status, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, w)
	if len(c.statuses) > 0 {
		next := c.statuses[0]
		c.statuses = c.statuses[1:]
		return next()
	}
	return c.status, c.status.HealthyMembers >= w.Expected, nil
}

func (c *fakeCluster) Matrix(context.Context) (muster.Matrix, error) { return c.matrix, nil }

func (c *fakeCluster) Members(context.Context) ([]muster.Member, error) { return c.members, nil }

func (c *fakeCluster) Member(_ context.Context, name string) (muster.Member, error) {
	for _, m := range c.members {
		if m.Name == name {
			return m, nil
		}
	}
	return muster.Member{}, muster.Errorf(muster.CodeNotFound, "no member is called %q", name)
}

func (c *fakeCluster) ConfigGet(_ context.Context, kind, name string) (muster.Document, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if doc, ok := c.docs[kind+"/"+name]; ok {
		return doc, nil
	}
	return muster.Document{}, muster.Errorf(muster.CodeNotFound, "there is no %s/%s", kind, name)
}

func (c *fakeCluster) ConfigList(_ context.Context, kind string) ([]muster.Document, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var docs []muster.Document
	for _, doc := range c.docs {
		if kind == "" || doc.Kind == kind {
			docs = append(docs, doc)
		}
	}
	return docs, c.rev, nil
}

func (c *fakeCluster) ConfigPut(_ context.Context, w client.Write) (muster.Document, error) {
	if err := c.admit(w); err != nil {
		return muster.Document{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.putLocked(w), nil
}

func (c *fakeCluster) putLocked(w client.Write) muster.Document {
	c.heard(w)
	c.rev++
	doc := c.docs[w.Kind+"/"+w.Name]
	doc.Kind, doc.Name, doc.Spec, doc.Rev, doc.Reason = w.Kind, w.Name, w.Spec, c.rev, w.Reason
	doc.Generation++
	doc.UpdatedBy, doc.UpdatedAt = "ada/1", time.Now()
	c.log = append(c.log, muster.Change{
		Rev: c.rev, Op: muster.OpPut, Kind: w.Kind, Name: w.Name, Spec: w.Spec, Generation: doc.Generation,
		Actor: doc.UpdatedBy, Reason: w.Reason, Node: "11111111-1111-8111-8111-111111111111", At: doc.UpdatedAt,
	})
	c.docs[w.Kind+"/"+w.Name] = doc
	return doc
}

func (c *fakeCluster) ConfigDelete(_ context.Context, w client.Write) (int64, error) {
	if err := c.admit(w); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rev++
	c.log = append(c.log, muster.Change{Rev: c.rev, Op: muster.OpDelete, Kind: w.Kind, Name: w.Name, Generation: 9, Actor: "ada/1", Reason: w.Reason, At: time.Now()})
	c.heard(w)
	delete(c.docs, w.Kind+"/"+w.Name)
	return c.rev, nil
}

// heard answers a write that waits: n1 and n2 serve it, n3 is dead.
func (c *fakeCluster) heard(w client.Write) {
	c.writes = append(c.writes, w)
	if w.Confirmed != nil {
		*w.Confirmed = muster.Confirmation{Met: w.Wait == muster.WaitQuorum, Confirmed: []string{"n1"}, Lagging: []string{"n2"}, Dead: []string{"n3"}}
		if w.Wait == muster.WaitQuorum {
			w.Confirmed.Confirmed, w.Confirmed.Lagging = []string{"n1", "n2"}, []string{}
		}
	}
}

func (c *fakeCluster) Trace(_ context.Context, rev int64) (muster.Trace, error) {
	if rev > 42 {
		return muster.Trace{}, muster.Errorf(muster.CodeNotFound, "there is no revision %d yet: the newest that a member serves is 42", rev)
	}
	t := muster.Trace{
		Rev: rev, Change: &muster.Change{Rev: rev, Op: muster.OpPut, Kind: "route", Name: "demo", Actor: "ada/1"}, Reference: "write",
		P50: 1.3, P99: 412.5, Max: 412.5, Complete: rev != 42, Missing: []string{},
		Nodes: []muster.TraceNode{
			{Name: "n1", Serves: 42, Way: muster.WayWrite, Delay: new(0.02), Text: "wrote it to the store"},
			{Name: "n2", Serves: 42, Way: muster.WayHint, From: "n1", Delay: new(1.3), Error: 0.4, Text: "pushed by n1"},
			{Name: "n4", Serves: 42, Way: muster.WayDigest, From: "n2", Delay: new(412.5), Error: 0.4, Text: "told by a digest, pulled from n2"},
			{Name: "n5", Serves: 42, Way: muster.WayCopy, From: "mirror", Text: "part of its first copy after the start, from mirror"},
		},
	}
	if !t.Complete {
		t.Missing = []string{"n3"}
	}
	return t, nil
}

func (c *fakeCluster) Drift(context.Context) (muster.Drift, error) { return c.drift, nil }

// fakeDrift has one member that lags and one that is dead.
func fakeDrift() muster.Drift {
	at := muster.Position{Epoch: 1, Rev: 42, Chain: muster.Hash{0xab}}
	member := func(name string) muster.DriftMember {
		return muster.DriftMember{Name: name, State: muster.StateAlive, Answered: true, Position: at, Digest: muster.Hash{0xcd}, Documents: 3, Source: "peer", Store: "fresh"}
	}
	late := member("n2")
	late.Position.Rev, late.Behind, late.BehindFor, late.Store, late.Difference = 40, 2, 12.3, "stale", "2 revisions behind, for 12.3s"
	return muster.Drift{
		Verdict: "n2: 2 revisions behind, for 12.3s; no answer from n3.", Newest: at, Missing: []string{"n3"},
		Members: []muster.DriftMember{member("n1"), late, {Name: "n3", State: muster.StateDead, Difference: "did not answer"}},
	}
}

// admit checks the condition of a write as a node does: any revision stands for
// a document that is there.
func (c *fakeCluster) admit(w client.Write) error {
	if c.meddle != nil {
		c.meddle(c)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	doc, ok := c.docs[w.Kind+"/"+w.Name]
	if w.Expect == client.Any && ok || w.Expect == doc.Rev {
		return nil
	}
	return muster.Errorf(muster.CodeConflict, "%s/%s is at revision %d, not %d", w.Kind, w.Name, doc.Rev, w.Expect)
}

func (c *fakeCluster) EventPage(_ context.Context, q client.EventQuery) (muster.EventPage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queries = append(c.queries, q)
	return c.page, nil
}

func (c *fakeCluster) Events(_ context.Context, q client.EventQuery) iter.Seq2[client.Notice, error] {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queries = append(c.queries, q)
	stream := c.streams[0]
	c.streams = c.streams[1:]
	return stream
}

func (c *fakeCluster) Keys(context.Context) ([]muster.NodeKeys, error) { return c.keys, nil }

func (c *fakeCluster) MembersWhere(_ context.Context, f client.Filter) ([]muster.Member, error) {
	fit := []muster.Member{}
	for _, m := range c.members {
		if fits(m, f) {
			fit = append(fit, m)
		}
	}
	return fit, nil
}

// fits filters as a node does.
func fits(m muster.Member, f client.Filter) bool {
	for _, tag := range f.Tags {
		key, value, exact := strings.Cut(tag, "=")
		if have, ok := m.Tags[key]; !ok || exact && have != value {
			return false
		}
	}
	return (f.Region == "" || f.Region == m.Region) && (f.Zone == "" || f.Zone == m.Zone) && (f.Role == "" || f.Role == string(m.Role)) &&
		(len(f.States) == 0 || slices.Contains(f.States, string(m.State)))
}

func (c *fakeCluster) Drain(ctx context.Context, name string, o client.Order) (muster.Member, error) {
	c.orders = append(c.orders, "drain "+name+" "+o.Reason)
	m, err := c.Member(ctx, name)
	m.State, m.Reason = muster.StateDraining, "drained by ada: "+o.Reason
	return m, err
}

func (c *fakeCluster) Resume(ctx context.Context, name string, o client.Order) (muster.Member, error) {
	c.orders = append(c.orders, "resume "+name+" "+o.Reason)
	return c.Member(ctx, name)
}

func (c *fakeCluster) Remove(ctx context.Context, name, reason string) error {
	m, err := c.Member(ctx, name)
	if err == nil && !m.State.Gone() {
		return muster.Errorf(muster.CodeMemberAlive, "%s is %s, says n1", m.Name, m.State)
	}
	c.orders = append(c.orders, "remove "+name+" "+reason)
	return err
}

func (c *fakeCluster) Expel(ctx context.Context, name string, o client.ExpelOrder) (muster.Expulsion, error) {
	m, err := c.Member(ctx, name)
	if err == nil && m.Self && !o.Force {
		return muster.Expulsion{}, muster.Errorf(muster.CodeExpelUnsafe, "%s is the node that answers: it would stop", m.Name)
	}
	c.orders = append(c.orders, fmt.Sprintf("expel %s %s %v", name, o.Reason, o.Force))
	return muster.Expulsion{
		Tombstone: muster.Tombstone{NodeID: m.ID, Name: m.Name, Reason: o.Reason, At: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), By: "ada/1", KIDs: []string{"9f3a41c0"}},
		Rev:       8,
	}, err
}

func (c *fakeCluster) Readmit(_ context.Context, name, reason string) (int64, error) {
	c.orders = append(c.orders, "readmit "+name+" "+reason)
	return 9, nil
}

func (c *fakeCluster) Leases(context.Context) ([]muster.LeaseInfo, error) { return c.leases, nil }

func (c *fakeCluster) ReleaseLease(_ context.Context, name, reason string) error {
	for i := range c.leases {
		if c.leases[i].Name == name {
			c.leases[i].HolderID, c.leases[i].Holder = "", ""
			c.orders = append(c.orders, "release "+name+": "+reason)
			return nil
		}
	}
	return muster.Errorf(muster.CodeNotFound, "no lease has the name %s", name)
}

func (c *fakeCluster) Reapable(context.Context) (muster.ReapPlan, error) { return c.plan, nil }

func (c *fakeCluster) Cluster(context.Context) (muster.ClusterInfo, error) { return c.info, nil }

func (c *fakeCluster) Form(context.Context) (muster.ClusterInfo, error) {
	c.orders = append(c.orders, "form")
	return c.info, nil
}

func (c *fakeCluster) Leave(context.Context) error {
	c.left = true
	return nil
}

func (c *fakeCluster) LoginCode(context.Context) (api.LoginCode, error) {
	return api.LoginCode{Code: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, nil
}

// seed puts a document there.
func (c *fakeCluster) seed(kind, name, spec string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(client.Write{Kind: kind, Name: name, Spec: json.RawMessage(spec)})
}

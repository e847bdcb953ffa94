// Package memory is a config store in the memory of one process, for simulations,
// tests and trying things out. It forgets everything when the process ends.
//
// One set of data serves any number of simulated nodes: each holds a Store of its
// own, made with Share, whose connection can be slowed down, cut or made to lie
// with Inject while the others go on.
package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Deadline is how long a call may take when its context allows longer.
const Deadline = 3 * time.Second

// Faults says how a Store misbehaves. The zero value is a healthy store.
type Faults struct {
	Latency   time.Duration // what each call takes
	Down      bool          // every call fails at once
	Hang      bool          // every call takes until its deadline
	LoseReply bool          // Apply writes, and then does not know whether it did
	// Fail is asked before each call, with the name of the method; its error is
	// the answer. It may be nil.
	Fail func(method string) error
}

// Store is one connection to data that lives in memory.
type Store struct {
	data *data
	done chan struct{}

	mu     sync.Mutex
	faults Faults
	closed bool
}

// data is what all connections share.
type data struct {
	mu        sync.Mutex
	cluster   *store.Cluster
	snap      *config.Snapshot
	log       []muster.Change // from compacted+1 on
	compacted int64
	requests  map[string]int64 // request id to revision
	members   map[muster.NodeID]store.Member
	leases    map[string]store.Lease
}

// New returns a store without a cluster.
func New() *Store {
	return &Store{data: newData(), done: make(chan struct{})}
}

func newData() *data {
	return &data{members: make(map[muster.NodeID]store.Member), leases: make(map[string]store.Lease)}
}

// Share returns another connection to the same data, with faults and an end of
// its own.
func (s *Store) Share() *Store { return &Store{data: s.data, done: make(chan struct{})} }

// Inject sets how this connection misbehaves from now on.
func (s *Store) Inject(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// SetDown cuts or restores this connection.
func (s *Store) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.Down = down
}

// Kind returns store.KindMemory.
func (s *Store) Kind() store.Kind { return store.KindMemory }

// Close ends this connection. Others that share its data go on.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	return nil
}

// begin passes through the faults and, if it returns no error, locks the data.
func (s *Store) begin(ctx context.Context, method string) error {
	s.mu.Lock()
	f, closed := s.faults, s.closed
	s.mu.Unlock()
	if closed {
		return errClosed()
	}
	if err := ctx.Err(); err != nil {
		return unavailable("the caller gave up: %w", err)
	}
	if f.Down {
		return unavailable("the store in memory is switched off")
	}
	if f.Fail != nil {
		if err := f.Fail(method); err != nil {
			return err
		}
	}
	if err := s.wait(ctx, f); err != nil {
		return err
	}
	s.data.mu.Lock()
	return nil
}

// wait takes as long as the faults say.
func (s *Store) wait(ctx context.Context, f Faults) error {
	if f.Latency == 0 && !f.Hang {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	var elapsed <-chan time.Time
	if !f.Hang {
		elapsed = time.After(f.Latency)
	}
	select {
	case <-elapsed:
		return nil
	case <-s.done:
		return errClosed()
	case <-ctx.Done():
		return unavailable("the store in memory does not answer: %w", ctx.Err())
	}
}

func unavailable(format string, args ...any) error {
	return muster.Errorf(muster.CodeStoreUnavailable, format, args...)
}

func errClosed() error { return unavailable("the store is closed") }

// Cluster implements store.Store.
func (s *Store) Cluster(ctx context.Context) (store.Cluster, error) {
	if err := s.begin(ctx, "Cluster"); err != nil {
		return store.Cluster{}, err
	}
	defer s.data.mu.Unlock()
	if s.data.cluster == nil {
		return store.Cluster{}, store.ErrNoCluster
	}
	return *s.data.cluster, nil
}

// Form implements store.Store.
func (s *Store) Form(ctx context.Context, id muster.ClusterID) (store.Cluster, error) {
	if err := store.CheckForm(id); err != nil {
		return store.Cluster{}, err
	}
	if err := s.begin(ctx, "Form"); err != nil {
		return store.Cluster{}, err
	}
	defer s.data.mu.Unlock()
	if s.data.cluster == nil {
		c := store.Cluster{ID: id, Epoch: 1, Created: now()}
		snap, err := config.New(id, muster.Position{Epoch: c.Epoch, Chain: config.Genesis(id)}, nil)
		if err != nil {
			return c, fmt.Errorf("form cluster %s: %w", id, err)
		}
		s.data.cluster, s.data.snap = &c, snap
	}
	return *s.data.cluster, nil
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// read is begin for what needs a cluster.
func (s *Store) read(ctx context.Context, method string) error {
	if err := s.begin(ctx, method); err != nil {
		return err
	}
	if s.data.cluster == nil {
		s.data.mu.Unlock()
		return store.ErrNoCluster
	}
	return nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Head, error) {
	if err := s.read(ctx, "Head"); err != nil {
		return store.Head{}, err
	}
	defer s.data.mu.Unlock()
	d := s.data
	return store.Head{Position: d.snap.Position(), Items: int64(d.snap.Len()), Compacted: d.compacted}, nil
}

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	if err := s.read(ctx, "Changes"); err != nil {
		return nil, err
	}
	defer s.data.mu.Unlock()
	d := s.data
	if after < d.compacted {
		return nil, store.ErrCompacted
	}
	start := min(int(after-d.compacted), len(d.log))
	end := min(start+store.Limit(limit), len(d.log))
	return slices.Clone(d.log[start:end]), nil
}

// Snapshot implements store.Store.
func (s *Store) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	if err := s.read(ctx, "Snapshot"); err != nil {
		return nil, err
	}
	defer s.data.mu.Unlock()
	snap := s.data.snap
	return &store.Snapshot{ClusterID: snap.Cluster(), Position: snap.Position(), Documents: snap.List("")}, nil
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if err := store.CheckBatch(writes); err != nil {
		return nil, err
	}
	if err := s.read(ctx, "Apply"); err != nil {
		return nil, err
	}
	defer s.data.mu.Unlock()
	tx := &memoryTx{data: s.data}
	outcomes, _, err := store.Run(tx, s.data.snap.Position(), now(), detached(writes))
	if err != nil {
		return nil, err
	}
	if err := tx.commit(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	lost := s.faults.LoseReply
	s.mu.Unlock()
	if lost {
		return nil, muster.Errorf(muster.CodeOutcomeUnknown, "the store in memory lost its reply")
	}
	return outcomes, nil
}

// detached copies the specifications, as a wire would.
func detached(writes []store.Write) []store.Write {
	writes = slices.Clone(writes)
	for i := range writes {
		writes[i].Spec = slices.Clone(writes[i].Spec)
	}
	return writes
}

// memoryTx collects what store.Run records.
type memoryTx struct {
	data    *data
	docs    map[[2]string]*muster.Document
	changes []muster.Change
}

// Document implements store.Tx.
func (tx *memoryTx) Document(kind, name string) (*muster.Document, error) {
	if doc, recorded := tx.docs[[2]string{kind, name}]; recorded {
		return doc, nil
	}
	if doc, there := tx.data.snap.Get(kind, name); there {
		return &doc, nil
	}
	return nil, nil
}

// ChangeOf implements store.Tx.
func (tx *memoryTx) ChangeOf(requestID string) (*muster.Change, error) {
	if i := slices.IndexFunc(tx.changes, func(c muster.Change) bool { return c.RequestID == requestID }); i >= 0 {
		return new(tx.changes[i]), nil
	}
	if rev, there := tx.data.requests[requestID]; there {
		return new(tx.data.log[rev-tx.data.compacted-1]), nil
	}
	return nil, nil
}

// Record implements store.Tx.
func (tx *memoryTx) Record(c muster.Change, doc *muster.Document) error {
	if tx.docs == nil {
		tx.docs = make(map[[2]string]*muster.Document)
	}
	tx.docs[[2]string{c.Kind, c.Name}] = doc
	tx.changes = append(tx.changes, c)
	return nil
}

func (tx *memoryTx) commit() error {
	snap, err := tx.data.snap.Apply(tx.changes)
	if err != nil {
		return fmt.Errorf("apply to the store in memory: %w", err)
	}
	tx.data.snap = snap
	tx.data.setLog(append(tx.data.log, tx.changes...), len(tx.data.log))
	return nil
}

// setLog replaces the log, of which all from index fresh on has new request ids.
func (d *data) setLog(log []muster.Change, fresh int) {
	if fresh == 0 {
		d.requests = make(map[string]int64)
	}
	for _, c := range log[fresh:] {
		if c.RequestID != "" {
			d.requests[c.RequestID] = c.Rev
		}
	}
	d.log = log
}

// Members implements store.Store.
func (s *Store) Members(ctx context.Context) ([]store.Member, error) {
	if err := s.begin(ctx, "Members"); err != nil {
		return nil, err
	}
	defer s.data.mu.Unlock()
	members := make([]store.Member, 0, len(s.data.members))
	for _, m := range s.data.members {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b store.Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return members, nil
}

// PutMember implements store.Store.
func (s *Store) PutMember(ctx context.Context, m store.Member) error {
	if err := m.Check(); err != nil {
		return err
	}
	if err := s.begin(ctx, "PutMember"); err != nil {
		return err
	}
	defer s.data.mu.Unlock()
	m.SeenAt = now()
	m.JoinedAt = m.SeenAt
	if old, there := s.data.members[m.ID]; there {
		m.JoinedAt = old.JoinedAt
	}
	s.data.members[m.ID] = m
	return nil
}

// RemoveMember implements store.Store.
func (s *Store) RemoveMember(ctx context.Context, id muster.NodeID) error {
	if err := s.begin(ctx, "RemoveMember"); err != nil {
		return err
	}
	defer s.data.mu.Unlock()
	delete(s.data.members, id)
	return nil
}

package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Intervals of the durable member list.
const (
	heartbeatEvery = 10 * time.Second // a row older than three of these is not fresh
	retryEvery     = time.Second      // after a failed heartbeat
	readEvery      = 3                // heartbeats: who comes, goes or is struck off pokes
	rosterTimeout  = 2 * time.Second
)

// memberTable is the part of a store that holds the durable member list.
type memberTable interface {
	Members(ctx context.Context) ([]store.Member, error)
	PutMember(ctx context.Context, m store.Member) error
	RemoveMember(ctx context.Context, id muster.NodeID) error
}

// roster keeps this node's row in the durable member list fresh, and a copy of
// the list in memory and on disk: who belongs to the cluster, also those that are
// down now.
type roster struct {
	table func() memberTable // nil result: no store yet
	self  func() store.Member
	save  func() error
	log   *slog.Logger
	wake  chan struct{}          // buffer 1: one pending refresh is enough
	fired func()                 // the list changed
	alive func() []muster.NodeID // whom gossip holds alive
	gone  func() bool            // this node leaves for good
	read  func([]store.Member)   // the list was read

	left atomic.Bool   // the row says that this node left: no heartbeat may follow
	turn chan struct{} // capacity 1: held while the row is written

	mu   sync.Mutex
	rows []store.Member
}

// poke asks for a refresh soon. It never blocks.
func (r *roster) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // one is pending already
	}
}

func (r *roster) run(ctx context.Context) error {
	beats := 0 // since the list was read
	for ctx.Err() == nil {
		next := heartbeatEvery
		err := r.refresh(ctx, beats%readEvery == 0)
		beats++
		if err != nil {
			r.log.DebugContext(ctx, "member list not refreshed", "error", err)
		}
		if err != nil || r.incomplete() {
			next, beats = retryEvery, 0
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
			beats = 0
		case <-time.After(next):
		}
	}
	return nil
}

// refresh writes this node's row and, if asked to, reads the list.
func (r *roster) refresh(ctx context.Context, read bool) error {
	table := r.table()
	if table == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rosterTimeout)
	defer cancel()
	if err := r.beat(ctx, table); err != nil || !read {
		return err
	}
	rows, err := table.Members(ctx)
	if err != nil {
		return err
	}
	if err := r.set(rows); err != nil {
		return err
	}
	r.read(rows)
	return nil
}

// beat writes this node's row, unless the node leaves.
func (r *roster) beat(ctx context.Context, table memberTable) error {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.gone() || r.left.Load() {
		return nil
	}
	return table.PutMember(ctx, r.self())
}

// drop takes a member off the copy in memory, ahead of the next reading.
func (r *roster) drop(id muster.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = slices.DeleteFunc(slices.Clone(r.rows), func(m store.Member) bool { return m.ID == id })
}

// incomplete reports whether a live member has not written its row yet, or an
// older one of it is on hand.
func (r *roster) incomplete() bool {
	rows := r.list()
	return slices.ContainsFunc(r.alive(), func(id muster.NodeID) bool {
		return !slices.ContainsFunc(rows, func(m store.Member) bool { return m.ID == id && m.State == muster.StateAlive })
	})
}

// leave marks this node as left in the durable list, where it stays counted, or
// takes it off the list if it leaves for good.
func (r *roster) leave(ctx context.Context) error {
	table := r.table()
	if table == nil {
		return nil
	}
	if r.gone() {
		return table.RemoveMember(ctx, r.self().ID)
	}
	r.left.Store(true)
	select {
	case r.turn <- struct{}{}: // a heartbeat under way would bring it back to life
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	row := r.self()
	row.State = muster.StateLeft
	return table.PutMember(ctx, row)
}

// set replaces the list and persists it if it names other members, endpoints,
// boots or states than before.
func (r *roster) set(rows []store.Member) error {
	r.mu.Lock()
	same := slices.EqualFunc(r.rows, rows, sameMember)
	r.rows = rows
	r.mu.Unlock()
	if same {
		return nil
	}
	r.fired()
	return r.save()
}

func sameMember(a, b store.Member) bool {
	a.SeenAt, b.SeenAt = time.Time{}, time.Time{}
	a.JoinedAt, b.JoinedAt = time.Time{}, time.Time{}
	return a == b
}

// list returns the last known rows. The slice must not be modified.
func (r *roster) list() []store.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows
}

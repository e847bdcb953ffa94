// Package store is the contract of the config store: the one place that orders
// changes of the configuration and makes them durable.
//
// Four implementations pass the suite in store/storetest: store/postgres,
// store/sqlite, store/peer (another node's store, reached over the link) and
// store/memory. A Store knows nothing of other nodes, caches or readers; package
// replica does.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/musterhq/muster"
)

// Errors that callers tell apart with errors.Is. Everything else that a Store
// returns is a *muster.Error with CodeStoreUnavailable, CodeConfigHomeDown,
// CodeOutcomeUnknown, CodeStoreSchema, CodeStoreMismatch or CodeNotFormed.
var (
	// ErrCompacted answers Changes when the log no longer reaches back that far.
	ErrCompacted = errors.New("the change log is compacted beyond this revision")
	// ErrNoCluster answers Cluster, and everything that needs one, while no
	// cluster has been formed in this store.
	ErrNoCluster = errors.New("no cluster has been formed in this store")
)

// Kind names an implementation, as /cluster/status shows it.
type Kind string

// The kinds of stores.
const (
	KindPostgres Kind = "postgres"
	KindSQLite   Kind = "sqlite"
	KindPeer     Kind = "peer"
	KindMemory   Kind = "memory"
)

// Limits of one call.
const (
	MaxBatch   = 64   // writes per Apply
	MaxChanges = 1000 // changes per answer of Changes and History
	MaxSpecs   = 16   // the same of History with specifications
)

// Any in Write.Expect means that the write does not look at what is there.
const Any int64 = -1

// Store keeps the configuration, its history, the durable list of members and leases.
// All methods may be called concurrently, honour ctx, and never block for longer
// than their own deadline (3 s) even if ctx has none.
type Store interface {
	// Kind names the implementation.
	Kind() Kind

	// Cluster returns the identity and epoch, or ErrNoCluster.
	Cluster(ctx context.Context) (Cluster, error)
	// Form creates the cluster if there is none, and returns the one that is
	// there then: of many concurrent callers exactly one mints.
	Form(ctx context.Context, id muster.ClusterID) (Cluster, error)

	// Head returns the newest position. It is cheap (one row).
	Head(ctx context.Context) (Head, error)
	// Changes returns up to limit (at most MaxChanges) changes after a revision,
	// in order and without gaps, or ErrCompacted.
	Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error)
	// History looks backwards: the changes that fit, newest first, as far as the log
	// still reaches.
	History(ctx context.Context, p Past) (History, error)
	// Snapshot returns all live documents at one revision.
	Snapshot(ctx context.Context) (*Snapshot, error)

	// Apply runs at most MaxBatch writes in one durable transaction, in order.
	// The outcomes correspond to the writes; a refused write touches none but
	// those of its own Group. A write whose RequestID was applied before returns
	// its first outcome. An error means that the whole call failed: nothing was
	// written, or, with CodeOutcomeUnknown, that it is not known.
	Apply(ctx context.Context, writes []Write) ([]Outcome, error)

	// Members returns the durable member list, ordered by id.
	Members(ctx context.Context) ([]Member, error)
	// PutMember inserts or refreshes one member, sets its SeenAt to the clock of
	// the store, and its JoinedAt too when it is inserted. Members exist before
	// the cluster does: they are how nodes find enough others to form it.
	PutMember(ctx context.Context, m Member) error
	// RemoveMember takes a member off the list. An absent one is no error.
	RemoveMember(ctx context.Context, id muster.NodeID) error

	Leases

	// Close releases everything. Calls under way end with an error.
	Close() error
}

// Cluster is the identity row.
type Cluster struct {
	ID      muster.ClusterID `json:"cluster_id"`
	Epoch   int64            `json:"epoch"`
	Created time.Time        `json:"created_at"`
}

// Head is the newest position and what the log still holds.
type Head struct {
	muster.Position
	Items     int64 `json:"items"`         // live documents
	Compacted int64 `json:"compacted_rev"` // changes up to here are gone
}

// Past says which changes are wanted; a zero field wants all.
type Past struct {
	Kind   string // of documents
	Name   string // of documents; only together with Kind
	Before int64  // only older revisions than this one; 0 = from the newest on
	Limit  int    // at most MaxChanges, or MaxSpecs; 0 = as many
	Specs  bool   // with specifications, which are left out else
}

// History is an answer to a Past.
type History struct {
	Changes   []muster.Change `json:"changes"`
	Compacted int64           `json:"compacted_rev"` // changes up to here are gone
}

// Snapshot is all live documents at one position, ordered by kind and name.
type Snapshot struct {
	ClusterID muster.ClusterID  `json:"cluster_id"`
	Position  muster.Position   `json:"position"`
	Documents []muster.Document `json:"documents"`
}

// Write asks to change one document. Spec must be canonical JSON already (see
// package config); a Store only checks its size and that it parses.
type Write struct {
	Op        muster.Op       `json:"op"`
	Kind      string          `json:"kind"`
	Name      string          `json:"name"`
	Spec      json.RawMessage `json:"spec,omitempty"`
	Expect    int64           `json:"expect"` // revision on record: 0 = absent, Any = do not look
	Actor     string          `json:"actor"`
	Node      muster.NodeID   `json:"node_id"`
	Reason    string          `json:"reason"`
	RequestID string          `json:"request_id"` // UUID; empty = not idempotent
	// Group binds writes that stand side by side in one Apply and carry the same
	// non-empty word: they are applied all or none. When one is refused, the
	// others of its group are refused with its code.
	Group string `json:"group,omitempty"`
}

// Outcome is what became of one write. Exactly one of Change and Err is set.
type Outcome struct {
	// Change is the applied change. Of a write that was applied before (same
	// RequestID) it is the first one, and Repeated is true.
	Change   *muster.Change `json:"change,omitempty"`
	Repeated bool           `json:"repeated,omitempty"`
	// Err has CodeConflict (Current holds what is there, nil if nothing is),
	// CodeNotFound (delete of what is absent), CodeBadDocument or CodeTooLarge.
	Err     *muster.Error    `json:"error,omitempty"`
	Current *muster.Document `json:"current,omitempty"`
}

// Member is one row of the durable member list.
type Member struct {
	ID       muster.NodeID `json:"node_id"`
	Name     string        `json:"name"`
	Endpoint string        `json:"endpoint"`
	Boot     muster.Boot   `json:"boot"`
	Role     muster.Role   `json:"role"`
	Version  string        `json:"version"`
	Zone     string        `json:"zone"`
	State    muster.State  `json:"state"` // alive, left
	JoinedAt time.Time     `json:"joined_at"`
	SeenAt   time.Time     `json:"seen_at"`
}

// Fresh reports whether the member was seen within d before now, by the clock
// of the store: pass the largest SeenAt of the list as now.
func (m Member) Fresh(now time.Time, d time.Duration) bool {
	return m.State == muster.StateAlive && now.Sub(m.SeenAt) <= d
}

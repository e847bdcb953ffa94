// Package peer is a config store that lives on another node: a store.Store that
// asks that node over the sealed link, and the HTTP handler that answers it.
//
// It is how nodes without a database use the store of a node that has one: the
// config home's SQLite, or any member that reaches Postgres. It keeps nothing
// and orders nothing; it never forwards what was forwarded to it (one hop).
//
// The wire is plain HTTP under Prefix: JSON for small answers, one JSON value per
// line for changes and snapshots, closed by a record that proves completeness.
package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Prefix is the path under which Handler answers.
const Prefix = "/peer/v1/store/"

// DefaultTimeout bounds one call, whatever the number of targets.
const DefaultTimeout = 3 * time.Second

// Target is one node that may reach the store.
type Target struct {
	ID        muster.NodeID
	Name      string // for people; may be empty
	Transport http.RoundTripper
}

// String returns the name, or the short id of a nameless target.
func (t Target) String() string {
	if t.Name == "" {
		return t.ID.Short()
	}
	return t.Name
}

// Config is what New needs.
type Config struct {
	// Targets returns the nodes to ask, best first: the config home, or the
	// members that reach the store. It is asked at each call.
	Targets func() []Target
	// Down is the code of the error when no target answers: CodeConfigHomeDown
	// (the default) or CodeStoreUnavailable.
	Down muster.Code
	// Home returns the name of the config home for that error's text while it is
	// not among the targets. Nil = unnamed.
	Home func() string
	// Timeout bounds a call; snapshots and changes may take ten times as long
	// while bytes keep coming. 0 = DefaultTimeout.
	Timeout time.Duration
	// Log gets lost answers. Nil = silent.
	Log *slog.Logger
}

// Store asks other nodes.
type Store struct {
	cfg Config

	mu     sync.Mutex
	closed bool
	calls  map[*call]struct{}
}

var _ store.Store = (*Store)(nil)

// New returns a store that asks cfg.Targets. It does no I/O.
func New(cfg Config) *Store {
	if cfg.Down == "" {
		cfg.Down = muster.CodeConfigHomeDown
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Home == nil {
		cfg.Home = func() string { return "" }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{cfg: cfg, calls: map[*call]struct{}{}}
}

// Kind returns store.KindPeer.
func (s *Store) Kind() store.Kind { return store.KindPeer }

// Cluster returns the identity of the cluster in the target's store.
func (s *Store) Cluster(ctx context.Context) (store.Cluster, error) {
	return ask(ctx, s, request{path: "cluster", limit: smallBody}, decodeJSON[store.Cluster])
}

// Form refuses: a cluster is formed by the node that has the store.
func (s *Store) Form(context.Context, muster.ClusterID) (store.Cluster, error) {
	return store.Cluster{}, muster.Errorf(muster.CodeNotFormed,
		"a cluster cannot be formed through another node's store")
}

// Head returns the newest position of the target's store.
func (s *Store) Head(ctx context.Context) (store.Head, error) {
	return ask(ctx, s, request{path: "head", limit: smallBody}, decodeJSON[store.Head])
}

// Changes returns up to limit changes after a revision. A target ends its answer
// early rather than let it grow beyond some megabytes.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	path := fmt.Sprintf("changes?after=%d&limit=%d", after, limit)
	return ask(ctx, s, request{path: path, limit: maxChangesBody, stream: true}, decodeChanges)
}

// History returns changes backwards.
func (s *Store) History(ctx context.Context, p store.Past) (store.History, error) {
	q := url.Values{"before": {strconv.FormatInt(p.Before, 10)}, "limit": {strconv.Itoa(p.Limit)}, "kind": {p.Kind}, "name": {p.Name}}
	if p.Specs {
		q.Set("specs", "1")
	}
	return ask(ctx, s, request{path: "history?" + q.Encode(), limit: maxHistoryBody}, decodeJSON[store.History])
}

// Snapshot returns all live documents at one revision.
func (s *Store) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	return ask(ctx, s, request{path: "snapshot", limit: maxSnapshotBody, stream: true}, ReadSnapshot)
}

// Members returns the durable member list.
func (s *Store) Members(ctx context.Context) ([]store.Member, error) {
	return ask(ctx, s, request{path: "members", limit: maxMembersBody}, decodeJSON[[]store.Member])
}

// PutMember inserts or refreshes one member. Asking twice does no harm, so a lost
// answer is simply asked for again at the next target.
func (s *Store) PutMember(ctx context.Context, m store.Member) error {
	if err := m.Check(); err != nil {
		return err
	}
	body, err := marshal(m)
	if err != nil {
		return muster.Errorf(muster.CodeInternal, "encode member %s: %w", m.ID, err)
	}
	req := request{method: http.MethodPut, path: "members", body: body, limit: smallBody}
	_, err = ask(ctx, s, req, decodeNothing)
	return err
}

// RemoveMember takes a member off the list. Asking twice does no harm.
func (s *Store) RemoveMember(ctx context.Context, id muster.NodeID) error {
	req := request{method: http.MethodDelete, path: "members/" + url.PathEscape(string(id)), limit: smallBody}
	_, err := ask(ctx, s, req, decodeNothing)
	return err
}

// Close ends the calls under way and refuses new ones.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.calls {
		c.cancel(errClosed)
	}
	return nil
}

var errClosed = errors.New("the store is closed")

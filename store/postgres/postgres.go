package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Times of the store.
const (
	Deadline       = 3 * time.Second  // every call ends within it
	connectTimeout = 2 * time.Second  // for one connection
	openTimeout    = 30 * time.Second // connecting, checking and migrating
)

// defaultMaxConns is enough for one writer and a few readers, and leaves a server
// with its usual 100 connections room for many nodes.
const defaultMaxConns = 6

// Config says which database to use.
type Config struct {
	// DSN is the connection string, as a URL or as keywords. What it leaves out
	// comes from the environment, as with all programs of PostgreSQL.
	DSN string
	// MaxConns bounds the connections of this node. 0 = pool_max_conns of the
	// DSN, or 6.
	MaxConns int
	// ManualMigration leaves migrating to Migrate. A database that lacks
	// migrations is refused then.
	ManualMigration bool
	// Log receives what an operator should know. nil = silent.
	Log *slog.Logger
}

// Store is a config store in PostgreSQL.
type Store struct {
	cfg    *pgxpool.Config
	manual bool
	name   string // of the server, for texts
	log    *slog.Logger
	life   context.Context // ends with Close
	end    context.CancelFunc
	cut    context.CancelFunc // closes all connections at once
	work   sync.WaitGroup     // attempts to open

	mu      sync.Mutex
	closed  bool
	pool    *pgxpool.Pool    // nil before the first use
	ready   bool             // the database was checked and migrated
	attempt *attempt         // the one under way, if any
	cluster muster.ClusterID // as first seen; a store does not change clusters
}

// attempt is one try to open the database, on which many calls may wait.
type attempt struct {
	done chan struct{}
	err  error // valid once done is closed
}

// New returns a store. It reads the connection string and does no I/O.
func New(cfg Config) (*Store, error) {
	pool, err := parseDSN(cfg.DSN)
	if err != nil {
		return nil, err
	}
	configure(pool, cfg)
	s := &Store{cfg: pool, manual: cfg.ManualMigration, name: serverName(pool.ConnConfig), log: cfg.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("component", "store", "store", string(store.KindPostgres), "server", s.name)
	s.life, s.end = context.WithCancel(context.Background())
	cut, cutAll := context.WithCancel(context.Background())
	s.cut = cutAll
	pool.ConnConfig.DialFunc = dialer(cut)
	return s, nil
}

func configure(pool *pgxpool.Config, cfg Config) {
	if cfg.MaxConns > 0 {
		pool.MaxConns = int32(min(cfg.MaxConns, 1000))
	} else if !strings.Contains(cfg.DSN, "pool_max_conns") {
		pool.MaxConns = defaultMaxConns
	}
	conn := pool.ConnConfig
	if conn.ConnectTimeout == 0 || conn.ConnectTimeout > connectTimeout {
		conn.ConnectTimeout = connectTimeout
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "muster"
	}
	if conn.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// Named prepared statements do not survive a pooler in transaction mode.
		conn.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
}

func serverName(cfg *pgx.ConnConfig) string {
	if isLocal(cfg.Host) && net.ParseIP(cfg.Host) == nil && cfg.Host != "localhost" {
		return cfg.Host + "/" + cfg.Database
	}
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) + "/" + cfg.Database
}

// Kind returns store.KindPostgres.
func (s *Store) Kind() store.Kind { return store.KindPostgres }

// Plaintext reports whether the connection crosses a network unencrypted, which
// the connection string then asks for.
func (s *Store) Plaintext() bool {
	for _, h := range hosts(s.cfg.ConnConfig) {
		if h.plain && !isLocal(h.name) {
			return true
		}
	}
	return false
}

// Close ends all calls under way and all connections: politely at first, and after
// a second without asking.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
	s.mu.Lock()
	pool := s.pool
	s.pool = nil
	s.mu.Unlock()
	hurry := time.AfterFunc(lingerTime, s.cut)
	defer hurry.Stop()
	if pool != nil {
		pool.Close()
	}
	s.cut()
	return nil
}

// bound limits ctx to the deadline and to the life of the store.
func (s *Store) bound(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// read runs a query that may safely run twice, which it does when a connection
// turns out to be dead.
func (s *Store) read(ctx context.Context, what string, query func(context.Context, *pgxpool.Pool) error) error {
	ctx, cancel := s.bound(ctx, Deadline)
	defer cancel()
	for try := 0; ; try++ {
		pool, err := s.open(ctx)
		if err == nil {
			err = query(ctx, pool)
		}
		if try > 0 || !s.again(ctx, err) {
			return s.explain(ctx, what, err)
		}
	}
}

// again reports whether a call that failed may succeed at once on another
// connection, and drops the connections that are likely as dead as this one.
func (s *Store) again(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || !isBroken(err) {
		return false
	}
	s.mu.Lock()
	pool := s.pool
	s.mu.Unlock()
	if pool != nil {
		pool.Reset()
	}
	return true
}

// open returns the pool of a database that is ready for use. Callers share one
// attempt, which outlives those who give up waiting for it.
func (s *Store) open(ctx context.Context) (*pgxpool.Pool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	if s.ready {
		defer s.mu.Unlock()
		return s.pool, nil
	}
	a := s.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		s.attempt = a
		s.work.Go(func() { s.try(a) })
	}
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-a.done:
	}
	if a.err != nil {
		return nil, a.err
	}
	return s.open(ctx)
}

func (s *Store) try(a *attempt) {
	ctx, cancel := s.bound(context.Background(), openTimeout)
	defer cancel()
	pool, err := s.connect(ctx)
	if err == nil {
		err = s.prepare(ctx, pool)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.err, s.attempt, s.ready = err, nil, err == nil
	close(a.done)
}

// connect makes the pool, which itself connects later.
func (s *Store) connect(ctx context.Context) (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.pool != nil {
		return s.pool, nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, s.cfg)
	if err != nil {
		return nil, fmt.Errorf("make a connection pool: %w", err)
	}
	s.pool = pool
	return pool, nil
}

// prepare checks the database and brings its schema up to date.
func (s *Store) prepare(ctx context.Context, pool *pgxpool.Pool) error {
	return pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if err := checkEncoding(conn.Conn().PgConn(), s.cfg.ConnConfig.Database); err != nil {
			return err
		}
		m := migrator{conn: conn.Conn(), manual: s.manual, log: s.log}
		return m.run(ctx)
	})
}

func checkEncoding(conn *pgconn.PgConn, database string) error {
	encoding := conn.ParameterStatus("server_encoding")
	if encoding == "UTF8" {
		return nil
	}
	return muster.Errorf(muster.CodeStoreUnavailable, "the database %s has encoding %s and cannot hold every text", database, encoding).
		WithFix("create it with UTF8: createdb -E UTF8 -T template0 %s", database)
}

// forgetSchema makes the next call check the database again: its tables are gone.
func (s *Store) forgetSchema() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
}

// Migrate brings the schema up to date, whether or not ManualMigration is set.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, cancel := s.bound(ctx, openTimeout)
	defer cancel()
	pool, err := s.connect(ctx)
	if err == nil {
		err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			m := migrator{conn: conn.Conn(), log: s.log}
			return m.run(ctx)
		})
	}
	return s.explain(ctx, "migrate the database", err)
}

// Pending names the migrations that the database lacks.
func (s *Store) Pending(ctx context.Context) ([]string, error) {
	ctx, cancel := s.bound(ctx, Deadline)
	defer cancel()
	var names []string
	pool, err := s.connect(ctx)
	if err == nil {
		err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			pending, err := pendingOf(ctx, conn.Conn())
			for _, m := range pending {
				names = append(names, fmt.Sprintf("%04d_%s", m.Version, m.Name))
			}
			return err
		})
	}
	return names, s.explain(ctx, "look at the schema", err)
}

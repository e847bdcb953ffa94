package postgres_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/postgres"
	"github.com/musterhq/muster/store/storetest"
)

// server is shared by the tests that do not disturb it.
var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &server)) }

func open(t testing.TB, cfg postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, postgres.Config{DSN: server.Database(t)})
	})
}

// migrationNames are all migrations of the database, in order.
var migrationNames = []string{"init", "lease"}

func TestManyNodesMigrateAndFormOnce(t *testing.T) {
	t.Parallel()
	dsn := server.Database(t)
	var log lockedBuffer
	formed := make([]store.Cluster, 8)
	var wg sync.WaitGroup
	for i := range formed {
		s := open(t, postgres.Config{DSN: dsn, MaxConns: 2, Log: slog.New(slog.NewTextHandler(&log, nil))})
		wg.Go(func() {
			var err error
			if formed[i], err = s.Form(t.Context(), muster.NewClusterID()); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i, c := range formed {
		if c != formed[0] {
			t.Errorf("node %d formed %+v, node 0 %+v", i, c, formed[0])
		}
	}
	for _, name := range migrationNames {
		if n := strings.Count(log.String(), "name="+name+"\n"); n != 1 {
			t.Errorf("%d nodes ran the migration %s, want 1:\n%s", n, name, log.String())
		}
	}
}

// lockedBuffer is a log that many write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestSeveralNodesMissNoRevision(t *testing.T) {
	t.Parallel()
	dsn := server.Database(t)
	const nodes, each = 4, 40
	reader := open(t, postgres.Config{DSN: dsn})
	storetest.Form(t, reader)
	var wg sync.WaitGroup
	for range nodes {
		s := open(t, postgres.Config{DSN: dsn})
		wg.Go(func() {
			for range each {
				if _, err := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`), storetest.Put("route", "b", `1`)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var seen int64
	for seen < 2*nodes*each && !t.Failed() {
		changes, err := reader.Changes(t.Context(), seen, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if seen++; c.Rev != seen {
				t.Fatalf("saw revision %d, want %d", c.Rev, seen)
			}
		}
	}
	wg.Wait()
	storetest.History(t, reader, 1000)
}

func TestUnsuitableDatabasesSayWhy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, database string)
		args  []string // of createdb
		want  want
	}{
		"another encoding": {args: []string{"-E", "SQL_ASCII", "--locale=C"}, want: want{muster.CodeStoreUnavailable, "SQL_ASCII", "createdb -E UTF8"}},
		"a newer schema": {want: want{muster.CodeStoreSchema, "newer than this binary", "upgrade"}, spoil: func(t *testing.T, db string) {
			server.SQL(t, db, "insert into schema_migration (version, name, sha256) select max(version) + 1, 'later', 'x' from schema_migration")
		}},
		"a schema from another file": {want: want{muster.CodeStoreSchema, "another file", "search_path"}, spoil: func(t *testing.T, db string) {
			server.SQL(t, db, "update schema_migration set sha256 = 'x'")
		}},
		"a schema that is read-only": {want: want{muster.CodeStoreUnavailable, "read-only", "primary"}, spoil: func(t *testing.T, db string) {
			server.SQL(t, db, "drop table schema_migration; alter database "+db+" set default_transaction_read_only = on")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := server.CreateDatabase(t, tc.args...)
			if tc.spoil != nil {
				storetest.Form(t, open(t, postgres.Config{DSN: server.SocketDSN(db)}))
				tc.spoil(t, db)
			}
			_, err := open(t, postgres.Config{DSN: server.SocketDSN(db)}).Cluster(t.Context())
			wantError(t, err, tc.want)
		})
	}
}

// want is what an error must be and contain.
type want struct {
	code      muster.Code
	text, fix string
}

func wantError(t *testing.T, err error, want want) {
	t.Helper()
	e, ok := errors.AsType[*muster.Error](err)
	if !ok || e.Code != want.code || !strings.Contains(e.Text, want.text) || !strings.Contains(e.Advice(), want.fix) {
		t.Errorf("got %v, want %+v", err, want)
	}
}

func TestMigratingByHandIsPossible(t *testing.T) {
	t.Parallel()
	dsn := server.Database(t)
	s := open(t, postgres.Config{DSN: dsn, ManualMigration: true})
	_, err := s.Cluster(t.Context())
	wantError(t, err, want{muster.CodeStoreSchema, "lacks 2 migrations", "migrate --apply"})
	if pending, err := s.Pending(t.Context()); err != nil || !slices.Equal(pending, []string{"0001_init", "0002_lease"}) {
		t.Errorf("pending: got %q, %v", pending, err)
	}
	for range 2 {
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if pending, err := s.Pending(t.Context()); err != nil || len(pending) != 0 {
		t.Errorf("after: got %q, %v", pending, err)
	}
	storetest.Form(t, s)
}

func TestTwoClustersShareADatabaseInTwoSchemas(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	server.SQL(t, db, "create schema one; create schema two")
	for _, schema := range []string{"one", "two"} {
		s := open(t, postgres.Config{DSN: server.SocketDSN(db) + "&search_path=" + schema})
		storetest.Form(t, s)
		if c := storetest.MustApply(t, s, storetest.Put("route", "a", `1`))[0]; c.Rev != 1 {
			t.Errorf("schema %s: the first revision is %d", schema, c.Rev)
		}
	}
}

func TestExchangedDatabaseRefusesWrites(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: server.SocketDSN(db)})
	storetest.Form(t, s)
	server.SQL(t, db, "update config_cluster set cluster_id = 'ffffffff-ffff-4fff-8fff-ffffffffffff'")
	_, err := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
	wantError(t, err, want{muster.CodeStoreMismatch, "ffffffff-ffff", ""})
}

func TestDroppedTablesComeBackEmpty(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: server.SocketDSN(db)})
	storetest.Form(t, s)
	server.SQL(t, db, "drop schema public cascade; create schema public")
	_, err := s.Head(t.Context())
	wantError(t, err, want{muster.CodeStoreUnavailable, "tables of muster are missing", ""})
	if _, err := s.Head(t.Context()); err != store.ErrNoCluster { //nolint:errorlint // exactly this one
		t.Errorf("got %v, want ErrNoCluster", err)
	}
}

// The server function is the last line of defence: it is asked directly here,
// past the checks in Go.
func TestServerFunctionIsolatesPoison(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: server.SocketDSN(db)})
	c := storetest.Form(t, s)
	server.SQL(t, db, `do $$
	declare codes text;
	begin
		select string_agg(o_code, ',' order by o_idx) into codes from config_apply_v1('`+string(c.ID)+`',
			array[1,1,1,1,1]::smallint[], array['k','k','k','k','k'], array['a','b','c','d','e'],
			array['1','{"a":','"\u0000"','"' || repeat('x', 262144) || '"','2'], array[0,0,0,0,0],
			array['','','','',''], array['','','','',''], array['','','','',''], array[null,null,null,null,null]::text[], array[1,2,3,4,5]);
		if codes <> ',bad-document,bad-document,bad-document,' then raise 'codes are %', codes; end if;
	end $$`)
	if history := storetest.History(t, s, 10); len(history) != 2 || history[1].Name != "e" {
		t.Errorf("got %+v", history)
	}
}

func TestWritesAreDurableWhateverTheDefault(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t) // this server runs with synchronous_commit = off
	s := open(t, postgres.Config{DSN: server.SocketDSN(db)})
	c := storetest.Form(t, s)
	server.SQL(t, db, `do $$
	begin
		perform config_apply_v1('`+string(c.ID)+`', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
		if current_setting('synchronous_commit') <> 'on' then raise 'synchronous_commit is %', current_setting('synchronous_commit'); end if;
	end $$`)
}

func TestCloseEndsAWaitForTheServer(t *testing.T) {
	t.Parallel()
	own := pgtest.New(t)
	s := open(t, postgres.Config{DSN: own.Database(t)})
	storetest.Form(t, s)
	own.Pause()
	defer own.Resume()
	done := make(chan error, 1)
	go func() {
		_, err := s.Head(t.Context())
		done <- err
	}()
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; muster.CodeOf(err) != muster.CodeStoreUnavailable {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("close took %v", took)
	}
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	driver "modernc.org/sqlite"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/migrations"
	"github.com/musterhq/muster/store"
)

// Deadline is how long a call may wait when its context allows longer.
const Deadline = 3 * time.Second

// busyTimeout is how long to wait for another process that holds the file.
const busyTimeout = 2500 * time.Millisecond

// Levels of syncing.
const (
	syncFull   = "FULL"   // each commit reaches the disk
	syncNormal = "NORMAL" // the last commits may be lost with the power
)

// Codes of SQLite (https://www.sqlite.org/rescode.html), without their details.
const (
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeIO       = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotADB   = 26
)

// file is an open SQLite file with one connection to write and some to read.
type file struct {
	path    string
	writer  *sql.DB
	readers *sql.DB
	life    context.Context // ends with close
	end     context.CancelFunc

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // under way; added to only while not closed
}

// openFile opens or creates the file, checks that it is sound and brings its
// schema up to date. Its errors have CodeDataDir or CodeStoreSchema.
func openFile(path, syncLevel string) (*file, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	// Made here, since SQLite would let others read it.
	created, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(path, err)
	}
	if err := created.Close(); err != nil {
		return nil, unusable(path, err)
	}
	f := &file{path: path}
	f.life, f.end = context.WithCancel(context.Background())
	if f.writer, err = openPool(path, syncLevel, "immediate", 1); err != nil {
		return nil, unusable(path, err)
	}
	if err := f.prepare(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.readers, err = openPool(path, syncLevel, "deferred", 4); err != nil {
		return nil, errors.Join(unusable(path, err), f.close())
	}
	return f, nil
}

func openPool(path, syncLevel, lock string, conns int) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_txlock": {lock},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "journal_mode(WAL)",
			"synchronous(" + syncLevel + ")", "foreign_keys(1)",
		},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// prepare looks for damage and migrates.
func (f *file) prepare() error {
	var verdict string
	if err := f.writer.QueryRow("pragma quick_check(1)").Scan(&verdict); err != nil {
		return f.explainOpen(err)
	}
	if verdict != "ok" {
		return damaged(f.path, verdict)
	}
	return f.explainOpen(inTx(f.writer, migrate))
}

// inTx runs do in a transaction of its own. It is not bound to a context: what
// has begun is finished, so that the outcome of a commit is always known.
func inTx(db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // the first error says more
		return err
	}
	return tx.Commit()
}

func migrate(tx *sql.Tx) error {
	_, err := tx.Exec(`create table if not exists schema_migration (
		version integer primary key, name text not null, sha256 text not null, applied_at integer not null) strict`)
	if err != nil {
		return fmt.Errorf("create table schema_migration: %w", err)
	}
	applied, err := appliedMigrations(tx)
	if err != nil {
		return fmt.Errorf("read table schema_migration: %w", err)
	}
	all, err := migrations.SQLite()
	if err != nil {
		return err
	}
	pending, err := migrations.Pending(all, applied)
	if err != nil {
		return err
	}
	for _, p := range pending {
		if _, err := tx.Exec(p.SQL); err != nil {
			return fmt.Errorf("run migration %04d_%s: %w", p.Version, p.Name, err)
		}
		_, err := tx.Exec("insert into schema_migration values (?, ?, ?, ?)", p.Version, p.Name, p.SHA256, now().UnixMicro())
		if err != nil {
			return fmt.Errorf("record migration %04d_%s: %w", p.Version, p.Name, err)
		}
	}
	return nil
}

func appliedMigrations(tx *sql.Tx) ([]migrations.Applied, error) {
	rows, err := tx.Query("select version, name, sha256 from schema_migration order by version")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var applied []migrations.Applied
	for rows.Next() {
		var a migrations.Applied
		if err := rows.Scan(&a.Version, &a.Name, &a.SHA256); err != nil {
			return nil, err
		}
		applied = append(applied, a)
	}
	return applied, rows.Err()
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// close ends calls under way and releases the file.
func (f *file) close() error {
	f.mu.Lock()
	already := f.closed
	f.closed = true
	f.mu.Unlock()
	if already {
		return nil
	}
	f.end()
	f.calls.Wait()
	var errs []error
	for _, db := range []*sql.DB{f.readers, f.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return unusable(f.path, err)
	}
	return nil
}

// call runs do as one call of the contract: bounded in time, refused after close,
// and with the errors of the contract.
func (f *file) call(ctx context.Context, what string, do func(context.Context) error) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return muster.Errorf(muster.CodeStoreUnavailable, "%s: the store is closed", what)
	}
	f.calls.Add(1)
	f.mu.Unlock()
	defer f.calls.Done()

	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	defer context.AfterFunc(f.life, cancel)()
	err := ctx.Err()
	if err == nil {
		err = do(ctx)
	}
	return f.explain(what, err)
}

// write runs do in a transaction once the writing connection is free.
func (f *file) write(ctx context.Context, what string, do func(*sql.Tx) error) error {
	return f.call(ctx, what, func(ctx context.Context) error {
		conn, err := f.writer.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
		if err != nil {
			return err
		}
		if err := do(tx); err != nil {
			_ = tx.Rollback() // the first error says more
			return err
		}
		return tx.Commit()
	})
}

// explain makes an error of the driver one of the store's contract.
func (f *file) explain(what string, err error) error {
	if err == nil || errors.Is(err, store.ErrNoCluster) || errors.Is(err, store.ErrCompacted) {
		return err
	}
	if _, done := errors.AsType[*muster.Error](err); done {
		return err
	}
	unavailable := func(why string) error {
		return muster.Errorf(muster.CodeStoreUnavailable, "%s in %s: %s: %w", what, f.path, why, err)
	}
	if f.life.Err() != nil {
		return muster.Errorf(muster.CodeStoreUnavailable, "%s: the store is closed", what)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return unavailable("the caller gave up")
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable("other writes take too long")
	}
	if errors.Is(err, errDigest) {
		return damaged(f.path, err.Error())
	}
	switch codeOf(err) {
	case codeCorrupt, codeNotADB:
		return damaged(f.path, err.Error())
	case codeFull:
		return unavailable("the disk is full")
	case codeIO:
		return unavailable("the disk reports an error")
	case codeReadOnly, codeCantOpen:
		return unavailable("the file cannot be written")
	case codeBusy, codeLocked:
		return unavailable("another process holds the file")
	}
	return unavailable("it does not work")
}

// codeOf returns the code of SQLite without its details, or 0.
func codeOf(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func (f *file) explainOpen(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, migrations.ErrNewer), errors.Is(err, migrations.ErrChanged):
		return muster.Errorf(muster.CodeStoreSchema, "open %s: %w", f.path, err)
	case codeOf(err) == codeCorrupt, codeOf(err) == codeNotADB:
		return damaged(f.path, err.Error())
	}
	return unusable(f.path, err)
}

func unusable(path string, err error) error {
	return muster.Errorf(muster.CodeDataDir, "open %s: %w", path, err)
}

func damaged(path, detail string) *muster.Error {
	return muster.Errorf(muster.CodeDataDir, "the file %s is %w: %s", path, errDamaged, muster.Printable(detail)).
		WithFix("put a backup of the file in its place, or move it away and let the node fetch the configuration from the others")
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/migrations"
)

// migrationLock is the key of the advisory lock: "muster" in ASCII.
const migrationLock = 0x6d7573746572

// migrator brings the schema of one database up to date.
type migrator struct {
	conn   *pgx.Conn
	manual bool
	log    *slog.Logger
}

func (m *migrator) run(ctx context.Context) error {
	pending, err := pendingOf(ctx, m.conn)
	if err != nil || len(pending) == 0 {
		return err
	}
	if m.manual {
		return muster.Errorf(muster.CodeStoreSchema, "the database lacks %d migrations, and migrating is left to you", len(pending)).
			WithFix("run muster store migrate --apply")
	}
	return pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error { return m.apply(ctx, tx) })
}

// apply runs what is still pending once the lock is held: another node may have
// been faster.
func (m *migrator) apply(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("wait for other nodes that migrate: %w", err)
	}
	_, err := tx.Exec(ctx, `create table if not exists schema_migration (
		version integer primary key, name text not null, sha256 text not null,
		applied_at timestamptz not null default clock_timestamp())`)
	if err != nil {
		return fmt.Errorf("create table schema_migration: %w", err)
	}
	pending, err := pendingOf(ctx, tx)
	if err != nil {
		return err
	}
	for _, p := range pending {
		// The simple protocol takes a file with many statements.
		if _, err := tx.Exec(ctx, p.SQL, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("run migration %04d_%s: %w", p.Version, p.Name, err)
		}
		_, err := tx.Exec(ctx, "insert into schema_migration (version, name, sha256) values ($1, $2, $3)", p.Version, p.Name, p.SHA256)
		if err != nil {
			return fmt.Errorf("record migration %04d_%s: %w", p.Version, p.Name, err)
		}
		m.log.InfoContext(ctx, "migrated the database", "version", p.Version, "name", p.Name)
	}
	return nil
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// pendingOf returns the migrations that a database lacks.
func pendingOf(ctx context.Context, db querier) ([]migrations.Migration, error) {
	all, err := migrations.Postgres()
	if err != nil {
		return nil, err
	}
	var exists bool
	if err := db.QueryRow(ctx, "select to_regclass('schema_migration') is not null").Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for table schema_migration: %w", err)
	}
	var applied []migrations.Applied
	if exists {
		rows, err := db.Query(ctx, "select version, name, sha256 from schema_migration order by version")
		if err == nil {
			applied, err = pgx.CollectRows(rows, pgx.RowToStructByPos[migrations.Applied])
		}
		if err != nil {
			return nil, fmt.Errorf("read table schema_migration: %w", err)
		}
	}
	pending, err := migrations.Pending(all, applied)
	return pending, schemaError(err)
}

func schemaError(err error) error {
	switch {
	case errors.Is(err, migrations.ErrNewer):
		return muster.Errorf(muster.CodeStoreSchema, "%w", err)
	case errors.Is(err, migrations.ErrChanged):
		return muster.Errorf(muster.CodeStoreSchema, "%w", err).
			WithFix("use a released binary, or another database or schema (search_path in the connection string)")
	}
	return err
}

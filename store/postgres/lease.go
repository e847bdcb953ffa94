package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Acquire implements store.Leases.
func (s *Store) Acquire(ctx context.Context, c store.Claim) (store.Lease, error) {
	return s.claim(ctx, c, statement{
		what: "acquire", query: "select $1::text, l.* from lease_acquire_v1($1, $2, $3, $4, $5) l",
		args: []any{c.Name, string(c.Holder), int64(c.Boot.Counter), int64(c.Boot.Random), c.TTL.Microseconds()},
	})
}

// Renew implements store.Leases.
func (s *Store) Renew(ctx context.Context, c store.Claim) (store.Lease, error) {
	return s.claim(ctx, c, statement{
		what: "renew", query: "select $1::text, l.* from lease_renew_v1($1, $2, $3, $4, $5, $6) l",
		args: []any{c.Name, string(c.Holder), int64(c.Boot.Counter), int64(c.Boot.Random), c.Term, c.TTL.Microseconds()},
	})
}

// statement is one that may safely run twice.
type statement struct {
	what, query string
	args        []any
}

// claim runs a statement that answers with the lease.
func (s *Store) claim(ctx context.Context, c store.Claim, st statement) (store.Lease, error) {
	if err := c.Check(); err != nil {
		return store.Lease{}, err
	}
	held := store.Lease{Name: c.Name}
	err := s.read(ctx, st.what+" lease "+c.Name, func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, st.query, st.args...)
		if err != nil {
			return err
		}
		row, err := pgx.CollectOneRow(rows, scanLease)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // a lease that nobody ever had
		}
		held = row
		return err
	})
	if err != nil {
		return store.Lease{}, err
	}
	return held, nil
}

func scanLease(row pgx.CollectableRow) (store.Lease, error) {
	var l store.Lease
	var counter, random, ttl, left int64
	err := row.Scan(&l.Name, &l.Holder, &counter, &random, &l.Term, &ttl, &l.Since, &l.Expires, &left)
	l.Boot = muster.Boot{Counter: uint64(counter), Random: uint64(random)}
	l.TTL, l.Left = time.Duration(ttl)*time.Microsecond, time.Duration(left)*time.Microsecond
	l.Since, l.Expires = l.Since.UTC(), l.Expires.UTC()
	return l, err
}

// Release implements store.Leases.
func (s *Store) Release(ctx context.Context, c store.Claim) error {
	if err := c.Check(); err != nil {
		return err
	}
	return s.read(ctx, "release lease "+c.Name, func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, `update lease set holder = '', boot_counter = 0, boot_random = 0, expires_at = clock_timestamp()
			where name = $1 and holder = $2 and boot_counter = $3 and boot_random = $4 and term = $5 and expires_at > clock_timestamp()`,
			c.Name, string(c.Holder), int64(c.Boot.Counter), int64(c.Boot.Random), c.Term)
		return err
	})
}

// Leases implements store.Leases.
func (s *Store) Leases(ctx context.Context) ([]store.Lease, error) {
	var list []store.Lease
	err := s.read(ctx, "read the leases", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, `select name, holder, boot_counter, boot_random, term, ttl, since, expires_at,
				case when holder = '' then 0 else greatest(0, extract(epoch from expires_at - clock_timestamp()) * 1000000) end::bigint
			from lease where term > 0 order by name`)
		if err == nil {
			list, err = pgx.CollectRows(rows, scanLease)
		}
		return err
	})
	return list, err
}

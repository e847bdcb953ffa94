package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

const leaseColumns = "name, holder, boot_counter, boot_random, term, ttl, since, expires_at"

// Acquire implements store.Leases.
func (s *Store) Acquire(ctx context.Context, c store.Claim) (store.Lease, error) {
	if err := c.Check(); err != nil {
		return store.Lease{}, err
	}
	// Those who wait need no write, and so no fsync.
	held, err := s.leaseNow(ctx, c.Name)
	if err != nil || held.Left > 0 && !held.HeldBy(c) {
		return held, err
	}
	return s.decide(ctx, "acquire", c, store.Lease.Acquired)
}

// Renew implements store.Leases.
func (s *Store) Renew(ctx context.Context, c store.Claim) (store.Lease, error) {
	return s.decide(ctx, "renew", c, store.Lease.Renewed)
}

// Release implements store.Leases.
func (s *Store) Release(ctx context.Context, c store.Claim) error {
	_, err := s.decide(ctx, "release", c, store.Lease.Released)
	return err
}

// leaseNow reads a lease without locking anything. One whose end lies too far ahead,
// since the clock was set back while no process had the file, counts as free here,
// so that the write which follows can put it right.
func (s *Store) leaseNow(ctx context.Context, name string) (store.Lease, error) {
	var held store.Lease
	err := s.file.call(ctx, "read lease "+name, func(ctx context.Context) (err error) {
		held, err = readLease(ctx, s.file.readers, name)
		return err
	})
	if err != nil {
		return store.Lease{}, err
	}
	if at := s.now(); held.Expires.Sub(at) <= held.TTL {
		return held.At(at), nil
	}
	return held, nil
}

// now is a clock that nobody sets: it runs on from the time of day of Open.
func (s *Store) now() time.Time {
	return s.begun.Add(time.Since(s.begun)).UTC().Truncate(time.Microsecond)
}

func (s *Store) decide(ctx context.Context, verb string, c store.Claim, decide func(store.Lease, store.Claim, time.Time) store.Lease) (store.Lease, error) {
	if err := c.Check(); err != nil {
		return store.Lease{}, err
	}
	var after store.Lease
	err := s.file.write(ctx, verb+" lease "+c.Name, func(tx *sql.Tx) error {
		before, err := readLease(ctx, tx, c.Name)
		if err != nil {
			return err
		}
		if after = decide(before, c, s.now()); after.Term == 0 {
			return nil // a lease that nobody ever had
		}
		_, err = tx.Exec("insert or replace into lease ("+leaseColumns+") values (?, ?, ?, ?, ?, ?, ?, ?)",
			after.Name, string(after.Holder), int64(after.Boot.Counter), int64(after.Boot.Random), after.Term,
			after.TTL.Microseconds(), after.Since.UnixMicro(), after.Expires.UnixMicro())
		return err
	})
	if err != nil {
		return store.Lease{}, err
	}
	return after, nil
}

// readLease returns the row, or a lease without a term if there is none.
func readLease(ctx context.Context, db queryer, name string) (store.Lease, error) {
	held, err := scanLease(db.QueryRowContext(ctx, "select "+leaseColumns+" from lease where name = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Lease{Name: name}, nil
	}
	return held, err
}

func scanLease(row interface{ Scan(into ...any) error }) (store.Lease, error) {
	var l store.Lease
	var counter, random, ttl, since, expires int64
	err := row.Scan(&l.Name, &l.Holder, &counter, &random, &l.Term, &ttl, &since, &expires)
	l.Boot = muster.Boot{Counter: uint64(counter), Random: uint64(random)}
	l.TTL, l.Since, l.Expires = time.Duration(ttl)*time.Microsecond, timeOf(since), timeOf(expires)
	return l, err
}

// Leases implements store.Leases.
func (s *Store) Leases(ctx context.Context) ([]store.Lease, error) {
	list := []store.Lease{}
	err := s.file.call(ctx, "read the leases", func(ctx context.Context) error {
		rows, err := s.file.readers.QueryContext(ctx, "select "+leaseColumns+" from lease order by name")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			l, err := scanLease(rows)
			if err != nil {
				return fmt.Errorf("read a lease: %w", err)
			}
			list = append(list, l.At(s.now()))
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Store is a config store in one file.
type Store struct {
	file  *file
	begun time.Time // the clock of leases runs on from here, whatever is set meanwhile
}

// Open opens the store in a file and creates it if there is none. A file that
// cannot be used or is damaged is CodeDataDir, one that a newer version has
// written CodeStoreSchema.
func Open(path string) (*Store, error) {
	f, err := openFile(path, syncFull)
	if err != nil {
		return nil, err
	}
	return &Store{file: f, begun: time.Now()}, nil
}

// Kind returns store.KindSQLite.
func (s *Store) Kind() store.Kind { return store.KindSQLite }

// Close ends calls under way and releases the file.
func (s *Store) Close() error { return s.file.close() }

// Cluster implements store.Store.
func (s *Store) Cluster(ctx context.Context) (store.Cluster, error) {
	var c store.Cluster
	err := s.file.call(ctx, "read the cluster's identity", func(ctx context.Context) (err error) {
		c, err = readCluster(ctx, s.file.readers)
		return err
	})
	return c, err
}

// queryer is a database or a transaction.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func readCluster(ctx context.Context, db queryer) (store.Cluster, error) {
	var c store.Cluster
	var created int64
	err := db.QueryRowContext(ctx, "select cluster_id, epoch, created_at from config_cluster").Scan(&c.ID, &c.Epoch, &created)
	if err != nil {
		return store.Cluster{}, noCluster(err)
	}
	c.Created = timeOf(created)
	return c, nil
}

func noCluster(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNoCluster
	}
	return err
}

// Form implements store.Store.
func (s *Store) Form(ctx context.Context, id muster.ClusterID) (store.Cluster, error) {
	if err := store.CheckForm(id); err != nil {
		return store.Cluster{}, err
	}
	var c store.Cluster
	err := s.file.write(ctx, "form the cluster", func(tx *sql.Tx) (err error) {
		if c, err = readCluster(ctx, tx); !errors.Is(err, store.ErrNoCluster) {
			return err
		}
		c = store.Cluster{ID: id, Epoch: 1, Created: now()}
		return insertCluster(tx, c, muster.Position{Chain: config.Genesis(id)}, 0)
	})
	if err != nil {
		return store.Cluster{}, err
	}
	return c, nil
}

func insertCluster(tx *sql.Tx, c store.Cluster, at muster.Position, items int) error {
	_, err := tx.Exec("insert into config_cluster (cluster_id, epoch, created_at) values (?, ?, ?)", string(c.ID), c.Epoch, c.Created.UnixMicro())
	if err != nil {
		return fmt.Errorf("insert the cluster: %w", err)
	}
	_, err = tx.Exec("insert into config_head (rev, chain, items, compacted_rev) values (?, ?, ?, ?)", at.Rev, at.Chain[:], items, at.Rev)
	if err != nil {
		return fmt.Errorf("insert the head: %w", err)
	}
	return nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Head, error) {
	var h store.Head
	err := s.file.call(ctx, "read the head", func(ctx context.Context) (err error) {
		h, err = readHead(ctx, s.file.readers)
		return err
	})
	return h, err
}

func readHead(ctx context.Context, db queryer) (store.Head, error) {
	var h store.Head
	var chain []byte
	err := db.QueryRowContext(ctx, "select epoch, rev, chain, items, compacted_rev from config_head cross join config_cluster").
		Scan(&h.Epoch, &h.Rev, &chain, &h.Items, &h.Compacted)
	copy(h.Chain[:], chain)
	return h, noCluster(err)
}

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	var changes []muster.Change
	err := s.file.call(ctx, "read changes", func(ctx context.Context) (err error) {
		changes, err = readChanges(ctx, s.file.readers, after, store.Limit(limit))
		return err
	})
	return changes, err
}

// History implements store.Store.
func (s *Store) History(ctx context.Context, p store.Past) (store.History, error) {
	var h store.History
	err := s.file.call(ctx, "read the history", func(ctx context.Context) (err error) {
		h, err = readHistory(ctx, s.file.readers, p.Bounds())
		return err
	})
	return h, err
}

// Snapshot implements store.Store.
func (s *Store) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	var snap *store.Snapshot
	err := s.file.call(ctx, "read a snapshot", func(ctx context.Context) (err error) {
		snap, err = readSnapshot(ctx, s.file.readers)
		return err
	})
	return snap, err
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if err := store.CheckBatch(writes); err != nil {
		return nil, err
	}
	var outcomes []store.Outcome
	err := s.file.write(ctx, "write", func(sqlTx *sql.Tx) error {
		head, err := readHead(ctx, sqlTx)
		if err != nil {
			return err
		}
		tx := &fileTx{statements: newStatements(sqlTx), items: head.Items}
		var at muster.Position
		if outcomes, at, err = store.Run(tx, head.Position, now(), writes); err != nil || at == head.Position {
			return err
		}
		return setHead(sqlTx, at, tx.items)
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

func setHead(tx *sql.Tx, at muster.Position, items int64) error {
	if _, err := tx.Exec("update config_head set rev = ?, chain = ?, items = ?", at.Rev, at.Chain[:], items); err != nil {
		return fmt.Errorf("advance the head: %w", err)
	}
	return nil
}

// Compact forgets the changes up to a revision.
func (s *Store) Compact(ctx context.Context, upTo int64) error {
	return s.file.write(ctx, "compact the log", func(tx *sql.Tx) error { return compact(ctx, tx, upTo) })
}

func compact(ctx context.Context, tx *sql.Tx, upTo int64) error {
	head, err := readHead(ctx, tx)
	if err != nil {
		return err
	}
	upTo = max(head.Compacted, min(upTo, head.Rev))
	if _, err := tx.Exec("update config_head set compacted_rev = ?", upTo); err != nil {
		return fmt.Errorf("advance the compacted revision: %w", err)
	}
	if _, err := tx.Exec("delete from config_change where rev <= ?", upTo); err != nil {
		return fmt.Errorf("delete old changes: %w", err)
	}
	return nil
}

// Members implements store.Store.
func (s *Store) Members(ctx context.Context) ([]store.Member, error) {
	members := []store.Member{}
	err := s.file.call(ctx, "read the members", func(ctx context.Context) error {
		rows, err := s.file.readers.QueryContext(ctx, `select node_id, name, url, boot_counter, boot_random, role, version, zone, state, joined_at, seen_at
			from member order by node_id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m, err := scanMember(rows)
			if err != nil {
				return err
			}
			members = append(members, m)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

func scanMember(rows *sql.Rows) (store.Member, error) {
	var m store.Member
	var counter, random, joined, seen int64
	err := rows.Scan(&m.ID, &m.Name, &m.Endpoint, &counter, &random, &m.Role, &m.Version, &m.Zone, &m.State, &joined, &seen)
	m.Boot = muster.Boot{Counter: uint64(counter), Random: uint64(random)}
	m.JoinedAt, m.SeenAt = timeOf(joined), timeOf(seen)
	return m, err
}

// PutMember implements store.Store.
func (s *Store) PutMember(ctx context.Context, m store.Member) error {
	if err := m.Check(); err != nil {
		return err
	}
	return s.file.write(ctx, "write a member", func(tx *sql.Tx) error {
		at := now().UnixMicro()
		_, err := tx.Exec(`insert into member
				(node_id, name, url, boot_counter, boot_random, role, version, zone, state, joined_at, seen_at)
			values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			on conflict (node_id) do update set name = excluded.name, url = excluded.url, boot_counter = excluded.boot_counter,
				boot_random = excluded.boot_random, role = excluded.role, version = excluded.version, zone = excluded.zone,
				state = excluded.state, seen_at = excluded.seen_at`,
			string(m.ID), m.Name, m.Endpoint, int64(m.Boot.Counter), int64(m.Boot.Random), string(m.Role), m.Version, m.Zone, string(m.State), at, at)
		return err
	})
}

// RemoveMember implements store.Store.
func (s *Store) RemoveMember(ctx context.Context, id muster.NodeID) error {
	return s.file.write(ctx, "remove a member", func(tx *sql.Tx) error {
		_, err := tx.Exec(`delete from member where node_id = ?`, string(id))
		return err
	})
}

package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Cluster implements store.Store.
func (s *Store) Cluster(ctx context.Context) (store.Cluster, error) {
	var c store.Cluster
	err := s.read(ctx, "read the cluster's identity", func(ctx context.Context, pool *pgxpool.Pool) error {
		err := pool.QueryRow(ctx, "select cluster_id, epoch, created_at from config_cluster").Scan(&c.ID, &c.Epoch, &c.Created)
		return noCluster(err)
	})
	if err != nil {
		return store.Cluster{}, err
	}
	c.Created = c.Created.UTC()
	s.remember(c.ID)
	return c, nil
}

func noCluster(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return store.ErrNoCluster
	}
	return err
}

// remember keeps the cluster's identity for Apply.
func (s *Store) remember(id muster.ClusterID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == "" {
		s.cluster = id
	}
}

// Form implements store.Store.
func (s *Store) Form(ctx context.Context, id muster.ClusterID) (store.Cluster, error) {
	if err := store.CheckForm(id); err != nil {
		return store.Cluster{}, err
	}
	chain := config.Genesis(id)
	err := s.read(ctx, "form the cluster", func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, `with minted as (
				insert into config_cluster (cluster_id, epoch) values ($1, 1) on conflict do nothing returning one)
			insert into config_head (rev, chain, items) select 0, $2, 0 from minted`, string(id), chain[:])
		return err
	})
	if err != nil {
		return store.Cluster{}, err
	}
	return s.Cluster(ctx)
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Head, error) {
	var h store.Head
	err := s.read(ctx, "read the head", func(ctx context.Context, pool *pgxpool.Pool) error {
		var chain []byte
		err := pool.QueryRow(ctx, "select epoch, rev, chain, items, compacted_rev from config_head cross join config_cluster").
			Scan(&h.Epoch, &h.Rev, &chain, &h.Items, &h.Compacted)
		copy(h.Chain[:], chain)
		return noCluster(err)
	})
	return h, err
}

// changeColumns are those that scanChange reads.
const changeColumns = "rev, op, kind, name, spec, digest, chain, generation, created_rev, actor, node_id, reason, coalesce(request_id, ''), at"

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	var changes []muster.Change
	err := s.read(ctx, "read changes", func(ctx context.Context, pool *pgxpool.Pool) error {
		// One statement sees the log and what was compacted at one moment.
		rows, err := pool.Query(ctx, `select h.compacted_rev, c.* from config_head h left join lateral (
				select `+changeColumns+` from config_change where rev > $1 order by rev limit $2) c on true
			order by c.rev`, after, store.Limit(limit))
		if err != nil {
			return err
		}
		changes, err = collectChanges(rows, after)
		return err
	})
	return changes, err
}

func collectChanges(rows pgx.Rows, after int64) ([]muster.Change, error) {
	defer rows.Close()
	changes := []muster.Change{}
	formed := false
	for rows.Next() {
		formed = true
		var compacted int64
		var r changeRow
		if err := rows.Scan(append([]any{&compacted}, r.fields()...)...); err != nil {
			return nil, err
		}
		if after < compacted {
			return nil, store.ErrCompacted
		}
		if r.rev != nil {
			changes = append(changes, r.change())
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !formed {
		return nil, store.ErrNoCluster
	}
	return changes, nil
}

// History implements store.Store. It reads backwards along the primary key, so that
// the newest changes of all documents cost what they are.
func (s *Store) History(ctx context.Context, p store.Past) (store.History, error) {
	p = p.Bounds()
	columns := changeColumns
	if !p.Specs {
		columns = strings.Replace(columns, " spec,", " null::text as spec,", 1)
	}
	var h store.History
	err := s.read(ctx, "read the history", func(ctx context.Context, pool *pgxpool.Pool) error {
		// One statement sees the log and what was compacted at one moment.
		rows, err := pool.Query(ctx, `select h.compacted_rev, c.* from config_head h left join lateral (
				select `+columns+` from config_change
				where rev < $1 and ($2 = '' or kind = $2) and ($3 = '' or name = $3) order by rev desc limit $4) c on true
			order by c.rev desc`, p.Before, p.Kind, p.Name, p.Limit)
		if err != nil {
			return err
		}
		h, err = collectHistory(rows)
		return err
	})
	return h, err
}

func collectHistory(rows pgx.Rows) (store.History, error) {
	defer rows.Close()
	h := store.History{Changes: []muster.Change{}}
	formed := false
	for rows.Next() {
		formed = true
		var r changeRow
		if err := rows.Scan(append([]any{&h.Compacted}, r.fields()...)...); err != nil {
			return store.History{}, err
		}
		if r.rev != nil {
			h.Changes = append(h.Changes, r.change())
		}
	}
	if err := rows.Err(); err != nil {
		return store.History{}, err
	}
	if !formed {
		return store.History{}, store.ErrNoCluster
	}
	return h, nil
}

// changeRow holds the columns of a change, which are null where there is none.
type changeRow struct {
	rev, generation, createdRev    *int64
	op                             *int16
	kind, name, spec               *string
	digest, chain                  []byte
	actor, node, reason, requestID *string
	at                             *time.Time
}

// fields are the places to scan changeColumns into.
func (r *changeRow) fields() []any {
	return []any{
		&r.rev, &r.op, &r.kind, &r.name, &r.spec, &r.digest, &r.chain, &r.generation, &r.createdRev,
		&r.actor, &r.node, &r.reason, &r.requestID, &r.at,
	}
}

func (r *changeRow) change() muster.Change {
	c := muster.Change{
		Rev: value(r.rev), Op: muster.Op(value(r.op)), Kind: value(r.kind), Name: value(r.name), Spec: r.rawSpec(),
		Generation: value(r.generation), CreatedRev: value(r.createdRev), Actor: value(r.actor), Node: muster.NodeID(value(r.node)),
		Reason: value(r.reason), RequestID: value(r.requestID), At: value(r.at).UTC(),
	}
	copy(c.Digest[:], r.digest)
	copy(c.Chain[:], r.chain)
	return c
}

func (r *changeRow) rawSpec() json.RawMessage {
	if r.spec == nil {
		return nil
	}
	return json.RawMessage(*r.spec)
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Snapshot implements store.Store.
func (s *Store) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	var snap *store.Snapshot
	err := s.read(ctx, "read a snapshot", func(ctx context.Context, pool *pgxpool.Pool) error {
		// One statement sees the head and the documents at one moment.
		rows, err := pool.Query(ctx, `select c.cluster_id, c.epoch, h.rev, h.chain, i.kind, i.name, i.spec, i.rev, i.generation, i.created_rev,
				i.updated_at, i.updated_by, i.reason
			from config_head h cross join config_cluster c left join config_item i on true
			order by i.kind, i.name`)
		if err != nil {
			return err
		}
		snap, err = collectSnapshot(rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return snap, nil
}

func collectSnapshot(rows pgx.Rows) (*store.Snapshot, error) {
	defer rows.Close()
	snap := &store.Snapshot{Documents: []muster.Document{}}
	for rows.Next() {
		var chain []byte
		var r changeRow
		err := rows.Scan(&snap.ClusterID, &snap.Position.Epoch, &snap.Position.Rev, &chain,
			&r.kind, &r.name, &r.spec, &r.rev, &r.generation, &r.createdRev, &r.at, &r.actor, &r.reason)
		if err != nil {
			return nil, err
		}
		copy(snap.Position.Chain[:], chain)
		if r.rev != nil {
			snap.Documents = append(snap.Documents, r.document())
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if snap.ClusterID == "" {
		return nil, store.ErrNoCluster
	}
	return snap, nil
}

func (r *changeRow) document() muster.Document {
	return muster.Document{
		Kind: value(r.kind), Name: value(r.name), Spec: r.rawSpec(), Rev: value(r.rev), Generation: value(r.generation),
		CreatedRev: value(r.createdRev), UpdatedAt: value(r.at).UTC(), UpdatedBy: value(r.actor), Reason: value(r.reason),
	}
}

// Compact forgets the changes up to a revision.
func (s *Store) Compact(ctx context.Context, upTo int64) error {
	return s.read(ctx, "compact the log", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			var to int64
			err := tx.QueryRow(ctx, `update config_head set compacted_rev = greatest(compacted_rev, least($1, rev)) returning compacted_rev`, upTo).Scan(&to)
			if err != nil {
				return noCluster(err)
			}
			_, err = tx.Exec(ctx, "delete from config_change where rev <= $1", to)
			return err
		})
	})
}

// Members implements store.Store.
func (s *Store) Members(ctx context.Context) ([]store.Member, error) {
	var members []store.Member
	err := s.read(ctx, "read the members", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, `select node_id, name, url, boot_counter, boot_random, role, version, zone, state, joined_at, seen_at
			from member order by node_id`)
		if err == nil {
			members, err = pgx.CollectRows(rows, scanMember)
		}
		return err
	})
	return members, err
}

func scanMember(row pgx.CollectableRow) (store.Member, error) {
	var m store.Member
	var counter, random int64
	err := row.Scan(&m.ID, &m.Name, &m.Endpoint, &counter, &random, &m.Role, &m.Version, &m.Zone, &m.State, &m.JoinedAt, &m.SeenAt)
	m.Boot = muster.Boot{Counter: uint64(counter), Random: uint64(random)}
	m.JoinedAt, m.SeenAt = m.JoinedAt.UTC(), m.SeenAt.UTC()
	return m, err
}

// PutMember implements store.Store.
func (s *Store) PutMember(ctx context.Context, m store.Member) error {
	if err := m.Check(); err != nil {
		return err
	}
	return s.read(ctx, "write a member", func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, `insert into member
				(node_id, name, url, boot_counter, boot_random, role, version, zone, state, joined_at, seen_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp(), clock_timestamp())
			on conflict (node_id) do update set name = excluded.name, url = excluded.url, boot_counter = excluded.boot_counter,
				boot_random = excluded.boot_random, role = excluded.role, version = excluded.version, zone = excluded.zone,
				state = excluded.state, seen_at = excluded.seen_at`,
			string(m.ID), m.Name, m.Endpoint, int64(m.Boot.Counter), int64(m.Boot.Random), string(m.Role), m.Version, m.Zone, string(m.State))
		return err
	})
}

// RemoveMember implements store.Store.
func (s *Store) RemoveMember(ctx context.Context, id muster.NodeID) error {
	return s.read(ctx, "remove a member", func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, `delete from member where node_id = $1`, string(id))
		return err
	})
}

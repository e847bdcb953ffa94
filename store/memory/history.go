package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// History implements store.Store.
func (s *Store) History(ctx context.Context, p store.Past) (store.History, error) {
	if err := s.read(ctx, "History"); err != nil {
		return store.History{}, err
	}
	defer s.data.mu.Unlock()
	p = p.Bounds()
	h := store.History{Changes: []muster.Change{}, Compacted: s.data.compacted}
	for _, c := range slices.Backward(s.data.log) {
		if len(h.Changes) == p.Limit {
			break
		}
		if !p.Wants(c) {
			continue
		}
		if !p.Specs {
			c.Spec = nil
		}
		h.Changes = append(h.Changes, c)
	}
	return h, nil
}

// Compact forgets the changes up to a revision, for all connections.
func (s *Store) Compact(ctx context.Context, upTo int64) error {
	if err := s.read(ctx, "Compact"); err != nil {
		return err
	}
	defer s.data.mu.Unlock()
	d := s.data
	upTo = min(upTo, d.snap.Position().Rev)
	if upTo > d.compacted {
		d.setLog(slices.Clone(d.log[upTo-d.compacted:]), 0)
		d.compacted = upTo
	}
	return nil
}

// Rewind takes the data back to a revision, for all connections, as a database
// does that fails over to a replica which had not received the last commits. It
// needs the whole log.
func (s *Store) Rewind(rev int64) error {
	d := s.data
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.snap == nil || d.compacted > 0 || rev < 0 || rev > d.snap.Position().Rev {
		return fmt.Errorf("rewind to revision %d: the log does not allow it", rev)
	}
	at := muster.Position{Epoch: d.snap.Position().Epoch, Chain: config.Genesis(d.cluster.ID)}
	snap, err := config.New(d.cluster.ID, at, nil)
	if err != nil {
		return fmt.Errorf("rewind to revision %d: %w", rev, err)
	}
	if snap, err = snap.Apply(d.log[:rev]); err != nil {
		return fmt.Errorf("rewind to revision %d: %w", rev, err)
	}
	d.snap = snap
	d.setLog(d.log[:rev:rev], 0)
	return nil
}

// Wipe empties the data, for all connections: a database that was dropped.
func (s *Store) Wipe() {
	d := s.data
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cluster, d.snap, d.compacted = nil, nil, 0
	d.setLog(nil, 0)
	d.members = make(map[muster.NodeID]store.Member)
	d.leases = make(map[string]store.Lease)
}

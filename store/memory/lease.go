package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/musterhq/muster/store"
)

// Acquire implements store.Leases.
func (s *Store) Acquire(ctx context.Context, c store.Claim) (store.Lease, error) {
	return s.lease(ctx, "Acquire", c, store.Lease.Acquired)
}

// Renew implements store.Leases.
func (s *Store) Renew(ctx context.Context, c store.Claim) (store.Lease, error) {
	return s.lease(ctx, "Renew", c, store.Lease.Renewed)
}

// Release implements store.Leases.
func (s *Store) Release(ctx context.Context, c store.Claim) error {
	_, err := s.lease(ctx, "Release", c, store.Lease.Released)
	return err
}

func (s *Store) lease(ctx context.Context, method string, c store.Claim, decide func(store.Lease, store.Claim, time.Time) store.Lease) (store.Lease, error) {
	if err := c.Check(); err != nil {
		return store.Lease{}, err
	}
	if err := s.begin(ctx, method); err != nil {
		return store.Lease{}, err
	}
	defer s.data.mu.Unlock()
	held := s.data.leases[c.Name]
	held.Name = c.Name
	held = decide(held, c, now())
	if held.Term > 0 {
		s.data.leases[c.Name] = held
	}
	return held, nil
}

// Leases implements store.Leases.
func (s *Store) Leases(ctx context.Context) ([]store.Lease, error) {
	if err := s.begin(ctx, "Leases"); err != nil {
		return nil, err
	}
	defer s.data.mu.Unlock()
	list := make([]store.Lease, 0, len(s.data.leases))
	for _, name := range slices.Sorted(maps.Keys(s.data.leases)) {
		list = append(list, s.data.leases[name].At(now()))
	}
	return list, nil
}

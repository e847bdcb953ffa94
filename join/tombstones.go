package join

import (
	"slices"

	"github.com/musterhq/muster"
)

// Tombstones returns those that a member has signed and that the config store does
// not know yet.
func (s *State) Tombstones() []muster.SignedTombstone { return slices.Clone(s.read().Tombstones) }

// SetTombstones replaces them.
func (s *State) SetTombstones(list []muster.SignedTombstone) error {
	return s.update(func(r *record) error {
		r.Tombstones = slices.Clone(list)
		return nil
	})
}

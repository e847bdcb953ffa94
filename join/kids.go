package join

import (
	"slices"
	"time"

	"github.com/musterhq/muster"
)

// maxRetired is how many dropped keys a node remembers.
const maxRetired = 16

// SetKIDs records which cookies the node accepts from now on, by their key ids.
// Those that it accepted before and does not any more are remembered as retired.
func (s *State) SetKIDs(kids []string, now time.Time) error {
	return s.update(func(r *record) error {
		var retired []muster.RetiredKey
		for _, kid := range r.Accepted {
			if !slices.Contains(kids, kid) {
				retired = append(retired, muster.RetiredKey{KID: kid, Since: now.UTC().Truncate(time.Second)})
			}
		}
		for _, old := range r.Retired {
			again := slices.ContainsFunc(retired, func(n muster.RetiredKey) bool { return n.KID == old.KID })
			if !again && !slices.Contains(kids, old.KID) {
				retired = append(retired, old)
			}
		}
		r.Accepted, r.Retired = slices.Clone(kids), retired[:min(len(retired), maxRetired)]
		return nil
	})
}

// Retired returns the cookies that the node has dropped, the latest first.
func (s *State) Retired() []muster.RetiredKey { return slices.Clone(s.read().Retired) }

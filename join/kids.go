package join

import (
	"slices"
	"time"
)

// maxRetired is how many dropped keys a node remembers.
const maxRetired = 16

// RetiredKID is the id of a cookie that this node accepted once.
type RetiredKID struct {
	KID   string    `json:"kid"`
	Since time.Time `json:"since"` // when it was dropped
}

// SetKIDs records which cookies the node accepts from now on, by their key ids.
// Those that it accepted before and does not any more are remembered as retired.
func (s *State) SetKIDs(kids []string, now time.Time) error {
	return s.update(func(r *record) error {
		var retired []RetiredKID
		for _, kid := range r.Accepted {
			if !slices.Contains(kids, kid) {
				retired = append(retired, RetiredKID{kid, now.UTC().Truncate(time.Second)})
			}
		}
		for _, old := range r.Retired {
			again := slices.ContainsFunc(retired, func(n RetiredKID) bool { return n.KID == old.KID })
			if !again && !slices.Contains(kids, old.KID) {
				retired = append(retired, old)
			}
		}
		r.Accepted, r.Retired = slices.Clone(kids), retired[:min(len(retired), maxRetired)]
		return nil
	})
}

// Retired returns the cookies that the node has dropped, the latest first.
func (s *State) Retired() []RetiredKID { return slices.Clone(s.read().Retired) }

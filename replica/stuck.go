package replica

import (
	"sync"
	"time"
)

// stuck is since when others are known to serve more than this node does.
type stuck struct {
	mu    sync.Mutex
	rev   int64 // that this node served then
	since time.Time
}

// note remembers the first time that more was heard of at a revision.
func (s *stuck) note(rev int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || s.rev != rev {
		s.rev, s.since = rev, now
	}
}

// at returns that time, if it was at this revision.
func (s *stuck) at(rev int64) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, !s.since.IsZero() && s.rev == rev
}

// Stuck returns by how many revisions this node is behind others, and since when it has
// not moved although it knows; 0 if it is not.
func (r *Replica) Stuck() (behind int64, since time.Time) {
	own := r.position()
	since, ok := r.stuck.at(own.Rev)
	if top := r.claims.highest(); ok && top > own.Rev {
		return top - own.Rev, since
	}
	return 0, time.Time{}
}

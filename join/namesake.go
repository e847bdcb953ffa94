package join

import (
	"context"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// nameHeld returns an error while another node of a database's cluster has this
// node's name: nobody else looks, because no member has to admit a node that
// takes the cluster from the database. A row counts while it is fresh, unless
// nobody listens at its endpoint any more. Of two that are new, the first row wins.
func (s *Seeker) nameHeld(ctx context.Context, rows []store.Member) error {
	var now time.Time
	for _, m := range rows {
		if m.SeenAt.After(now) {
			now = m.SeenAt
		}
	}
	own := slices.IndexFunc(rows, func(m store.Member) bool { return m.ID == s.self.ID })
	for _, m := range rows {
		if m.Name != s.self.Name || m.ID == s.self.ID || !m.Fresh(now, rowFresh) || own >= 0 && later(m, rows[own]) {
			continue
		}
		if !s.abandoned(ctx, m) {
			return muster.Errorf(muster.CodeNameInUse, "the name %q is held by node %s at %s according to the config store",
				muster.Printable(m.Name), m.ID.Short(), muster.Printable(m.Endpoint))
		}
	}
	return nil
}

// later reports whether a's row was made after b's.
func later(a, b store.Member) bool {
	if a.JoinedAt.Equal(b.JoinedAt) {
		return a.ID > b.ID
	}
	return a.JoinedAt.After(b.JoinedAt)
}

// abandoned reports whether a member's endpoint is there and the member is not.
// Silence proves nothing.
func (s *Seeker) abandoned(ctx context.Context, m store.Member) bool {
	if m.Endpoint == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	meeting, err := s.cfg.Meet(ctx, m.Endpoint, m.ID)
	if err == nil {
		meeting.Close() // it answered: that is all we wanted to know
		return false
	}
	code := muster.CodeOf(err)
	return code == muster.CodeWrongTarget || code != muster.CodeNameInUse && s.cfg.Class(err) == "refused"
}

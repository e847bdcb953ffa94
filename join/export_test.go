package join

import (
	"context"

	"github.com/musterhq/muster/link"
)

// BackDialer is the check of joiners' endpoints, for the tests.
type BackDialer struct{ b *backDialer }

// NewBackDialer makes one.
func NewBackDialer(meet Meet, class func(error) string) BackDialer {
	return BackDialer{newBackDialer(meet, class)}
}

// Check dials a peer back.
func (d BackDialer) Check(ctx context.Context, endpoint string, peer link.Hello) (string, error) {
	return d.b.check(ctx, endpoint, peer)
}

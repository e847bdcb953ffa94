package mgmt_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
)

// turning is an authenticator whose cookies can be taken away.
type turning struct {
	auth.Ring

	gone atomic.Bool
}

// Verify refuses everything once the cookies are gone.
func (a *turning) Verify(token string) (auth.Claims, error) {
	if a.gone.Load() {
		return auth.Claims{}, muster.Errorf(muster.CodeUnauthenticated, "the cookie was dropped")
	}
	return a.Ring.Verify(token)
}

func TestRecheckEndsStreamsUnderADroppedCookie(t *testing.T) {
	t.Parallel()
	cookies := &turning{}
	s := setup(t, func(c *mgmt.Config) {
		cookies.Ring = c.Auth.(auth.Ring)
		c.Auth = cookies
	})
	feed := s.open(t, get("/v1/watch"))
	feed.named("snapshot")
	s.api.Recheck()
	s.events.add("still here")
	feed.named("event")
	cookies.gone.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ok := true; ok; {
			_, ok = feed.next()
		}
	}()
	s.api.Recheck()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Error("the watch goes on")
	}
}

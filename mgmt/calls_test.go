package mgmt_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/client"
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

func TestKeysAreForAdministrators(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *mgmt.Config) {
		c.Keys = func(context.Context) []muster.NodeKeys {
			return []muster.NodeKeys{{
				ID: testNode, Name: "n1", State: muster.StateAlive, Accepted: []string{"0123abcd"},
				Retired: []muster.RetiredKey{{KID: "ffffffff", Since: time.Now()}}, Links: []muster.LinkKey{{Peer: "n2", Channel: "packet", KID: "0123abcd"}},
				Tokens: []muster.TokenUse{{KID: "0123abcd", Count: 1, Subjects: []string{"grafana"}}},
			}}
		}
	})
	admin, err := client.New(client.Config{Addr: s.url, Token: s.token(t, auth.RoleAdmin), HTTPClient: s.client})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := admin.Keys(t.Context()); err != nil || len(list) != 1 || list[0].Accepted[0] != "0123abcd" {
		t.Errorf("got %+v, %v", list, err)
	}
	operator, err := client.New(client.Config{Addr: s.url, Token: s.token(t, auth.RoleOperator), HTTPClient: s.client})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.Keys(t.Context()); muster.CodeOf(err) != muster.CodeForbidden {
		t.Errorf("an operator gets %v, want %s", err, muster.CodeForbidden)
	}
}

package auth_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func newLogins(ring auth.Ring) *auth.Logins {
	return auth.NewLogins(func() auth.Ring { return ring })
}

func TestLoginCodeWorksOnce(t *testing.T) {
	t.Parallel()
	logins := newLogins(newRing(t))
	code := logins.Code(adminFor(time.Hour)).Reveal()
	if _, err := logins.Redeem(code, false); err != nil {
		t.Fatal(err)
	}
	_, err := logins.Redeem(code, false)
	wantRefusal(t, err, muster.CodeLoginExpired, "used up")
	_, err = logins.Redeem("guess", false)
	wantRefusal(t, err, muster.CodeLoginExpired, "unknown")
}

func TestLoginCodeAges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logins := newLogins(newRing(t))
		old := logins.Code(adminFor(time.Hour)).Reveal()
		time.Sleep(time.Minute)
		young := logins.Code(adminFor(time.Hour)).Reveal()
		time.Sleep(auth.LoginCodeLife - time.Minute)
		_, err := logins.Redeem(old, false)
		wantRefusal(t, err, muster.CodeLoginExpired, "too old")
		if _, err := logins.Redeem(young, false); err != nil {
			t.Errorf("a code of nine minutes: %v", err)
		}
	})
}

func TestSessionInheritsFromItsToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ring := newRing(t)
		logins := newLogins(ring)
		bearer := auth.Claims{Subject: "ada", ID: "t-1", Role: auth.RoleViewer, Cluster: muster.NewClusterID(), Expires: time.Now().Add(20 * time.Minute)}
		for _, cookie := range []bool{true, false} {
			session, err := logins.Redeem(logins.Code(bearer).Reveal(), cookie)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ring.VerifyFor(session.Token.Reveal(), bearer.Cluster)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Session || got.Subject != "ada" || got.Role != auth.RoleViewer || got.Parent != "t-1" || got.ID == "t-1" {
				t.Errorf("got %+v, want a session of the same subject and role", got)
			}
			if got.Expires.After(bearer.Expires) {
				t.Errorf("the session lives until %v, its token until %v", got.Expires, bearer.Expires)
			}
		}
	})
}

func TestSessionLifeDependsOnWhereItIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logins := newLogins(newRing(t))
		for cookie, want := range map[bool]time.Duration{true: auth.CookieSessionLife, false: auth.BearerSessionLife} {
			session, err := logins.Redeem(logins.Code(auth.Claims{Subject: "ada", Role: auth.RoleAdmin}).Reveal(), cookie)
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Until(session.Claims.Expires); got != want {
				t.Errorf("cookie %t: got a session of %v, want %v", cookie, got, want)
			}
		}
	})
}

func TestSessionOfASessionKeepsItsRoot(t *testing.T) {
	t.Parallel()
	logins := newLogins(newRing(t))
	bearer := adminFor(time.Hour)
	bearer.ID = "root-token"
	for range 3 {
		session, err := logins.Redeem(logins.Code(bearer).Reveal(), false)
		if err != nil {
			t.Fatal(err)
		}
		bearer = session.Claims
	}
	if bearer.Parent != "root-token" {
		t.Errorf("got parent %q, want the token that started the chain", bearer.Parent)
	}
}

func TestLoginCodesAreBounded(t *testing.T) {
	t.Parallel()
	logins := newLogins(newRing(t))
	var codes []string
	for range 200 {
		codes = append(codes, logins.Code(adminFor(time.Hour)).Reveal())
	}
	good := 0
	for _, code := range codes {
		if _, err := logins.Redeem(code, false); err == nil {
			good++
		}
	}
	if good != 128 {
		t.Errorf("%d of 200 codes work, want the newest 128", good)
	}
}

func TestSessionNeverShowsItsToken(t *testing.T) {
	t.Parallel()
	logins := newLogins(newRing(t))
	code := logins.Code(adminFor(time.Hour))
	session, err := logins.Redeem(code.Reveal(), false)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%v %+v %#v %v", session, session, session, code)
	if strings.Contains(out, session.Token.Reveal()) || strings.Contains(out, code.Reveal()) {
		t.Errorf("the session shows its secrets: %s", out)
	}
}

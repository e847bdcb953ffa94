package auth_test

import (
	"crypto/hkdf"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// oldCookie is a cookie of the kind that people bring along.
const oldCookie = "correct-horse-battery-staple-0123456789"

func parse(t *testing.T, text string) auth.Cookie {
	t.Helper()
	cookie, err := auth.ParseCookie([]byte(text))
	if err != nil {
		t.Fatalf("parse a good cookie: %v", err)
	}
	return cookie
}

func newRing(t *testing.T) auth.Ring {
	t.Helper()
	return auth.Ring{parse(t, auth.NewCookie().Reveal())}
}

func issue(t *testing.T, ring auth.Ring, c auth.Claims) string {
	t.Helper()
	token, err := ring.Issue(c)
	if err != nil {
		t.Fatalf("issue %+v: %v", c, err)
	}
	return token
}

func adminFor(d time.Duration) auth.Claims {
	return auth.Claims{Subject: "ada", Role: auth.RoleAdmin, Expires: time.Now().Add(d)}
}

// wantRefusal checks code and text of an error.
func wantRefusal(t *testing.T, err error, code muster.Code, text string) {
	t.Helper()
	if muster.CodeOf(err) != code {
		t.Errorf("got code %q (%v), want %q", muster.CodeOf(err), err, code)
	}
	if err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("got error %q, want it to say %q", err, text)
	}
}

// tokenKey derives the token key by the published rule: HKDF-SHA256 of the cookie.
func tokenKey(t *testing.T, cookie string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, []byte(cookie), []byte("muster/v1"), "token", 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func TestTokenCarriesItsClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ring := newRing(t)
		cluster := muster.NewClusterID()
		want := auth.Claims{
			Subject: "ada", ID: "t-1", Role: auth.RoleOperator, Cluster: cluster,
			Expires: time.Now().Add(time.Hour).Truncate(time.Second),
		}
		got, err := ring.VerifyFor(issue(t, ring, want), cluster)
		if err != nil {
			t.Fatal(err)
		}
		want.Issued, want.KID = time.Now().Truncate(time.Second), ring[0].KID()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
		if got.Actor() != "ada/t-1" {
			t.Errorf("got actor %q", got.Actor())
		}
	})
}

func TestTokensHaveIdsOfTheirOwn(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	a, errA := ring.Verify(issue(t, ring, adminFor(time.Hour)))
	b, errB := ring.Verify(issue(t, ring, adminFor(time.Hour)))
	if errA != nil || errB != nil || a.ID == "" || a.ID == b.ID {
		t.Errorf("got ids %q and %q, errors %v and %v", a.ID, b.ID, errA, errB)
	}
}

func TestTokenOfEveryAcceptedCookieIsGood(t *testing.T) {
	t.Parallel()
	old, fresh := newRing(t), newRing(t)
	both := auth.Ring{fresh[0], old[0]}
	claims, err := both.Verify(issue(t, old, adminFor(time.Hour)))
	if err != nil || claims.KID != old[0].KID() {
		t.Errorf("got %+v, %v; want the old cookie's token accepted", claims, err)
	}
	if claims, err := fresh.Verify(issue(t, both, adminFor(time.Hour))); err != nil || claims.KID != fresh[0].KID() {
		t.Errorf("got %+v, %v; want tokens signed by the first cookie", claims, err)
	}
	_, err = fresh.Verify(issue(t, old, adminFor(time.Hour)))
	wantRefusal(t, err, muster.CodeUnauthenticated, old[0].KID())
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ring := newRing(t)
		token := issue(t, ring, adminFor(time.Hour))
		time.Sleep(time.Hour + 59*time.Second)
		if _, err := ring.Verify(token); err != nil {
			t.Errorf("within the leeway: %v", err)
		}
		time.Sleep(2 * time.Second)
		_, err := ring.Verify(token)
		wantRefusal(t, err, muster.CodeUnauthenticated, "expired at")
	})
}

func TestTokenIsBoundToItsCluster(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	here, there := muster.NewClusterID(), muster.NewClusterID()
	claims := adminFor(time.Hour)
	free := issue(t, ring, claims)
	claims.Cluster = here
	bound := issue(t, ring, claims)
	for _, c := range []struct {
		token   string
		cluster muster.ClusterID
		good    bool
	}{{free, here, true}, {free, "", true}, {bound, here, true}, {bound, there, false}, {bound, "", false}} {
		if _, err := ring.VerifyFor(c.token, c.cluster); (err == nil) != c.good {
			t.Errorf("bound %t on cluster %q: %v", c.token == bound, c.cluster, err)
		}
	}
}

func TestIssueRefusesSenselessClaims(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	tests := map[string]func(*auth.Claims){
		"role":     func(c *auth.Claims) { c.Role = "root" },
		"subject":  func(c *auth.Claims) { c.Subject = "" },
		"token id": func(c *auth.Claims) { c.ID = strings.Repeat("x", 65) },
		"parent":   func(c *auth.Claims) { c.Parent = "a\nb" },
		"cluster":  func(c *auth.Claims) { c.Cluster = "mine" },
		"expiry":   func(c *auth.Claims) { c.Expires = time.Time{} },
		"at once":  func(c *auth.Claims) { c.Expires = time.Now().Add(-time.Second) },
		"366 days": func(c *auth.Claims) { c.Expires = time.Now().Add(367 * 24 * time.Hour) },
	}
	for says, change := range tests {
		claims := adminFor(time.Hour)
		change(&claims)
		_, err := ring.Issue(claims)
		wantRefusal(t, err, muster.CodeUsage, says)
	}
	_, err := auth.Ring{}.Issue(adminFor(time.Hour))
	wantRefusal(t, err, muster.CodeCookieMissing, "no cookie")
}

func TestRoleAllowsWhatTheLesserOnesMay(t *testing.T) {
	t.Parallel()
	roles := auth.Roles()
	for i, have := range roles {
		for j, need := range roles {
			if have.Allows(need) != (i >= j) {
				t.Errorf("%s allows %s: got %t", have, need, have.Allows(need))
			}
		}
	}
	if auth.Role("root").Allows(auth.RoleViewer) || auth.RoleAdmin.Allows("root") || auth.Role("").Valid() {
		t.Error("an unknown role is allowed something")
	}
}

// TestVerifyRefusesForgeries signs with the true token key, found by the
// published derivation, so that only the tested rule can refuse.
func TestVerifyRefusesForgeries(t *testing.T) {
	t.Parallel()
	ring := auth.Ring{parse(t, oldCookie)}
	key := tokenKey(t, oldCookie)
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	tests := []struct {
		name   string
		change func(*jwt.Token, jwt.MapClaims)
		says   string
	}{
		{"another kid", func(tok *jwt.Token, _ jwt.MapClaims) { tok.Header["kid"] = "00000000" }, "00000000"},
		{"no kid", func(tok *jwt.Token, _ jwt.MapClaims) { delete(tok.Header, "kid") }, "(none)"},
		{"plain typ", func(tok *jwt.Token, _ jwt.MapClaims) { tok.Header["typ"] = "JWT" }, "another type"},
		{"session typ", func(tok *jwt.Token, _ jwt.MapClaims) { tok.Header["typ"] = "muster-session+jwt" }, "another type"},
		{"session claim", func(_ *jwt.Token, c jwt.MapClaims) { c["session"] = true }, "another type"},
		{"no expiry", func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "exp") }, "expiry"},
		{"far expiry", func(_ *jwt.Token, c jwt.MapClaims) { c["exp"] = in(367 * 24 * time.Hour) }, "366 days"},
		{"expired", func(_ *jwt.Token, c jwt.MapClaims) { c["exp"] = in(-2 * time.Minute) }, "expired at"},
		{"not yet valid", func(_ *jwt.Token, c jwt.MapClaims) { c["nbf"] = in(time.Hour) }, "future"},
		{"future issue", func(_ *jwt.Token, c jwt.MapClaims) { c["iat"] = in(time.Hour) }, "future"},
		{"another audience", func(_ *jwt.Token, c jwt.MapClaims) { c["aud"] = "other" }, "audience"},
		{"no audience", func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "aud") }, "audience"},
		{"unknown role", func(_ *jwt.Token, c jwt.MapClaims) { c["role"] = "root" }, "root"},
		{"no role", func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "role") }, "role"},
		{"no subject", func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "sub") }, "subject"},
		{"no id", func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "jti") }, "id"},
		{"dirty subject", func(_ *jwt.Token, c jwt.MapClaims) { c["sub"] = "a\x1b[2Jb" }, "subject"},
	}
	sign := func(t *testing.T, change func(*jwt.Token, jwt.MapClaims)) string {
		claims := jwt.MapClaims{"aud": "muster", "sub": "ada", "jti": "1", "role": "admin", "exp": in(time.Hour), "iat": in(0)}
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
		token.Header["typ"], token.Header["kid"] = "muster-token+jwt", ring[0].KID()
		change(token, claims)
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	if _, err := ring.Verify(sign(t, func(*jwt.Token, jwt.MapClaims) {})); err != nil {
		t.Fatalf("the unchanged token is refused: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ring.Verify(sign(t, tt.change))
			wantRefusal(t, err, muster.CodeUnauthenticated, tt.says)
		})
	}
}

func TestVerifyRefusesOtherAlgorithmsAndGarbage(t *testing.T) {
	t.Parallel()
	ring := auth.Ring{parse(t, oldCookie)}
	claims := jwt.MapClaims{"aud": "muster", "sub": "ada", "jti": "1", "role": "admin", "exp": jwt.NewNumericDate(time.Now().Add(time.Hour))}
	sign := func(method jwt.SigningMethod, key any) string {
		token := jwt.NewWithClaims(method, claims)
		token.Header["typ"], token.Header["kid"] = "muster-token+jwt", ring[0].KID()
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := issue(t, ring, adminFor(time.Hour))
	head, _, _ := strings.Cut(good, ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(`{"aud":"muster","sub":"eve","jti":"1","role":"admin","exp":4102444800}`))
	for name, token := range map[string]string{
		"none":          sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"RS256":         sign(jwt.SigningMethodRS256, newRSAKey(t)),
		"HS512":         sign(jwt.SigningMethodHS512, tokenKey(t, oldCookie)),
		"wrong key":     sign(jwt.SigningMethodHS256, []byte("guess")),
		"other payload": head + "." + forged + good[strings.LastIndex(good, "."):],
		"no signature":  good[:strings.LastIndex(good, ".")+1],
		"empty":         "",
		"words":         "let me in",
		"huge":          strings.Repeat("a", 5000),
	} {
		if _, err := ring.Verify(token); muster.CodeOf(err) != muster.CodeUnauthenticated {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	_, err := auth.Ring{}.Verify(good)
	wantRefusal(t, err, muster.CodeUnauthenticated, "no cookie")
}

func newRSAKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRingListsItsKeysInOrder(t *testing.T) {
	t.Parallel()
	a, b := newRing(t)[0], newRing(t)[0]
	ring := auth.Ring{a, b}
	want := []auth.LinkKey{{ID: a.KID(), PSK: a.LinkPSK()}, {ID: b.KID(), PSK: b.LinkPSK()}}
	if diff := cmp.Diff(want, ring.LinkKeys()); diff != "" {
		t.Errorf("link keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{a.KID(), b.KID()}, ring.KIDs()); diff != "" {
		t.Errorf("key ids (-want +got):\n%s", diff)
	}
}

package auth

import (
	"cmp"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/musterhq/muster"
)

// Limits of tokens.
const (
	MaxTokenLife = 366 * 24 * time.Hour // from now to the expiry
	Leeway       = time.Minute          // by which clocks may differ
	maxToken     = 4096                 // bytes of a token
	maxSubject   = 128                  // bytes of a subject
	maxTokenID   = 64                   // bytes of a token id
)

// Claims is what a token says about its bearer.
type Claims struct {
	Subject string           // who: a person or a program
	ID      string           // of this token; Issue draws one if it is empty
	Role    Role             // what the bearer may do
	Cluster muster.ClusterID // empty: good in every cluster with this cookie
	Issued  time.Time        // set by Issue
	Expires time.Time        // mandatory
	Session bool             // made by a browser login
	Parent  string           // of a session: the id of the token that asked for the login
	KID     string           // set by Verify: key id of the cookie that signed

	ParentIssued time.Time // of a session: when that token was made
}

// Actor names the bearer in the history of the configuration: subject and id.
func (c Claims) Actor() string { return c.Subject + "/" + c.ID }

// Ring is the cookies a node accepts. The first one signs.
type Ring []Cookie

// LinkKey is a pre-shared key of a link with the id that names it on the wire.
type LinkKey struct {
	ID  string
	PSK [32]byte
}

// LinkKeys returns the keys of links, the one to dial with first.
func (r Ring) LinkKeys() []LinkKey {
	keys := make([]LinkKey, len(r))
	for i, cookie := range r {
		keys[i] = LinkKey{ID: cookie.KID(), PSK: cookie.LinkPSK()}
	}
	return keys
}

// KIDs returns the key ids, the signing one first.
func (r Ring) KIDs() []string {
	ids := make([]string, len(r))
	for i, cookie := range r {
		ids[i] = cookie.KID()
	}
	return ids
}

// Issue signs a token with the first cookie.
func (r Ring) Issue(c Claims) (string, error) {
	if len(r) == 0 {
		return "", muster.Errorf(muster.CodeCookieMissing, "there is no cookie to sign a token with").
			WithFix("name the cookie file with --cluster-cookie-file")
	}
	if c.ID == "" {
		c.ID = muster.NewUUID()
	}
	c.Issued = time.Now()
	if err := cmp.Or(checkClaims(c), checkLife(c)); err != nil {
		return "", err
	}
	typ, key := r[0].signing(c.Session)
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, wireOf(c))
	token.Header["typ"] = typ
	token.Header["kid"] = r[0].KID()
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	return signed, nil
}

// Verify checks a token or session in every respect but the cluster it may be
// bound to; use VerifyFor to admit a caller. Errors have CodeUnauthenticated and
// never hold the token.
func (r Ring) Verify(token string) (Claims, error) {
	if len(r) == 0 {
		return Claims{}, refuse("this node has no cookie and accepts no token")
	}
	if len(token) > maxToken {
		return Claims{}, refuse("the token is longer than %d bytes", maxToken)
	}
	var (
		wire wireClaims
		kid  string
	)
	_, err := parser().ParseWithClaims(token, &wire, func(t *jwt.Token) (any, error) {
		cookie, key, err := r.verifying(t, wire.Session)
		kid = cookie.KID()
		return key, err
	})
	if err != nil {
		return Claims{}, explain(err, wire)
	}
	claims := wire.claims(kid)
	if err := checkClaims(claims); err != nil {
		return Claims{}, refuse("the token is not acceptable: %s", err.Text)
	}
	if time.Until(claims.Expires) > MaxTokenLife+Leeway {
		return Claims{}, refuse("the token lives longer than %d days", MaxTokenLife/(24*time.Hour))
	}
	return claims, nil
}

// VerifyFor checks a token like Verify, and that it is good in this cluster. An
// empty cluster means that the node has not formed or joined one: it refuses
// tokens that are bound to any.
func (r Ring) VerifyFor(token string, cluster muster.ClusterID) (Claims, error) {
	claims, err := r.Verify(token)
	if err != nil || claims.Cluster == "" || claims.Cluster == cluster {
		return claims, err
	}
	return Claims{}, refuse("the token is for cluster %s, this node belongs to %s", claims.Cluster, orNone(cluster))
}

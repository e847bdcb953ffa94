package auth

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/musterhq/muster"
)

// audience is in every token, so that a token of another product that happens
// to share the key is refused.
const audience = "muster"

// The typ headers. They keep the two kinds apart, as their keys do.
const (
	typToken   = "muster-token+jwt"
	typSession = "muster-session+jwt"
)

// wireClaims is the JSON form of Claims.
type wireClaims struct {
	jwt.RegisteredClaims

	Role    Role   `json:"role"`
	Cluster string `json:"cluster,omitempty"`
	Session bool   `json:"session,omitempty"`
	Parent  string `json:"parent,omitempty"`

	ParentIssued *jwt.NumericDate `json:"parent_iat,omitempty"`
}

func wireOf(c Claims) wireClaims {
	w := wireClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Audience: jwt.ClaimStrings{audience}, Subject: c.Subject, ID: c.ID,
			IssuedAt: jwt.NewNumericDate(c.Issued), ExpiresAt: jwt.NewNumericDate(c.Expires),
		},
		Role: c.Role, Cluster: string(c.Cluster), Session: c.Session, Parent: c.Parent,
	}
	if !c.ParentIssued.IsZero() {
		w.ParentIssued = jwt.NewNumericDate(c.ParentIssued)
	}
	return w
}

func (w wireClaims) claims(kid string) Claims {
	c := Claims{
		Subject: w.Subject, ID: w.ID, Role: w.Role, Cluster: muster.ClusterID(w.Cluster),
		Session: w.Session, Parent: w.Parent, KID: kid, Expires: w.ExpiresAt.Time,
	}
	if w.IssuedAt != nil {
		c.Issued = w.IssuedAt.Time
	}
	if w.ParentIssued != nil {
		c.ParentIssued = w.ParentIssued.Time
	}
	return c
}

func parser() *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Leeway), jwt.WithStrictDecoding())
}

// signing returns the typ and the key of tokens, or of sessions.
func (c Cookie) signing(session bool) (typ string, key []byte) {
	if session {
		return typSession, c.keys.session[:]
	}
	return typToken, c.keys.token[:]
}

// verifying picks the cookie that the header names. The typ must fit the
// session claim, so that neither kind passes for the other.
func (r Ring) verifying(t *jwt.Token, session bool) (Cookie, []byte, error) {
	kid, _ := t.Header["kid"].(string)
	for _, cookie := range r {
		if cookie.KID() != kid {
			continue
		}
		typ, key := cookie.signing(session)
		if t.Header["typ"] != typ {
			return Cookie{}, nil, refuse("the token is of another type: want typ %q", typ)
		}
		return cookie, key, nil
	}
	return Cookie{}, nil, refuse("the token was signed with cookie %s, this node accepts %v", orNone(muster.Printable(kid)), r.KIDs())
}

// explain says why a token was refused, in words that hold nothing of it.
func explain(err error, wire wireClaims) error {
	if own, ok := errors.AsType[*muster.Error](err); ok {
		return own
	}
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refuse("the token's signature is wrong")
	case errors.Is(err, jwt.ErrTokenExpired) && wire.ExpiresAt != nil:
		return refuse("the token expired at %s", wire.ExpiresAt.UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued), errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse("the token is dated in the future: compare the clocks of the two machines")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return refuse("the token was made for something else: its audience is not %q", audience)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return refuse("the token lacks its expiry or its audience")
	}
	return refuse("the token is not one that muster made")
}

func checkClaims(c Claims) *muster.Error {
	switch {
	case !c.Role.Valid():
		return muster.Errorf(muster.CodeUsage, "role %q: want one of %v", muster.Printable(string(c.Role)), Roles())
	case !plain(c.Subject, maxSubject):
		return muster.Errorf(muster.CodeUsage, "the subject must have 1 to %d printable characters", maxSubject)
	case !plain(c.ID, maxTokenID):
		return muster.Errorf(muster.CodeUsage, "the token id must have 1 to %d printable characters", maxTokenID)
	case len(c.Parent) > maxTokenID || muster.Printable(c.Parent) != c.Parent:
		return muster.Errorf(muster.CodeUsage, "the parent must have up to %d printable characters", maxTokenID)
	case c.Cluster != "" && !c.Cluster.Valid():
		return muster.Errorf(muster.CodeUsage, "cluster id %q is none", muster.Printable(string(c.Cluster)))
	}
	return nil
}

func checkLife(c Claims) *muster.Error {
	switch life := c.Expires.Sub(c.Issued); {
	case c.Expires.IsZero():
		return muster.Errorf(muster.CodeUsage, "a token needs an expiry")
	case life <= 0:
		return muster.Errorf(muster.CodeUsage, "the token would be expired at once")
	case life > MaxTokenLife:
		return muster.Errorf(muster.CodeUsage, "a token may live for %d days at most", MaxTokenLife/(24*time.Hour))
	}
	return nil
}

func plain(text string, limit int) bool {
	return text != "" && len(text) <= limit && muster.Printable(text) == text
}

func refuse(format string, args ...any) *muster.Error {
	return muster.Errorf(muster.CodeUnauthenticated, format, args...)
}

func orNone[T ~string](text T) string {
	if text == "" {
		return "(none)"
	}
	return string(text)
}

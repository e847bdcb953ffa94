package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"time"

	"github.com/musterhq/muster"
)

// DenyKind is the kind of the documents that revoke tokens.
const DenyKind = "token-deny"

// Denial is one document of DenyKind. A token is denied if it fits every field
// that is given; sessions are judged by themselves and by the token they descend
// from.
type Denial struct {
	ID           string    `json:"jti,omitempty"`          // the token with this id
	Subject      string    `json:"sub,omitempty"`          // tokens of this bearer
	IssuedBefore time.Time `json:"issued_before,omitzero"` // tokens made before; those of unknown age too
}

// ParseDenial reads the specification of a document strictly: what has no meaning
// would revoke less than its writer believes. The error has CodeBadDocument.
func ParseDenial(spec []byte) (Denial, error) {
	var d Denial
	decoder := json.NewDecoder(bytes.NewReader(spec))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return d, badDenial("it wants jti, sub or issued_before (RFC 3339): %v", err)
	}
	switch {
	case d == Denial{}:
		return d, badDenial("it names no token: want jti, sub or issued_before")
	case len(d.ID) > maxTokenID || muster.Printable(d.ID) != d.ID:
		return d, badDenial("jti: want up to %d printable characters", maxTokenID)
	case len(d.Subject) > maxSubject || muster.Printable(d.Subject) != d.Subject:
		return d, badDenial("sub: want up to %d printable characters", maxSubject)
	case time.Until(d.IssuedBefore) > Leeway:
		return d, badDenial("issued_before lies in the future: nobody could get in until then")
	}
	return d, nil
}

func badDenial(format string, args ...any) *muster.Error {
	return muster.Errorf(muster.CodeBadDocument, DenyKind+": "+format, args...)
}

// Denies reports whether the bearer of c is denied. An empty Denial denies nobody.
func (d Denial) Denies(c Claims) bool {
	return d != Denial{} && (d.ID == "" || d.ID == c.ID || d.ID == c.Parent) &&
		(d.Subject == "" || d.Subject == c.Subject) &&
		(d.IssuedBefore.IsZero() || c.rooted().Before(d.IssuedBefore))
}

// rooted is when the credential began: a session is as old as its token.
func (c Claims) rooted() time.Time {
	if !c.ParentIssued.IsZero() {
		return c.ParentIssued
	}
	return c.Issued
}

// Name returns the name of the document for a denial: the same tokens, the same
// name.
func (d Denial) Name() string {
	switch {
	case d.Subject == "" && d.IssuedBefore.IsZero() && muster.CheckName(d.ID) == nil:
		return d.ID
	case d.ID == "" && d.IssuedBefore.IsZero() && muster.CheckName("sub-"+d.Subject) == nil:
		return "sub-" + d.Subject
	}
	sum := sha256.Sum256([]byte(d.ID + "\x00" + d.Subject + "\x00" + d.IssuedBefore.UTC().Format(time.RFC3339Nano)))
	return "deny-" + hex.EncodeToString(sum[:8])
}

// Denied returns an error with CodeUnauthenticated if one of the denials, by the
// names of their documents, denies the bearer.
func Denied(c Claims, list iter.Seq2[string, *Denial]) error {
	for name, d := range list {
		if d.Denies(c) {
			return refuse("the token was revoked (%s/%s)", DenyKind, name)
		}
	}
	return nil
}

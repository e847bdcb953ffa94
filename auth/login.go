package auth

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// Times of logins and sessions.
const (
	LoginCodeLife      = 10 * time.Minute
	CookieSessionLife  = 12 * time.Hour // on TLS: an HttpOnly cookie
	BearerSessionLife  = time.Hour      // on plain HTTP: scripts of the page can read it
	maxLoginCodes      = 128            // pending; the oldest makes room
	loginCodeMinLength = 26             // characters of a code, 128 random bits
)

// Logins hands out one-use login codes and turns them into sessions. Codes live
// in memory only: a restart voids them. It is safe for concurrent use.
type Logins struct {
	ring func() Ring

	mu      sync.Mutex
	pending []login // oldest first
}

// login is a code that was not used yet. Only its hash is kept, so that looking
// it up takes the same time whatever the guess.
type login struct {
	hash    [sha256.Size]byte
	bearer  Claims
	expires time.Time
}

// Session is what a browser holds after a login.
type Session struct {
	Token  Secret
	Claims Claims
}

// NewLogins returns an empty Logins that signs sessions with the ring of the
// moment.
func NewLogins(ring func() Ring) *Logins { return &Logins{ring: ring} }

// Code makes a login code for the holder of a token. The session will have the
// subject, role and cluster of bearer, and will not outlive it; a zero Expires
// sets no bound.
func (l *Logins) Code(bearer Claims) Secret {
	code := rand.Text()
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(now)
	if len(l.pending) >= maxLoginCodes {
		l.pending = l.pending[1:]
	}
	l.pending = append(l.pending, login{hash: sha256.Sum256([]byte(code)), bearer: bearer, expires: now.Add(LoginCodeLife)})
	return NewSecret(code)
}

// Redeem turns a code into a session, once. The session is meant for a cookie
// if cookie is true, else for a bearer header, and then lives shorter. The error
// has CodeLoginExpired for a code that is unknown, used or too old.
func (l *Logins) Redeem(code string, cookie bool) (Session, error) {
	bearer, ok := l.take(code)
	if !ok {
		return Session{}, muster.Errorf(muster.CodeLoginExpired, "the login code is unknown, used up or too old")
	}
	claims := sessionOf(bearer, cookie)
	token, err := l.ring().Issue(claims)
	if err != nil {
		return Session{}, err
	}
	return Session{Token: NewSecret(token), Claims: claims}, nil
}

func (l *Logins) take(code string) (Claims, bool) {
	if len(code) < loginCodeMinLength || len(code) > 2*loginCodeMinLength {
		return Claims{}, false
	}
	hash := sha256.Sum256([]byte(code))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropLocked(time.Now())
	for i, p := range l.pending {
		if p.hash == hash {
			l.pending = append(l.pending[:i:i], l.pending[i+1:]...)
			return p.bearer, true
		}
	}
	return Claims{}, false
}

// dropLocked forgets codes that are too old. All live equally long, so the old
// ones stand first.
func (l *Logins) dropLocked(now time.Time) {
	for len(l.pending) > 0 && !now.Before(l.pending[0].expires) {
		l.pending = l.pending[1:]
	}
}

func sessionOf(bearer Claims, cookie bool) Claims {
	now := time.Now()
	life := BearerSessionLife
	if cookie {
		life = CookieSessionLife
	}
	expires := now.Add(life)
	if !bearer.Expires.IsZero() && bearer.Expires.Before(expires) {
		expires = bearer.Expires
	}
	return Claims{
		Subject: bearer.Subject, ID: muster.NewUUID(), Role: bearer.Role, Cluster: bearer.Cluster,
		Issued: now, Expires: expires, Session: true, Parent: cmp.Or(bearer.Parent, bearer.ID),
		ParentIssued: bearer.rooted(),
	}
}

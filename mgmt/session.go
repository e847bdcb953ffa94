package mgmt

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/auth"
)

// CreateLogin makes a login code for the caller.
func (h *handlers) CreateLogin(ctx context.Context, _ server.CreateLoginRequestObject) (server.CreateLoginResponseObject, error) {
	who := scopeOf(ctx).caller
	if h.cfg.Logins == nil || !who.known() {
		return nil, muster.Errorf(muster.CodeForbidden, "this node makes no login codes for %s", who.Subject)
	}
	code := h.cfg.Logins.Code(who.Claims)
	return server.CreateLogin201JSONResponse{Code: code.Reveal(), ExpiresAt: time.Now().Add(auth.LoginCodeLife).UTC()}, nil
}

// CreateSession turns a login code into a session: a cookie that scripts cannot
// read over TLS, else a short-lived token.
func (h *handlers) CreateSession(ctx context.Context, q server.CreateSessionRequestObject) (server.CreateSessionResponseObject, error) {
	r := scopeOf(ctx).r
	tls := h.encrypted(r)
	if !tls && !h.cfg.Insecure && !h.clientAddr(r).IsLoopback() {
		return nil, muster.Errorf(muster.CodeInsecureLogin, "a session would cross the network from %s in clear text", h.clientAddr(r))
	}
	if h.cfg.Logins == nil || q.Body == nil || len(q.Body.Code) > maxText {
		return nil, h.refused(r, muster.Errorf(muster.CodeLoginExpired, "this is no login code of this node"))
	}
	session, err := h.cfg.Logins.Redeem(q.Body.Code, tls)
	if err != nil {
		return nil, h.refused(r, err)
	}
	who := session.Claims
	scopeOf(ctx).caller = caller{Claims: who, via: viaSession}
	body := api.Session{Subject: who.Subject, Role: string(who.Role), ExpiresAt: who.Expires.UTC()}
	if !tls {
		body.Token = session.Token.Reveal()
	}
	return reply(func(w http.ResponseWriter) error {
		if tls {
			http.SetCookie(w, newSessionCookie(session.Token.Reveal(), time.Until(who.Expires)))
		}
		return writeJSON(w, http.StatusCreated, body)
	}), nil
}

// newSessionCookie returns the cookie of a session, or, with a life of 0, the one
// that deletes it.
func newSessionCookie(token string, life time.Duration) *http.Cookie {
	age := int(life / time.Second)
	if age <= 0 {
		age = -1
	}
	return &http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", MaxAge: age,
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// GetSession tells callers who they are.
func (h *handlers) GetSession(ctx context.Context, _ server.GetSessionRequestObject) (server.GetSessionResponseObject, error) {
	who := scopeOf(ctx).caller
	return server.GetSession200JSONResponse{
		Subject: who.Subject, ID: who.ID, Role: api.CallerRole(who.Role), Via: who.via,
	}, nil
}

// DeleteSession logs out. A token that is no session stays good: it was not made
// here and does not end here.
func (h *handlers) DeleteSession(ctx context.Context, _ server.DeleteSessionRequestObject) (server.DeleteSessionResponseObject, error) {
	who := scopeOf(ctx).caller
	if who.Session {
		h.ended.add(who.ID, who.Expires)
	}
	return reply(func(w http.ResponseWriter) error {
		if who.via == viaSession {
			http.SetCookie(w, newSessionCookie("", 0))
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}), nil
}

// maxEnded bounds the sessions that are remembered as logged out. The oldest are
// forgotten first; sessions are short.
const maxEnded = 1024

// endedSessions remembers who has logged out, until the session would have ended.
type endedSessions struct {
	mu  sync.Mutex
	ids map[string]time.Time
}

func newEndedSessions() *endedSessions { return &endedSessions{ids: map[string]time.Time{}} }

func (e *endedSessions) add(id string, expires time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	soonest := ""
	for old, at := range e.ids {
		if time.Now().After(at.Add(auth.Leeway)) {
			delete(e.ids, old)
		} else if soonest == "" || at.Before(e.ids[soonest]) {
			soonest = old
		}
	}
	if len(e.ids) >= maxEnded {
		delete(e.ids, soonest)
	}
	e.ids[id] = expires
}

func (e *endedSessions) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.ids[id]
	return ok
}

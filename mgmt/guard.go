package mgmt

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// sessionCookie carries a browser session over TLS. The prefix makes browsers
// refuse it without Secure, from another host, or for a part of the paths.
const sessionCookie = "__Host-muster"

// guard stands before every handler of the router. It decides on the route that
// was matched; a route without an entry in the table is refused.
func (a *API) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := scopeOf(r.Context())
		routing := chi.RouteContext(r.Context())
		rt, known := a.table[routing.RouteMethod+" "+routing.RoutePattern()]
		if !known {
			a.failUnread(w, r, muster.Errorf(muster.CodeNotFound, "%s is no path of this API", muster.Printable(r.URL.Path)))
			return
		}
		s.route = rt
		if err := a.admit(s, r); err != nil {
			a.failUnread(w, r, err)
			return
		}
		if err := checkMedia(s, r); err != nil {
			a.failUnread(w, r, err)
			return
		}
		a.identify(w.Header(), s)
		r, leave := a.calls.enter(r, s.caller)
		defer leave()
		r.Body = http.MaxBytesReader(w, r.Body, rt.body)
		next.ServeHTTP(w, r)
	})
}

// admit decides whether the caller may use the route.
func (a *API) admit(s *scope, r *http.Request) error {
	if s.route.access == public {
		return nil
	}
	who, err := a.authenticate(r)
	if err != nil {
		return err
	}
	s.caller = who
	if who.Role.Allows(s.route.role) || who.via == viaAnonymous && a.answersStrangers(s.route) {
		return nil
	}
	if who.via == viaAnonymous {
		return muster.Errorf(muster.CodeUnauthenticated, "%s %s needs a token", s.route.method, muster.Printable(r.URL.Path))
	}
	return muster.Errorf(muster.CodeForbidden, "%s needs the role %s, %s has the role %s",
		s.route.operation, s.route.role, muster.Printable(who.Subject), who.Role)
}

func (a *API) answersStrangers(rt route) bool {
	switch rt.access {
	case public, brief:
		return true
	case briefMaybe:
		return a.cfg.Anonymous != AnonymousNone
	case scraped:
		return a.cfg.MetricsPublic
	default:
		return false
	}
}

// authenticate finds out who asks. Callers who show nothing are anonymous; who
// shows something that is not good is refused, whatever the route.
func (a *API) authenticate(r *http.Request) (caller, error) {
	token, via, err := credential(r)
	if err != nil {
		return caller{}, a.refused(r, err)
	}
	if token == "" {
		return a.anonymous(), nil
	}
	claims, err := a.verify(token)
	if err != nil {
		return caller{}, a.refused(r, err)
	}
	return caller{Claims: claims, via: via, token: token}, nil
}

func (a *API) anonymous() caller {
	who := caller{via: viaAnonymous, Claims: auth.Claims{Subject: viaAnonymous}}
	if a.cfg.Anonymous == AnonymousRead {
		who.Role = auth.RoleViewer
	}
	return who
}

func (a *API) verify(token string) (auth.Claims, error) {
	claims, err := a.cfg.Auth.Verify(token)
	if err != nil {
		return auth.Claims{}, err
	}
	if a.ended.has(claims.ID) {
		return auth.Claims{}, muster.Errorf(muster.CodeUnauthenticated, "this session has been logged out")
	}
	return claims, nil
}

// credential takes the token from the Authorization header, else from the cookie.
func credential(r *http.Request) (token, via string, err error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", "", muster.Errorf(muster.CodeUnauthenticated, "the Authorization header is not of the form: Bearer TOKEN")
		}
		return token, viaBearer, nil
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil && cookie.Value != "" {
		return cookie.Value, viaSession, nil
	}
	return "", "", nil
}

// refused counts a failed credential against the address it came from. The right
// credential always passes: only failures spend the allowance.
func (a *API) refused(r *http.Request, err error) error {
	addr := a.clientAddr(r)
	allowed, log := a.failures.take(addr)
	a.metrics.refused(muster.CodeOf(err))
	if log {
		a.log.Warn("credential refused", "address", addr.String(), "path", muster.Printable(r.URL.Path), "error", err)
	}
	if !allowed {
		return muster.Errorf(muster.CodeTooManyRequests, "too many wrong credentials from %s", addr)
	}
	return err
}

// checkMedia refuses packed bodies and demands application/json of browser
// sessions: forms and plain text are what a foreign page can send without asking.
func checkMedia(s *scope, r *http.Request) error {
	if s.route.body == 0 {
		return nil
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return muster.Errorf(muster.CodeUnsupportedMedia, "Content-Encoding %q: send the body unpacked", muster.Printable(coding))
	}
	fromBrowser := s.caller.via == viaSession || s.caller.Session
	if !s.route.json && !fromBrowser {
		return nil
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return muster.Errorf(muster.CodeUnsupportedMedia, "Content-Type %q: want application/json",
			muster.Printable(r.Header.Get("Content-Type")))
	}
	return nil
}

// identify says to authenticated callers which node answered for which cluster.
func (a *API) identify(h http.Header, s *scope) {
	if !s.caller.known() {
		return
	}
	h.Set("Muster-Node-Id", string(a.cfg.NodeID))
	if id := a.clusterID(); id != "" {
		h.Set("Muster-Cluster-Id", string(id))
	}
	if rev, synced := a.revision(); synced {
		h.Set("Muster-Revision", strconv.FormatInt(rev, 10))
	}
}

package mgmt

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/musterhq/muster"
)

// contentPolicy is the Content-Security-Policy of every answer. The dashboard
// needs no more, and JSON that a browser is tricked into showing needs nothing.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ours := a.localPath(r)
	if ours && path == LinkPath && a.cfg.Link != nil && a.networkAllowed(r) {
		a.cfg.Link.ServeHTTP(w, r) // takes the connection over: nothing may wrap w
		return
	}
	rec := &recorder{ResponseWriter: w}
	s := &scope{id: muster.NewUUID(), began: time.Now(), path: path, w: rec}
	r = s.into(r)
	defer func() { a.finish(s, rec) }()
	defer a.recovered(rec, r)
	a.setHeaders(rec.Header(), s.id)
	if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 {
		// net/http accepts a Content-Length beside it and hides that from us.
		// A proxy in front may have believed the other one: reuse nothing.
		rec.Header().Set("Connection", "close")
	}
	if err := a.screen(r, ours); err != nil {
		a.failUnread(rec, r, err)
		return
	}
	a.dispatch(rec, r, path)
}

// dispatch hands the request to the router with a fresh routing context: one that
// is there already belongs to a router around us, which knows other paths.
func (a *API) dispatch(w http.ResponseWriter, r *http.Request, path string) {
	routing := chi.NewRouteContext()
	routing.RoutePath = path
	routing.RouteMethod = r.Method
	if r.Method == http.MethodHead {
		routing.RouteMethod = http.MethodGet // net/http drops the body
	}
	a.router.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chi.RouteCtxKey, routing)))
}

// localPath returns the path below the prefix, and false if it lies outside or is
// not spelled in the one way that we accept.
func (a *API) localPath(r *http.Request) (string, bool) {
	path, below := strings.CutPrefix(r.URL.Path, a.cfg.PathPrefix)
	if path == "" {
		path = "/"
	}
	return path, below && strings.HasPrefix(path, "/") && r.URL.RawPath == "" && canonicalPath(r.URL.Path)
}

// canonicalPath reports whether a path needs no interpretation: plain characters,
// no empty or dot segments. What a proxy might read differently is refused.
func canonicalPath(path string) bool {
	for _, c := range []byte(path) {
		if !plainPathByte(c) {
			return false
		}
	}
	segments := strings.Split(path, "/")[1:]
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

func plainPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/._-:", c) >= 0
}

// screen refuses what must not reach the router, before any credential is read.
func (a *API) screen(r *http.Request, ours bool) error {
	path := scopeOf(r.Context()).path
	if !a.networkAllowed(r) && (path != "/health" || !ours) {
		return a.foreignNetwork(r)
	}
	if path != "/health" && path != "/ready" && !a.hostAllowed(r.Host) {
		return muster.Errorf(muster.CodeHostNotAllowed, "this node is not called %q", muster.Printable(r.Host))
	}
	if !ours {
		return muster.Errorf(muster.CodeNotFound, "%s is no path of this API", muster.Printable(r.URL.EscapedPath()))
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return badField("Authorization", "the header is there more than once")
	}
	if err := a.crossSite.Check(r); err != nil {
		return muster.Errorf(muster.CodeCrossSite, "%s %s was sent by a page of another site", r.Method, muster.Printable(r.URL.Path))
	}
	return nil
}

// hostAllowed stops DNS rebinding: a name of the attacker's that resolves to our
// address is not one of ours. Nobody else controls what localhost or an IP is.
func (a *API) hostAllowed(hostport string) bool {
	host := canonicalHost(hostport)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || a.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && (!a.cfg.Loopback || ip.Unmap().IsLoopback())
}

// canonicalHost is a host without port, in lower case, without the root dot.
func canonicalHost(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func (a *API) setHeaders(h http.Header, id string) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-Id", id)
}

// recovered turns a panic into an answer, if none has begun.
func (a *API) recovered(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	a.log.Error("panic while answering", "request_id", scopeOf(r.Context()).id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // the caller must not take half an answer for a whole one
	}
	a.fail(w, r, fmt.Errorf("panic: %v", p))
}

package mgmt

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// scope is what the parts of the surface know of one request.
type scope struct {
	id     string // of the request
	began  time.Time
	path   string // below the prefix
	route  route
	caller caller
	audit  []any // what the handler adds to the log line of a write
	r      *http.Request
	w      http.ResponseWriter
}

// caller is who asks.
type caller struct {
	auth.Claims

	via   string // bearer, session, anonymous; empty before it is known
	token string // to be verified again while a stream goes on
}

// known reports whether the caller has shown a credential.
func (c caller) known() bool { return c.via == viaBearer || c.via == viaSession }

// full reports whether the caller may see everything a viewer may.
func (c caller) full() bool { return c.Role.Allows(auth.RoleViewer) }

// Values of caller.via.
const (
	viaBearer    = "bearer"
	viaSession   = "session"
	viaAnonymous = "anonymous"
)

type scopeKey struct{}

func (s *scope) into(r *http.Request) *http.Request {
	s.r = r.WithContext(context.WithValue(r.Context(), scopeKey{}, s))
	return s.r
}

// scopeOf returns the scope of a request that ServeHTTP has taken in.
func scopeOf(ctx context.Context) *scope {
	s, ok := ctx.Value(scopeKey{}).(*scope)
	if !ok {
		return &scope{r: &http.Request{URL: &url.URL{}}}
	}
	return s
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter

	status int
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// finish counts an answer and, if it was a write, leaves its trace in the log.
func (a *API) finish(s *scope, w *recorder) {
	if w.status == 0 {
		w.status = http.StatusOK // net/http sends it for us
	}
	a.metrics.observe(s, w.status)
	if s.route.method == "" || s.route.method == http.MethodGet {
		return
	}
	if !s.caller.known() && w.status >= http.StatusBadRequest {
		return // strangers do not fill the log; failed credentials have a line of their own
	}
	attrs := append([]any{
		slog.String("operation", s.route.operation),
		slog.Int("status", w.status),
		slog.String("actor", s.caller.Actor()),
		slog.String("via", string(a.cfg.NodeID)),
		slog.String("address", a.clientAddr(s.r).String()),
		slog.String("request_id", s.id),
	}, s.audit...)
	a.log.Info("write", attrs...)
}

// note adds to the log line of a write.
func (s *scope) note(attrs ...any) { s.audit = append(s.audit, attrs...) }

// revision returns the revision of the node's copy, and false before the first sync.
func (a *API) revision() (int64, bool) {
	view := a.cfg.Config.View()
	if view == nil {
		return 0, false
	}
	return view.Position().Rev, true
}

// clusterID asks the copy of the configuration first: that is cheap.
func (a *API) clusterID() muster.ClusterID {
	if view := a.cfg.Config.View(); view != nil {
		return view.Cluster()
	}
	return a.cfg.Node.Status().ClusterID
}

package mgmt

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/auth"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// LinkPath is where other nodes knock. It is no part of the operators' surface.
const LinkPath = "/cluster/v1/gossip"

// access says what a route does with callers who show no credential.
type access uint8

const (
	closed     access = iota // refused, unless anonymous callers may read
	public                   // served; credentials are not looked at
	brief                    // served with less
	briefMaybe               // served with less, unless anonymous callers get nothing
	scraped                  // refused, unless metrics are public
)

// route is one operation of the surface.
type route struct {
	operation string // operationId in openapi.yaml; empty for what is not in it
	method    string
	pattern   string
	access    access
	role      auth.Role // the least role a credential must have
	stream    bool      // the answer may go on for ever
	body      int64     // most bytes of a body; 0: it has none
	json      bool      // the body must be application/json, whoever sends it
}

// slack is what a body may have beyond the largest specification: white space and
// escapes that the canonical form drops.
const slack = 64 << 10

// routes is the whole surface. A route that is not here is refused.
func routes() []route {
	const read, write = auth.RoleViewer, auth.RoleOperator
	return []route{
		{operation: "getHealth", method: "GET", pattern: "/health", access: public},
		{operation: "getReady", method: "GET", pattern: "/ready", access: brief, role: read},
		{operation: "getVersion", method: "GET", pattern: "/version", access: public},
		{operation: "getMetrics", method: "GET", pattern: "/metrics", access: scraped, role: read},
		{operation: "getClusterStatus", method: "GET", pattern: "/cluster/status", access: briefMaybe, role: read},
		{operation: "listMembers", method: "GET", pattern: "/cluster/members", role: read},
		{operation: "listNodes", method: "GET", pattern: "/cluster/nodes", role: read},
		{operation: "getMatrix", method: "GET", pattern: "/v1/members/matrix", role: read},
		{operation: "getMember", method: "GET", pattern: "/v1/members/{id}", role: read},
		{operation: "drainMember", method: "POST", pattern: "/v1/members/{id}:drain", role: write},
		{operation: "resumeMember", method: "POST", pattern: "/v1/members/{id}:resume", role: write},
		{operation: "removeMember", method: "POST", pattern: "/v1/members/{id}:remove", role: write},
		{operation: "listReapable", method: "GET", pattern: "/v1/members:reap", role: read},
		{operation: "getCluster", method: "GET", pattern: "/v1/cluster", role: read},
		{operation: "formCluster", method: "POST", pattern: "/v1/cluster:form", role: auth.RoleAdmin},
		{operation: "expelMember", method: "POST", pattern: "/v1/members/{id}:expel", role: auth.RoleAdmin, body: 4 << 10},
		{operation: "readmitMember", method: "POST", pattern: "/v1/members/{id}:readmit", role: auth.RoleAdmin},
		{operation: "listLeases", method: "GET", pattern: "/v1/leases", role: read},
		{operation: "releaseLease", method: "POST", pattern: "/v1/leases/{name}:release", role: write},
		{operation: "listKeys", method: "GET", pattern: "/v1/keys", role: auth.RoleAdmin},
		{operation: "leave", method: "POST", pattern: "/v1/leave", role: write},
		{operation: "listConfig", method: "GET", pattern: "/v1/config", role: read},
		{operation: "listConfigKind", method: "GET", pattern: "/v1/config/{kind}", role: read},
		{operation: "getConfig", method: "GET", pattern: "/v1/config/{kind}/{name}", role: read},
		{operation: "putConfig", method: "PUT", pattern: "/v1/config/{kind}/{name}", role: write, body: muster.MaxSpec + slack},
		{operation: "deleteConfig", method: "DELETE", pattern: "/v1/config/{kind}/{name}", role: write},
		{operation: "applyConfig", method: "POST", pattern: "/v1/config:apply", role: write, body: store.MaxBatch*muster.MaxSpec + slack},
		{operation: "listRevisions", method: "GET", pattern: "/v1/revisions", role: read},
		{operation: "getRevision", method: "GET", pattern: "/v1/revisions/{rev}", role: read},
		{operation: "diffRevision", method: "GET", pattern: "/v1/revisions/{rev}/diff", role: read},
		{operation: "rollbackRevision", method: "POST", pattern: "/v1/revisions/{rev}:rollback", role: write},
		{operation: "listChanges", method: "GET", pattern: "/v1/changes", role: read},
		{operation: "traceRevision", method: "GET", pattern: "/v1/revisions/{rev}/trace", role: read},
		{operation: "getDrift", method: "GET", pattern: "/v1/drift", role: read},
		{operation: "listEvents", method: "GET", pattern: "/v1/events", role: read, stream: true},
		{operation: "watch", method: "GET", pattern: "/v1/watch", role: read, stream: true},
		{operation: "createLogin", method: "POST", pattern: "/v1/logins", role: read},
		{operation: "getSession", method: "GET", pattern: "/v1/session", role: read},
		{operation: "createSession", method: "POST", pattern: "/v1/session", access: public, body: 4 << 10, json: true},
		{operation: "deleteSession", method: "DELETE", pattern: "/v1/session", role: read},
		{operation: "getOpenAPI", method: "GET", pattern: "/v1/openapi.json", role: read},

		{method: "GET", pattern: "/", access: public},
		{method: "GET", pattern: "/ui/*", access: public},
	}
}

// newRouter registers everything behind the guard, which sees the route that was
// matched and not a path it would have to understand a second time.
func (a *API) newRouter() chi.Router {
	for _, rt := range routes() {
		a.table[rt.method+" "+rt.pattern] = rt
	}
	root := chi.NewRouter()
	root.NotFound(a.notFound)
	root.MethodNotAllowed(a.methodNotAllowed)
	guarded := root.With(a.guard)
	strict := server.NewStrictHandlerWithOptions(&handlers{API: a}, nil, server.StrictHTTPServerOptions{
		RequestErrorHandlerFunc:  a.badRequest,
		ResponseErrorHandlerFunc: a.fail,
	})
	server.HandlerWithOptions(strict, server.ChiServerOptions{BaseRouter: guarded, ErrorHandlerFunc: a.badRequest})
	if a.cfg.UI != nil {
		guarded.Get("/", a.home)
		guarded.Get("/ui/*", a.ui)
	}
	return root
}

// notFound answers for paths that no route matches.
func (a *API) notFound(w http.ResponseWriter, r *http.Request) {
	a.fail(w, r, muster.Errorf(muster.CodeNotFound, "%s is no path of this API", muster.Printable(r.URL.Path)))
}

// methodNotAllowed answers for paths that exist with another method.
func (a *API) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	path := scopeOf(r.Context()).path
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		if a.router.Match(chi.NewRouteContext(), method, path) {
			w.Header().Add("Allow", method)
			if method == http.MethodGet {
				w.Header().Add("Allow", http.MethodHead)
			}
		}
	}
	a.fail(w, r, muster.Errorf(muster.CodeMethodNotAllowed, "%s is not offered for %s",
		muster.Printable(r.Method), muster.Printable(r.URL.Path)))
}

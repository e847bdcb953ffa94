package mgmt

import (
	"net/http"

	"github.com/go-chi/chi/v5"
)

// RouteInfo is what a test may know of a route.
type RouteInfo struct{ Operation, Method, Pattern, Role string }

// Routes returns the table. The role of a route that serves strangers is
// "anonymous", as in openapi.yaml.
func Routes() (list []RouteInfo) {
	for _, rt := range routes() {
		role := string(rt.role)
		if rt.access != closed && rt.access != scraped {
			role = "anonymous"
		}
		list = append(list, RouteInfo{rt.operation, rt.method, rt.pattern, role})
	}
	return list
}

// Registered returns "METHOD /pattern" of everything the router answers.
func (a *API) Registered() (list []string) {
	_ = chi.Walk(a.router, func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		list = append(list, method+" "+pattern)
		return nil
	})
	return list
}

// Unlisted makes the router serve a pattern that is not in the table.
func (a *API) Unlisted(pattern string, h http.HandlerFunc) {
	a.router.(*chi.Mux).With(a.guard).Get(pattern, h)
}

package mgmt_test

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
)

// description loads openapi.yaml once.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("../openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // whatever address a test listens on
	return doc, nil
})

var specRouter = sync.OnceValues(func() (routers.Router, error) {
	doc, err := description()
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc)
})

// checker is a transport that holds every answer against openapi.yaml.
type checker struct {
	t    *testing.T
	next http.RoundTripper
}

func (c *checker) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode >= 400 && media != "application/problem+json" && media != "application/json" && r.Method != http.MethodHead {
		c.t.Errorf("%s %s answered %d as %q: errors are problem documents", r.Method, r.URL.Path, resp.StatusCode, media)
	}
	if media == "text/event-stream" {
		return resp, nil // it does not end
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	c.check(r, resp, body)
	return resp, nil
}

func (c *checker) check(r *http.Request, resp *http.Response, body []byte) {
	router, err := specRouter()
	if err != nil {
		c.t.Error(err)
		return
	}
	probe := r.Clone(r.Context())
	if probe.Method == http.MethodHead {
		return
	}
	route, params, err := router.FindRoute(probe)
	partial := r.URL.Query().Has("raw") || r.URL.Query().Has("key") // the body is a part of what is described
	if err != nil || partial && resp.StatusCode == http.StatusOK {
		return // no operation: its answers are checked by their tests
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: probe, PathParams: params, Route: route},
		Status:                 resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(r.Context(), in); err != nil {
		c.t.Errorf("%s %s: the answer is not as described: %v", r.Method, r.URL.Path, err)
	}
}

// operations lists "METHOD /path" of every operation of openapi.yaml.
func operations(t *testing.T) map[string]*openapi3.Operation {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]*openapi3.Operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			list[method+" "+path] = op
		}
	}
	return list
}

func TestDescriptionIsValid(t *testing.T) {
	t.Parallel()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	if len(operations(t)) < 20 {
		t.Errorf("only %d operations: the walk is broken", len(operations(t)))
	}
}

func TestEveryOperationAnswersFailuresWithProblems(t *testing.T) {
	t.Parallel()
	for name, op := range operations(t) {
		failed := op.Responses.Default()
		if failed == nil || failed.Ref != "#/components/responses/Failed" {
			t.Errorf("%s: the default response is not the problem document", name)
		}
	}
}

// TestRoutesAndDescriptionAgree walks both ways: what is served is described, and
// what is described is served, under the same name and role.
func TestRoutesAndDescriptionAgree(t *testing.T) {
	t.Parallel()
	described := operations(t)
	undescribed := []string{"GET /", "GET /ui/*"}
	for _, rt := range mgmt.Routes() {
		name := rt.Method + " " + rt.Pattern
		op, ok := described[name]
		delete(described, name)
		switch {
		case !ok && !slices.Contains(undescribed, name):
			t.Errorf("%s is served and not in openapi.yaml", name)
		case ok && op.OperationID != rt.Operation:
			t.Errorf("%s is called %q, in openapi.yaml %q", name, rt.Operation, op.OperationID)
		case ok && op.Extensions["x-role"] != rt.Role:
			t.Errorf("%s asks for the role %q, in openapi.yaml %v", name, rt.Role, op.Extensions["x-role"])
		}
	}
	for name := range described {
		t.Errorf("%s is in openapi.yaml and not served", name)
	}
	s := newSurface(t, nil)
	if got, want := len(s.api.Registered()), len(mgmt.Routes()); got != want {
		t.Errorf("the router has %d routes, the table %d: %v", got, want, s.api.Registered())
	}
	for _, name := range s.api.Registered() {
		if !slices.ContainsFunc(mgmt.Routes(), func(r mgmt.RouteInfo) bool { return r.Method+" "+r.Pattern == name }) {
			t.Errorf("%s is registered and not in the table", name)
		}
	}
}

// concrete puts values into the parameters of a path.
func concrete(path string) string {
	path = strings.ReplaceAll(path, "/ui/*", "/ui/")
	return regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x1")
}

func TestStrangersAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	open := []string{"GET /health", "GET /ready", "GET /version", "GET /cluster/status"}
	s := setup(t, nil)
	forged := "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJyb2xlIjoiYWRtaW4ifQ."
	for name, op := range operations(t) {
		method, path, _ := strings.Cut(name, " ")
		for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			c := call{method: m, path: concrete(path), body: "{}"}
			if m == "GET" || m == "HEAD" {
				c.body = ""
			}
			allowed := slices.Contains(open, name) && (m == "GET" || m == "HEAD")
			login := path == "/v1/session" && m == "POST"
			if got := s.do(t, c).status; !allowed && !login && got != 401 && got != 404 && got != 405 {
				t.Errorf("anonymous %s %s answered %d", m, c.path, got)
			} else if allowed && got != 200 {
				t.Errorf("anonymous %s %s answered %d, want 200", m, c.path, got)
			}
		}
		got := s.do(t, call{method: method, path: concrete(path), header: map[string]string{"Authorization": forged}}).status
		if ignored := op.Extensions["x-role"] == "anonymous" && op.Security != nil && len(*op.Security) == 0; !ignored && got != 401 && got != 429 {
			t.Errorf("%s with a forged token answered %d, want 401", name, got)
		}
	}
}

func TestNoOperationAnswersViewersWithNothing(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 201, call{method: "PUT", path: "/v1/config/x1/x1", body: "1", role: auth.RoleAdmin, header: map[string]string{"If-None-Match": "*"}})
	for name, op := range operations(t) {
		method, path, _ := strings.Cut(name, " ")
		stream := op.OperationID == "watch" || op.OperationID == "listEvents"
		if method != "GET" || stream {
			continue
		}
		a := s.do(t, call{method: "GET", path: concrete(path), role: auth.RoleViewer})
		if a.status == 200 && a.body == "" || a.status >= 500 {
			t.Errorf("%s answered %d %q", name, a.status, a.body)
		}
		head := s.do(t, call{method: "HEAD", path: concrete(path), role: auth.RoleViewer})
		if head.status != a.status || head.body != "" || head.header.Get("Content-Type") != a.header.Get("Content-Type") {
			t.Errorf("HEAD %s answered %d %q, GET %d", path, head.status, head.body, a.status)
		}
	}
}

func TestDescriptionIsServedWithThePrefix(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *mgmt.Config) { c.PathPrefix = "/tools/muster" })
	a := s.want(t, 200, call{method: "GET", path: "/tools/muster/v1/openapi.json", role: auth.RoleViewer})
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.Servers[0].URL; got != "/tools/muster/" {
		t.Errorf("server %q, want the prefix", got)
	}
	if len(api.OpenAPI) == 0 || doc.Paths.Len() < 15 {
		t.Error("the description is not whole")
	}
	s.want(t, 404, call{method: "GET", path: "/v1/openapi.json", role: auth.RoleViewer})
	if got := s.want(t, 302, call{method: "GET", path: "/tools/muster"}).header.Get("Location"); got != "/tools/muster/ui/" {
		t.Errorf("the prefix leads to %q", got)
	}
	s.want(t, 200, call{method: "GET", path: "/tools/muster/ui/"})
	s.want(t, 404, call{method: "GET", path: "/tools/musterx"})
}

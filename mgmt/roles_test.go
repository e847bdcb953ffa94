package mgmt_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/musterhq/muster/auth"
)

// TestRoleMatrix asks every operation with every role and holds the answers
// against the role that openapi.yaml names.
func TestRoleMatrix(t *testing.T) {
	t.Parallel()
	for name, op := range operations(t) {
		needs, _ := op.Extensions["x-role"].(string)
		if needs != "anonymous" && !auth.Role(needs).Valid() {
			t.Errorf("%s: x-role is %q", name, needs)
			continue
		}
		if op.OperationID == "watch" || op.OperationID == "listEvents" {
			name += "?wait=0s&topics=nothing" // a refused parameter ends what else goes on for ever
		}
		method, path, _ := strings.Cut(name, " ")
		for _, role := range auth.Roles() {
			s := setup(t, nil) // logging out or leaving must not spoil the next one
			a := s.do(t, call{method: method, path: concrete(path), role: role})
			want := needs != "anonymous" && !role.Allows(auth.Role(needs))
			if refused := a.status == http.StatusForbidden; refused != want || a.status == http.StatusUnauthorized && method+path != "POST/v1/session" {
				t.Errorf("%s as %s answered %d, needs %s", name, role, a.status, needs)
			}
		}
	}
}

// TestTokensElsewhereAreNotLookedAt: what stands in a URL ends up in logs.
func TestTokensElsewhereAreNotLookedAt(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	token := s.token(t, auth.RoleAdmin)
	for _, c := range []call{
		{method: "GET", path: "/cluster/members?token=" + token},
		{method: "GET", path: "/cluster/members?access_token=" + token},
		{method: "GET", path: "/cluster/members", header: map[string]string{"Cookie": "token=" + token}},
		{method: "GET", path: "/cluster/members", header: map[string]string{"X-Auth-Token": token}},
		{method: "GET", path: "/cluster/members", header: map[string]string{"Proxy-Authorization": "Bearer " + token}},
		{method: "GET", path: "/cluster/members", header: map[string]string{"Authorization": "Basic " + token}},
		{method: "GET", path: "/cluster/members", header: map[string]string{"Authorization": token}},
	} {
		s.want(t, http.StatusUnauthorized, c)
	}
}

// TestLogoutEndsTheSessionAtOnce and leaves other sessions and the token alone.
func TestLogoutEndsTheSessionAtOnce(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	login := func() string {
		code := decode[struct{ Code string }](t, s.want(t, 201, call{method: "POST", path: "/v1/logins", role: auth.RoleViewer})).Code
		a := s.want(t, 201, call{method: "POST", path: "/v1/session", body: `{"code":"` + code + `"}`, header: map[string]string{"Content-Type": "application/json"}})
		return "Bearer " + decode[struct{ Token string }](t, a).Token
	}
	with := func(method, path, credential string) call {
		return call{method: method, path: path, header: map[string]string{"Authorization": credential}}
	}
	one, two := login(), login()
	s.want(t, 200, with("GET", "/cluster/members", one))
	s.want(t, 204, with("DELETE", "/v1/session", one))
	s.want(t, 401, with("GET", "/cluster/members", one))
	s.want(t, 401, with("DELETE", "/v1/session", one))
	s.want(t, 200, with("GET", "/cluster/members", two))
	s.want(t, 200, call{method: "GET", path: "/cluster/members", role: auth.RoleViewer})
}

package mgmt_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
)

func TestRouteOutsideTheTableAnswersNobody(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.api.Unlisted("/v1/forgotten", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	s.want(t, 404, call{method: "GET", path: "/v1/forgotten", role: auth.RoleAdmin})
}

func TestForeignHostIsRefused(t *testing.T) {
	t.Parallel()
	loopback := setup(t, func(c *mgmt.Config) { c.AllowedHosts = []string{"Node1.example:9113"} })
	anywhere := setup(t, func(c *mgmt.Config) { c.Loopback = false })
	for _, c := range []struct {
		s    *surface
		host string
		path string
		want int
	}{
		{loopback, "evil.example", "/cluster/status", 421},
		{loopback, "evil.example", "/version", 421},
		{loopback, "evil.example", "/ui/", 421},
		{loopback, "evil.example", "/v1/config", 421},
		{loopback, "evil.example", "/nowhere", 421},
		{loopback, "evil.example", "/health", 200},
		{loopback, "evil.example", "/ready", 200},
		{loopback, "localhost.evil.example", "/version", 421},
		{loopback, "192.0.2.7", "/version", 421},
		{loopback, "127.0.0.1.evil.example", "/version", 421},
		{loopback, "localhost:1", "/version", 200},
		{loopback, "LOCALHOST.", "/version", 200},
		{loopback, "127.8.8.8", "/version", 200},
		{loopback, "[::1]:9113", "/version", 200},
		{loopback, "node1.EXAMPLE", "/version", 200},
		{anywhere, "192.0.2.7:9113", "/version", 200},
		{anywhere, "[2001:db8::1]", "/version", 200},
		{anywhere, "evil.example", "/version", 421},
	} {
		a := c.s.want(t, c.want, call{method: "GET", path: c.path, header: map[string]string{"Host": c.host}})
		if c.want == 421 && a.problem(t).Code != "host-not-allowed" {
			t.Errorf("host %s: %s", c.host, a.body)
		}
	}
}

func TestForeignPagesCannotWrite(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	put := call{method: "PUT", path: "/v1/config/a/b", body: "1", role: auth.RoleAdmin}
	for _, header := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site"},
		{"Sec-Fetch-Site": "same-site"},
		{"Origin": "https://evil.example"},
		{"Origin": "null"},
	} {
		header["If-None-Match"] = "*"
		put.header = header
		if p := s.want(t, 403, put).problem(t); p.Code != "cross-site" {
			t.Errorf("%v: code %q", header, p.Code)
		}
	}
	login := call{method: "POST", path: "/v1/session", body: `{"code":"x"}`, header: map[string]string{"Origin": "https://evil.example", "Content-Type": "application/json"}}
	s.want(t, 403, login)
	put.header = map[string]string{"If-None-Match": "*", "Sec-Fetch-Site": "same-origin", "Origin": s.url}
	s.want(t, 201, put)
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, c := range []call{
		{method: "GET", path: "/health"},
		{method: "GET", path: "/ui/"},
		{method: "GET", path: "/ui/none.js"},
		{method: "GET", path: "/"},
		{method: "GET", path: "/nowhere"},
		{method: "GET", path: "/v1/config"},
		{method: "PATCH", path: "/v1/config"},
		{method: "GET", path: "/metrics", role: auth.RoleViewer},
		{method: "GET", path: "/health", header: map[string]string{"Host": "evil.example"}},
	} {
		h := s.do(t, c).header
		for name, want := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, name, got, want)
			}
		}
		if h.Get("X-Request-Id") == "" {
			t.Errorf("%s %s has no request id", c.method, c.path)
		}
	}
}

// TestPathsHaveOneSpelling: a proxy and a node that read a path differently are how
// access rules on paths are got round.
func TestPathsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/base"} {
		s := setup(t, func(c *mgmt.Config) { c.PathPrefix = prefix })
		for _, path := range []string{
			"//cluster/status", "/cluster//status", "/cluster/./status", "/cluster/x/../status", "/./cluster/status",
			"/%63luster/status", "/cluster%2Fstatus", "/cluster%2fstatus", "/cluster/%2e%2e/health", "/cluster/..%2fhealth",
			"/cluster\\status", "/cluster;a=b/status", "/cluster/status;a=b", "/cluster/status/", "/cluster/status/.", "/cluster/status%00",
			"/cluster/status%20", "/cluster/status%3Fx", "/CLUSTER/STATUS", "/health/../cluster/members", "/ui/../cluster/members",
			"/ui//x", "/ui/%2e%2e/cluster/members", "/v1/config/a%2fb/c", "/v1/config/a/b/c", "/v1/config/../config", "/%2e/health", "/health%0a",
		} {
			got := raw(t, s, "GET "+prefix+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+s.token(t, auth.RoleAdmin)+"\r\n\r\n")
			if got.StatusCode != 404 {
				t.Errorf("%s%s answered %d, want 404", prefix, path, got.StatusCode)
			}
			if got.Header.Get("Location") != "" {
				t.Errorf("%s%s redirects to %s", prefix, path, got.Header.Get("Location"))
			}
		}
	}
}

// raw sends bytes and reads one answer.
func raw(t *testing.T, s *surface, text string) *http.Response {
	t.Helper()
	conn := connect(t, s)
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, bufio.NewReader(conn), text)
}

func connect(t *testing.T, s *surface) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func readAnswer(t *testing.T, r *bufio.Reader, text string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", text[:min(80, len(text))], err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestAmbiguousHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	token := "Authorization: Bearer " + s.token(t, auth.RoleViewer) + "\r\n"
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"two credentials":       {"GET /v1/config HTTP/1.1\r\nHost: localhost\r\n" + token + token + "\r\n", 400},
		"good and bad":          {"GET /v1/config HTTP/1.1\r\nHost: localhost\r\n" + token + "Authorization: Basic eA==\r\n\r\n", 400},
		"two lengths":           {"POST /v1/leave HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		"two hosts":             {"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
		"no host":               {"GET /health HTTP/1.1\r\n\r\n", 400},
		"space before colon":    {"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length : 3\r\n\r\nabc", 400},
		"header beyond 16 KiB":  {"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", 431},
		"unknown coding":        {"POST /v1/leave HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"forwarded by a nobody": {"GET /v1/config HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-Ip: 127.0.0.1\r\n\r\n", 401},
		"plain password":        {"GET /v1/config HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic eDp5\r\n\r\n", 401},
	} {
		if got := raw(t, s, c.text); got.StatusCode != c.want {
			t.Errorf("%s answered %d, want %d", name, got.StatusCode, c.want)
		}
	}
}

// TestAmbiguousLengthEndsTheConnection: what follows a request with both lengths
// may be a second request that only one of two servers sees.
func TestAmbiguousLengthEndsTheConnection(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	conn := connect(t, s)
	text := "PUT /v1/config/a/b HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\nAuthorization: Bearer " + s.token(t, auth.RoleAdmin) +
		"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n"
	if _, err := conn.Write([]byte(text + "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	first := readAnswer(t, r, text)
	if first.StatusCode != 201 || !first.Close {
		t.Errorf("answered %d, closes: %v; want 201 and the end of the connection", first.StatusCode, first.Close)
	}
	_ = first.Body.Close()
	if second, err := http.ReadResponse(r, nil); err == nil {
		t.Errorf("the smuggled request was answered with %d", second.StatusCode)
	}
}

func TestUnauthenticatedBodyIsNotRead(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, announced := range []string{"Transfer-Encoding: chunked\r\n\r\n10\r\n", "Content-Length: 100\r\n\r\n{"} {
		text := "PUT /v1/config/a/b HTTP/1.1\r\nHost: localhost\r\n" + announced
		resp := raw(t, s, text) // comes although the body never does
		if resp.StatusCode != 401 || !resp.Close || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("answered %d, closes: %v, challenge %q", resp.StatusCode, resp.Close, resp.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestGuessingIsSlowedAndTheRightTokenPasses(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, s *surface) {
		guess := call{method: "GET", path: "/v1/config", header: map[string]string{"Authorization": "Bearer wrong"}}
		for i := range 60 {
			a := s.do(t, guess)
			if want := map[bool]int{true: 401, false: 429}[i < 20]; a.status != want {
				t.Fatalf("guess %d is answered %d, want %d", i+1, a.status, want)
			}
			if a.status == 429 && (a.header.Get("Retry-After") == "" || a.problem(t).Code != "too-many-requests") {
				t.Errorf("429 without advice: %v %s", a.header, a.body)
			}
		}
		s.want(t, 200, call{method: "GET", path: "/v1/config", role: auth.RoleViewer})
		if lines := strings.Count(s.log.String(), "credential refused"); lines != 1 {
			t.Errorf("%d log lines for one guesser, want 1", lines)
		}
		if strings.Contains(s.log.String(), "Bearer") {
			t.Error("the log has the credential")
		}
		<-time.After(500 * time.Millisecond) // of virtual time: five more guesses
		for i := range 6 {
			if want := map[bool]int{true: 401, false: 429}[i < 5]; s.do(t, guess).status != want {
				t.Errorf("guess %d after half a second is not answered %d", i+1, want)
			}
		}
	})
}

func TestForwardedAddressCountsOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		proxies []netip.Prefix
		want    int // of the second guesser after the first has used up the allowance
	}{
		{"nobody is trusted", nil, 429},
		{"loopback is trusted", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, 401},
	} {
		bubble(t, func(cfg *mgmt.Config) { cfg.TrustedProxies = c.proxies }, func(t *testing.T, s *surface) {
			guess := func(from string) int {
				header := map[string]string{"Authorization": "Bearer wrong", "X-Forwarded-For": "198.51.100.1, " + from}
				return s.do(t, call{method: "GET", path: "/v1/config", header: header}).status
			}
			for range 21 {
				guess("192.0.2.1")
			}
			if got := guess("192.0.2.2"); got != c.want {
				t.Errorf("%s: another address is answered %d, want %d", c.name, got, c.want)
			}
		})
	}
}

func TestMethodsThatAreNotOfferedAreNamed(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	a := s.want(t, 405, call{method: "PATCH", path: "/v1/config/a/b"})
	if got := strings.Join(a.header.Values("Allow"), ", "); got != "GET, HEAD, PUT, DELETE" {
		t.Errorf("Allow: %q", got)
	}
	if p := a.problem(t); p.Code != "method-not-allowed" {
		t.Errorf("code %q", p.Code)
	}
}

func TestRolesAreEnforced(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	put := call{method: "PUT", path: "/v1/config/a/b", body: "1", header: map[string]string{"If-None-Match": "*"}}
	for _, role := range []auth.Role{auth.RoleViewer, auth.RoleApp} {
		put.role = role
		if p := s.want(t, 403, put).problem(t); p.Code != "forbidden" || !strings.Contains(p.Detail, "operator") {
			t.Errorf("role %s: %+v", role, p)
		}
	}
	put.role = auth.RoleOperator
	s.want(t, 201, put)
	s.want(t, 403, call{method: "POST", path: "/v1/leave", role: auth.RoleApp})
	s.want(t, 204, call{method: "POST", path: "/v1/leave", role: auth.RoleOperator})
	if !s.node.left {
		t.Error("the node was not told to leave")
	}
}

func TestAnonymousLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[string]map[string]int{
		"none":   {"/health": 200, "/ready": 200, "/version": 200, "/ui/": 200, "/cluster/status": 401, "/cluster/members": 401, "/metrics": 401},
		"status": {"/health": 200, "/ready": 200, "/version": 200, "/ui/": 200, "/cluster/status": 200, "/cluster/members": 401, "/metrics": 401},
		"read":   {"/cluster/status": 200, "/cluster/members": 200, "/v1/config": 200, "/v1/events?wait=0s": 200, "/v1/session": 200},
	} {
		s := setup(t, func(c *mgmt.Config) { c.Anonymous = level })
		for path, status := range want {
			s.want(t, status, call{method: "GET", path: path})
		}
		s.want(t, 401, call{method: "PUT", path: "/v1/config/a/b", body: "1", header: map[string]string{"If-None-Match": "*"}})
		s.want(t, 401, call{method: "POST", path: "/v1/leave"})
	}
	public := setup(t, func(c *mgmt.Config) { c.MetricsPublic = true })
	public.want(t, 200, call{method: "GET", path: "/metrics"})
	public.want(t, 401, call{method: "GET", path: "/cluster/members"})
}

func TestConfigurationFaultsAreNamed(t *testing.T) {
	t.Parallel()
	if _, err := mgmt.New(mgmt.Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
	s := newSurface(t, nil)
	registry := newRegistry()
	for i := range 2 {
		_, err := mgmt.New(mgmt.Config{Node: s.node, Config: s.config, Events: s.events, Auth: s.ring, Registry: registry})
		if (err == nil) != (i == 0) {
			t.Errorf("surface %d with one registry: %v", i+1, err)
		}
	}
	for _, prefix := range []string{"muster", "/muster/", "/", "/a//b", "/a%2f"} {
		cfg := mgmt.Config{Node: s.node, Config: s.config, Events: s.events, Auth: s.ring, PathPrefix: prefix}
		if _, err := mgmt.New(cfg); err == nil || !strings.Contains(err.Error(), "--mgmt-path-prefix") {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestPanicsBecomeProblems(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *mgmt.Config) {
		c.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret detail") })
	})
	a := s.want(t, 500, call{method: "GET", path: "/metrics", role: auth.RoleViewer})
	if p := a.problem(t); p.Code != "internal" || strings.Contains(a.body, "secret") {
		t.Errorf("answered %s", a.body)
	}
	if !strings.Contains(s.log.String(), "secret detail") {
		t.Error("the log does not say what happened")
	}
}

func TestLinkRouteIsHandedOverUntouched(t *testing.T) {
	t.Parallel()
	s := setup(t, func(c *mgmt.Config) {
		c.PathPrefix = "/p"
		c.Link = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Errorf("the link cannot take the connection over: %v", err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 299 Linked\r\nContent-Length: 0\r\n\r\n")
		})
	})
	s.want(t, 299, call{method: "GET", path: "/p/cluster/v1/gossip", header: map[string]string{"Host": "any.example"}})
	s.want(t, 404, call{method: "GET", path: "/cluster/v1/gossip"})
	none := setup(t, nil)
	none.want(t, 404, call{method: "GET", path: mgmt.LinkPath})
}

func TestLoginOverTLSIsACookie(t *testing.T) {
	t.Parallel()
	s := newSurface(t, nil)
	server := httptest.NewUnstartedServer(nil)
	server.Config = s.server
	server.StartTLS()
	t.Cleanup(server.Close)
	s.reach(t, server.URL, server.Client().Transport)
	code := s.logins.Code(auth.Claims{Subject: "ann", ID: "t1", Role: auth.RoleOperator}).Reveal()
	a := s.want(t, 201, login(code))
	cookie, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
	if err != nil {
		t.Fatal(err)
	}
	if !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" || !strings.HasPrefix(cookie.Name, "__Host-") {
		t.Errorf("the cookie is too open: %s", a.header.Get("Set-Cookie"))
	}
	if got := decode[api.Session](t, a); got.Token != "" || got.Role != "operator" || got.Subject != "ann" {
		t.Errorf("session %+v", got)
	}
	with := map[string]string{"Cookie": cookie.Name + "=" + cookie.Value, "If-None-Match": "*", "Content-Type": "text/plain"}
	put := call{method: "PUT", path: "/v1/config/a/b", body: "1", header: with}
	if p := s.want(t, 415, put).problem(t); p.Code != "unsupported-media-type" {
		t.Errorf("code %q", p.Code)
	}
	with["Content-Type"] = "application/json; charset=utf-8"
	s.want(t, 201, put)
	out := s.want(t, 204, call{method: "DELETE", path: "/v1/session", header: with})
	if !strings.Contains(out.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the cookie stays: %q", out.header.Get("Set-Cookie"))
	}
	s.want(t, 401, call{method: "GET", path: "/v1/session", header: with})
}

func login(code string) call {
	return call{method: "POST", path: "/v1/session", body: `{"code":"` + code + `"}`, header: map[string]string{"Content-Type": "application/json"}}
}

func TestLoginOverPlainLoopbackIsAToken(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	made := decode[api.LoginCode](t, s.want(t, 201, call{method: "POST", path: "/v1/logins", role: auth.RoleViewer}))
	session := decode[api.Session](t, s.want(t, 201, login(made.Code)))
	if session.Token == "" || session.Role != "viewer" || time.Until(session.ExpiresAt) <= 0 {
		t.Fatalf("session %+v", session)
	}
	if p := s.want(t, 401, login(made.Code)).problem(t); p.Code != "login-expired" {
		t.Errorf("the code works twice: %+v", p)
	}
	bearer := map[string]string{"Authorization": "Bearer " + session.Token}
	who := decode[api.Caller](t, s.want(t, 200, call{method: "GET", path: "/v1/session", header: bearer}))
	if who.Subject != "ann" || who.Role != "viewer" || who.Via != "bearer" {
		t.Errorf("caller %+v", who)
	}
	s.want(t, 204, call{method: "DELETE", path: "/v1/session", header: bearer})
	s.want(t, 401, call{method: "GET", path: "/v1/session", header: bearer})
}

func TestLoginDemandsJSON(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	c := login("x")
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		c.header = map[string]string{"Content-Type": media}
		s.want(t, 415, c)
	}
	c.header = map[string]string{"Content-Type": "application/json"}
	for body, want := range map[string]int{"": 400, "{": 400, `{"code":7}`: 400, `{}`: 401, `{"code":"` + strings.Repeat("x", 8<<10) + `"}`: 413} {
		c.body = body
		if got := s.do(t, c); got.status != want {
			t.Errorf("body %.20q answered %d, want %d", body, got.status, want)
		}
	}
}

func TestLoginFromAfarOverPlainHTTPIsRefused(t *testing.T) {
	t.Parallel()
	for _, insecure := range []bool{false, true} {
		s := newSurface(t, func(c *mgmt.Config) { c.Insecure = insecure })
		code := s.logins.Code(auth.Claims{Subject: "ann", ID: "t1", Role: auth.RoleViewer}).Reveal()
		r := httptest.NewRequest("POST", "http://localhost/v1/session", strings.NewReader(`{"code":"`+code+`"}`))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "192.0.2.9:4711"
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, r)
		if want := map[bool]int{false: 403, true: 201}[insecure]; w.Code != want {
			t.Errorf("insecure %v: answered %d %s, want %d", insecure, w.Code, w.Body, want)
		}
	}
}

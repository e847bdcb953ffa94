package mgmt_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
)

// from sends one request out of a loopback address. The body is not read: it may
// have no end.
func (s *surface) from(t *testing.T, source, request string) *http.Response {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	c, err := dialer.DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func withNetworks(allowed string, trusted ...string) func(*mgmt.Config) {
	return func(c *mgmt.Config) {
		c.AllowedNetworks = []netip.Prefix{netip.MustParsePrefix(allowed)}
		for _, p := range trusted {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
		}
		c.Link = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}
}

// TestForeignNetworksAreNotAnswered also shows that loopback is no exception and
// that no credential helps.
func TestForeignNetworksAreNotAnswered(t *testing.T) {
	t.Parallel()
	s := setup(t, withNetworks("127.0.0.8/32"))
	token := s.token(t, auth.RoleAdmin)
	for _, path := range []string{"/", "/ui/", "/ready", "/version", "/metrics", "/cluster/status", "/cluster/members", "/v1/config", "/v1/watch", mgmt.LinkPath, "/nowhere", "//health"} {
		request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.8\r\nAuthorization: Bearer " + token + "\r\n\r\n"
		if got := s.from(t, "127.0.0.1", request).StatusCode; got != http.StatusForbidden {
			t.Errorf("%s answered %d to a foreign network, want 403", path, got)
		}
		if got := s.from(t, "127.0.0.8", request).StatusCode; got == http.StatusForbidden {
			t.Errorf("%s answered %d to the allowed network", path, got)
		}
	}
	if got := s.from(t, "127.0.0.1", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").StatusCode; got != http.StatusOK {
		t.Errorf("/health answered %d, want 200: it is for balancers", got)
	}
	if p := s.want(t, http.StatusForbidden, call{method: "GET", path: "/version"}).problem(t); p.Code != string(muster.CodeNetworkNotAllowed) {
		t.Errorf("code %q", p.Code)
	}
	if !strings.Contains(s.log.String(), "caller outside the allowed networks") {
		t.Error("the log does not mention the refused caller")
	}
}

// TestAllowedNetworksLookBehindTrustedProxies: 127.0.0.2 is a trusted proxy,
// 10.1.0.0/16 is allowed.
func TestAllowedNetworksLookBehindTrustedProxies(t *testing.T) {
	t.Parallel()
	s := setup(t, withNetworks("10.1.0.0/16", "127.0.0.2/32", "10.9.0.0/16"))
	for _, c := range []struct {
		source, forwarded string
		allowed           bool
	}{
		{"127.0.0.2", "10.1.2.3", true},
		{"127.0.0.2", "203.0.113.5, 10.1.2.3", true}, // what the caller wrote stands further left
		{"127.0.0.2", "203.0.113.5", false},
		{"127.0.0.2", "10.1.2.3, 203.0.113.5", false}, // the caller lies
		{"127.0.0.2", "10.1.2.3, 10.9.0.1", true},     // a chain of trusted proxies
		{"127.0.0.2", "::ffff:10.1.2.3", true},
		{"127.0.0.2", "10.1.2.3, nonsense", false},
		{"127.0.0.2", "10.1.2.3:4711", false},
		{"127.0.0.2", "", false}, // the proxy itself is in no allowed network
		{"127.0.0.3", "10.1.2.3", false},
		{"127.0.0.3", "10.1.2.3, 127.0.0.2", false},
	} {
		for _, path := range []string{"/version", mgmt.LinkPath} {
			got := s.from(t, c.source, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: "+c.forwarded+"\r\n\r\n").StatusCode
			if (got != http.StatusForbidden) != c.allowed {
				t.Errorf("%s from %s, forwarded for %q: %d", path, c.source, c.forwarded, got)
			}
		}
	}
}

// TestCallersWithoutAnAddressAreForeign: a listener of the host program may give
// addresses that are none.
func TestCallersWithoutAnAddressAreForeign(t *testing.T) {
	t.Parallel()
	s := newSurface(t, withNetworks("0.0.0.0/0"))
	for _, remote := range []string{"", "@", "/run/muster.sock", "localhost:1"} {
		w := &discard{header: http.Header{}}
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://localhost/version", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = remote
		s.api.ServeHTTP(w, r)
		if w.status != http.StatusForbidden {
			t.Errorf("caller at %q: %d, want 403", remote, w.status)
		}
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

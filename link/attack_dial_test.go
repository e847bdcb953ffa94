package link_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

func TestTheDialPolicyHoldsForEverySource(t *testing.T) {
	t.Parallel()
	outside := start(t, newSelf(t, "outside"), func(c *link.Config) { c.Loopback = false })
	fenced := start(t, newSelf(t, "fenced"), func(c *link.Config) {
		c.AllowedSpace = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	cases := []struct {
		n    *node
		host string
	}{
		{outside, "127.0.0.1"}, {outside, "localhost"}, {outside, "[::1]"}, {outside, "[::ffff:127.0.0.1]"},
		{outside, "169.254.169.254"}, {outside, "[fd00:ec2::254]"}, {outside, "[fe80::1%25lo]"}, {outside, "224.0.0.1"},
		{outside, "[ff02::1]"}, {outside, "0.0.0.0"}, {outside, "[::]"}, {outside, "255.255.255.255"},
		{outside, "[64:ff9b::169.254.169.254]"}, {outside, "[2002:a9fe:a9fe::1]"}, {outside, "[::169.254.169.254]"},
		{outside, "[64:ff9b:1::169.254.169.254]"}, {outside, "[fd20:ce::254]"}, {outside, "[fd00:42::42]"},
		{fenced, "127.0.0.1"}, {fenced, "localhost"}, {fenced, "198.51.100.1"},
	}
	for _, c := range cases {
		endpoint := "http://" + c.host + ":9"
		_, err := c.n.Meet(t.Context(), endpoint, "")
		wantNotAllowed(t, "Meet "+endpoint, err)
		id := newSelf(t, "target").ID
		c.n.Learn(id, endpoint)
		_, err = c.n.Stream(t.Context(), id)
		wantNotAllowed(t, "Stream to "+endpoint, err)
		_ = c.n.Send(id, []byte("x"))
		eventually(t, "the attempt has failed", func() bool { _, err, _ := c.n.State(id); return err != nil })
		_, err, _ = c.n.State(id)
		wantNotAllowed(t, "Send to "+endpoint, err)
		c.n.Forget(id)
	}
}

func wantNotAllowed(t *testing.T, what string, err error) {
	t.Helper()
	if got := muster.CodeOf(err); got != muster.CodeAddressNotAllowed && got != muster.CodeBadConfig {
		t.Errorf("%s: %v, want address-not-allowed", what, err)
	}
	if got := link.Class(err); err != nil && got != "refused" {
		t.Errorf("%s: class %q tells it from a closed port", what, got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	hidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, "topsecret")
	}))
	defer hidden.Close()
	a := start(t, newSelf(t, "a"))
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(hidden.URL, status))
		_, err := a.Meet(t.Context(), srv.URL, "")
		srv.Close()
		wantCode(t, err, muster.CodeNotMuster)
		if class := link.Class(err); class != "not-muster" || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("status %d: class %s, %v", status, class, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestNoProxyOfTheEnvironmentIsUsed(t *testing.T) { //nolint:paralleltest // sets the environment
	var hits atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	a := start(t, newSelf(t, "a"), func(c *link.Config) { c.Loopback = false })
	for _, endpoint := range []string{"http://192.0.2.1:9", "https://192.0.2.1:9"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := a.Meet(ctx, endpoint, ""); err == nil {
			t.Errorf("%s answered", endpoint)
		}
		cancel()
	}
	_, peer := a, start(t, newSelf(t, "b"))
	m, err := start(t, newSelf(t, "c")).Meet(t.Context(), peer.url, "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := post(t, m, "/x", strings.NewReader("")); got != "c /x " {
		t.Errorf("rpc answered %q", got)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}

func TestAServersBodyStaysWhereItIs(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	for _, status := range []int{200, 400, 401, 403, 404, 426, 429, 500, 502, 503} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Secret", "topsecret")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "topsecret")
		}))
		_, err := a.Meet(t.Context(), srv.URL, "")
		srv.Close()
		if err == nil || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestAnEndlessAnswerIsCut(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	var written atomic.Int64
	endless := func(head string) string {
		return listen(t, func(nc net.Conn) {
			_, _ = io.WriteString(nc, head)
			junk := make([]byte, 4096)
			_, _ = rand.Read(junk)
			for {
				n, err := nc.Write(junk)
				written.Add(int64(n))
				if err != nil || written.Load() > 64<<20 {
					return
				}
			}
		})
	}
	for _, head := range []string{"", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nX: "} {
		if _, err := a.Meet(t.Context(), endless(head), ""); err == nil {
			t.Errorf("%q: met", head)
		}
	}
	if n := written.Load(); n > 32<<20 {
		t.Errorf("read %d bytes of junk", n)
	}
}

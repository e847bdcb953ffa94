package link_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

func TestLinksPassAReverseProxyUnderAPathPrefix(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	target, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	srv := httptest.NewServer(http.StripPrefix("/cluster-a", proxy))
	t.Cleanup(srv.Close)
	a.Learn(b.self.ID, srv.URL+"/cluster-a/")
	for range 3 {
		if err := a.Send(b.self.ID, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		receive(t, "packet", b.in.packets)
		if err := b.Send(a.self.ID, []byte("pong")); err != nil {
			t.Fatal(err)
		}
		receive(t, "packet back", a.in.packets)
	}
	if got, want := post(t, a.Transport(b.self.ID), "/x", strings.NewReader("hi")), "a /x hi"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	a.stop() // before the proxy, which waits for its connections
}

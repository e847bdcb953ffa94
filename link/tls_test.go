package link_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
	"github.com/musterhq/muster/internal/testca"
	"github.com/musterhq/muster/link"
)

// serveTLS serves a node a second time, over TLS. It returns the endpoint and a
// client configuration that trusts it.
func serveTLS(t testing.TB, n *node) (string, *tls.Config) {
	t.Helper()
	srv := httptest.NewTLSServer(n.Link)
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv.URL, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// keeperOf reads a certificate of an authority.
func keeperOf(t *testing.T, trusted *testca.CA, p testca.Pair) *certs.Keeper {
	t.Helper()
	k := certs.NewKeeper(certs.Files{Cert: p.CertFile, Key: p.KeyFile, CA: []string{trusted.File}})
	if err := k.Load(); err != nil {
		t.Fatal(err)
	}
	return k
}

// secure serves a node over mutual TLS and returns the endpoint.
func secure(t *testing.T, n *node, k *certs.Keeper) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: n.Link, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(certs.NewListener(inner, k.Server(tls.RequireAndVerifyClientCert), nil))
	}()
	t.Cleanup(func() { _ = srv.Close(); <-ended })
	return "https://" + inner.Addr().String()
}

// with gives a node certificates for dialling.
func with(k *certs.Keeper, bind bool) func(*link.Config) {
	return func(c *link.Config) { c.TLS, c.Roots, c.BindNames = k.Client(""), k.Roots, bind }
}

func TestRefusalsOfTLSHaveTheirCodesAndClass(t *testing.T) {
	t.Parallel()
	ours, theirs := testca.New(t, "ours"), testca.New(t, "theirs")
	b := start(t, newSelf(t, "b"))
	good := secure(t, b, keeperOf(t, ours, ours.Issue(t, testca.Leaf{CommonName: "b"})))
	expired := secure(t, b, keeperOf(t, ours, ours.Issue(t, testca.Leaf{To: -time.Hour})))
	early := secure(t, b, keeperOf(t, ours, ours.Issue(t, testca.Leaf{From: time.Hour})))
	elsewhere := secure(t, b, keeperOf(t, ours, ours.Issue(t, testca.Leaf{DNS: []string{"x"}, IPs: []net.IP{}})))
	own := ours.Issue(t, testca.Leaf{CommonName: "a"})
	for _, tt := range []struct {
		name, endpoint string
		keeper         *certs.Keeper
		want           muster.Code
	}{
		{"fine", good, keeperOf(t, ours, own), ""},
		{"wrong authority", good, keeperOf(t, theirs, own), muster.CodeCertificateUntrusted},
		{"expired", expired, keeperOf(t, ours, own), muster.CodeCertificateExpired},
		{"not yet valid", early, keeperOf(t, ours, own), muster.CodeCertificateNotYetValid},
		{"wrong name", elsewhere, keeperOf(t, ours, own), muster.CodeCertificateName},
		{"no client certificate", good, keeperOf(t, ours, testca.Pair{}), muster.CodeClientCertRequired},
		{"a foreign client certificate", good, keeperOf(t, ours, theirs.Issue(t, testca.Leaf{})), muster.CodeClientCertRefused},
		{"an expired client certificate", good, keeperOf(t, ours, ours.Issue(t, testca.Leaf{To: -time.Hour})), muster.CodeClientCertRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t, newSelf(t, "a"), with(tt.keeper, false))
			m, err := a.Meet(t.Context(), tt.endpoint, b.self.ID)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				m.Close()
				return
			}
			wantCode(t, err, tt.want)
			if got := link.Class(err); got != "tls" {
				t.Errorf("class %q, want tls", got)
			}
		})
	}
}

func TestNamesAreBoundToCertificatesOnBothSides(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, "ours")
	named := func(name string) *certs.Keeper { return keeperOf(t, ca, ca.Issue(t, testca.Leaf{CommonName: name})) }
	strict := start(t, newSelf(t, "b"), with(named("b"), true))
	lax := start(t, newSelf(t, "c"), with(named("c"), false))
	asItself, asAnother := secure(t, strict, named("b")), secure(t, lax, named("z"))
	for _, tt := range []struct {
		name, endpoint, cert string
		bind                 bool
		want                 muster.Code
	}{
		{"both carry their names", asItself, "a", true, ""},
		{"the caller has another's", asItself, "n", false, muster.CodeCertificateWrongNode},
		{"the answerer has another's", asAnother, "a", true, muster.CodeCertificateWrongNode},
		{"nobody asks", asAnother, "n", false, ""},
		{"no TLS at all", lax.url, "a", true, muster.CodeClientCertRequired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t, newSelf(t, "a"), with(named(tt.cert), tt.bind))
			m, err := a.Meet(t.Context(), tt.endpoint, "")
			if tt.want != "" {
				wantCode(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			} else {
				m.Close()
			}
		})
	}
}

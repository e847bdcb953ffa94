package link_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"testing"
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

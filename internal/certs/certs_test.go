package certs_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
	"github.com/musterhq/muster/internal/testca"
)

const answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 9\r\n\r\nuse https"

// loaded returns a Keeper that has read its files.
func loaded(t *testing.T, files certs.Files) *certs.Keeper {
	t.Helper()
	k := certs.NewKeeper(files)
	if err := k.Load(); err != nil {
		t.Fatal(err)
	}
	return k
}

func files(p testca.Pair, ca ...*testca.CA) certs.Files {
	f := certs.Files{Cert: p.CertFile, Key: p.KeyFile}
	for _, c := range ca {
		f.CA = append(f.CA, c.File)
	}
	return f
}

// serve serves "ok" over TLS and returns the address.
func serve(t *testing.T, k *certs.Keeper, auth tls.ClientAuthType) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
		ReadHeaderTimeout: 5 * time.Second,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(certs.NewListener(inner, k.Server(auth), []byte(answer)))
	}()
	t.Cleanup(func() { _ = srv.Close(); <-ended })
	return inner.Addr().String()
}

// get asks once over a new connection.
func get(t *testing.T, addr string, config *tls.Config) (*http.Response, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	return res, err
}

func TestEveryCodeIsKnown(t *testing.T) {
	t.Parallel()
	for _, code := range certs.Codes() {
		if _, ok := muster.Code(code).Info(); !ok {
			t.Errorf("nobody explains %s", code)
		}
	}
}

func TestEachRefusalHasItsCode(t *testing.T) {
	t.Parallel()
	ca, other := testca.New(t, "ours"), testca.New(t, "theirs")
	old := testca.NewUntil(t, "old", -time.Hour)
	good := files(ca.Issue(t, testca.Leaf{CommonName: "n1"}), ca)
	of := func(ca *testca.CA, leaf testca.Leaf, trusted *testca.CA) certs.Files {
		return files(ca.Issue(t, leaf), trusted)
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name           string
		server, client certs.Files
		code, text     string
	}{
		{"nothing wrong", good, good, "", ""},
		{"wrong CA", good, of(ca, testca.Leaf{}, other), certs.CodeUntrusted, `"CN=ours", which is not trusted`},
		{"namesake of the CA", good, of(ca, testca.Leaf{}, testca.New(t, "ours")), certs.CodeUntrusted, "same name"},
		{"expired CA", of(old, testca.Leaf{}, ca), of(ca, testca.Leaf{}, old), certs.CodeExpired, "of old expired"},
		{"wrong name", of(ca, testca.Leaf{DNS: []string{"db.example"}, IPs: []net.IP{}}, ca), good, certs.CodeName, "for db.example, not for 127.0.0.1"},
		{"expired", of(ca, testca.Leaf{To: -3*day - time.Hour}, ca), good, certs.CodeExpired, "3 days ago"},
		{"not yet valid", of(ca, testca.Leaf{From: 2*day + time.Hour, To: 9 * day}, ca), good, certs.CodeNotYetValid, "in 2 days"},
		{"not for servers", of(ca, testca.Leaf{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca), good, certs.CodeUntrusted, "key usage"},
		{"client certificate missing", good, certs.Files{CA: []string{ca.File}}, certs.CodeClientRequired, "none was sent"},
		{"client certificate of another CA", good, of(other, testca.Leaf{}, ca), certs.CodeClientRefused, "unknown certificate authority"},
		{"client certificate expired", good, of(ca, testca.Leaf{To: -day}, ca), certs.CodeClientRefused, "expired certificate"},
		{"client certificate not yet valid", good, of(ca, testca.Leaf{From: day, To: 2 * day}, ca), certs.CodeClientRefused, "expired certificate"},
		{"client certificate for servers only", good, of(ca, testca.Leaf{Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca), certs.CodeClientRefused, "bad certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, loaded(t, tt.server), tls.RequireAndVerifyClientCert)
			_, err := get(t, addr, loaded(t, tt.client).Client(""))
			if tt.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			fault, ok := certs.Explain(err)
			if !ok || fault.Code != tt.code || !strings.Contains(fault.Text, tt.text) || strings.Contains(fault.Text, "\n") {
				t.Errorf("got %+v for %v; want %s with %q", fault, err, tt.code, tt.text)
			}
		})
	}
}

func TestAServerNameStandsInForTheHost(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, "ours")
	k := loaded(t, files(ca.Issue(t, testca.Leaf{DNS: []string{"muster.internal"}, IPs: []net.IP{}}), ca))
	if _, err := get(t, serve(t, k, tls.NoClientCert), k.Client("muster.internal")); err != nil {
		t.Error(err)
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, "ours")
	k := loaded(t, files(ca.Issue(t, testca.Leaf{}), ca))
	addr := serve(t, k, tls.NoClientCert)
	old := k.Client("")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err := get(t, addr, old)
	if fault, ok := certs.Explain(err); !ok || fault.Code != certs.CodeVersion {
		t.Errorf("TLS 1.1: got %v, want %s", err, certs.CodeVersion)
	}
	old.MaxVersion = tls.VersionTLS12
	if _, err := get(t, addr, old); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestPlainHTTPIsAnsweredInPlainHTTP(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, "ours")
	addr := serve(t, loaded(t, files(ca.Issue(t, testca.Leaf{}), ca)), tls.RequireAndVerifyClientCert)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, "POST / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 9000)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || string(body) != "use https" {
		t.Errorf("got %s %q", res.Status, body)
	}
}

func TestTLSToAPlainPortIsNamed(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(inner) }()
	t.Cleanup(func() { _ = srv.Close() })
	_, err = (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(context.Background(), "tcp", inner.Addr().String())
	if fault, ok := certs.Explain(err); !ok || fault.Code != certs.CodeNotServed {
		t.Errorf("got %v, want %s", err, certs.CodeNotServed)
	}
}

func TestOtherErrorsAreNotOfTLS(t *testing.T) {
	t.Parallel()
	_, dial := net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	for _, err := range []error{nil, io.EOF, dial, errors.New("x"), net.ErrClosed} {
		if fault, ok := certs.Explain(err); ok {
			t.Errorf("%v is explained as %+v", err, fault)
		}
	}
}

func TestFilesThatCannotBeUsedAreNamed(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, "ours")
	a, b := ca.Issue(t, testca.Leaf{}), ca.Issue(t, testca.Leaf{})
	junk, locked := filepath.Join(t.TempDir(), "junk"), filepath.Join(t.TempDir(), "locked")
	write(t, junk, "junk")
	write(t, locked, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, tt := range []struct {
		name       string
		files      certs.Files
		code, text string
	}{
		{"mismatch", certs.Files{Cert: a.CertFile, Key: b.KeyFile}, certs.CodeKeyMismatch, b.KeyFile},
		{"no certificate", certs.Files{Cert: "/no/such", Key: b.KeyFile}, certs.CodeFiles, "/no/such"},
		{"no key", certs.Files{Cert: a.CertFile, Key: "/no/such"}, certs.CodeFiles, "/no/such"},
		{"junk for a certificate", certs.Files{Cert: junk, Key: a.KeyFile}, certs.CodeFiles, junk + " holds no certificate"},
		{"junk for a key", certs.Files{Cert: a.CertFile, Key: junk}, certs.CodeFiles, junk + " holds no private key"},
		{"key with a passphrase", certs.Files{Cert: a.CertFile, Key: locked}, certs.CodeFiles, "passphrase"},
		{"junk for authorities", certs.Files{CA: []string{ca.File, junk}}, certs.CodeFiles, junk},
		{"a directory", certs.Files{CA: []string{t.TempDir()}}, certs.CodeFiles, "authorities"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := certs.NewKeeper(tt.files).Load()
			fault, ok := errors.AsType[*certs.Fault](err)
			if !ok || fault.Code != tt.code || !strings.Contains(fault.Text, tt.text) {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.text)
			}
		})
	}
}

func TestANewCertificateIsServedAndABadOneIsNot(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, "ours")
	pair := ca.Issue(t, testca.Leaf{})
	k := loaded(t, files(pair, ca))
	addr := serve(t, k, tls.NoClientCert)
	served := func(want *big.Int) {
		t.Helper()
		res, err := get(t, addr, k.Client(""))
		if err != nil {
			t.Fatal(err)
		}
		if got := res.TLS.PeerCertificates[0].SerialNumber; got.Cmp(want) != 0 {
			t.Errorf("serial %v is served, want %v", got, want)
		}
	}
	served(pair.Serial)
	if changed, err := k.Poll(); changed || err != nil {
		t.Errorf("nothing changed: got %v, %v", changed, err)
	}
	second := ca.Renew(t, testca.Leaf{}, pair)
	if changed, err := k.Poll(); !changed || err != nil {
		t.Errorf("a new pair: got %v, %v", changed, err)
	}
	served(second.Serial)

	write(t, pair.KeyFile, "junk")
	if changed, err := k.Poll(); changed || err == nil {
		t.Errorf("a bad key: got %v, %v", changed, err)
	}
	served(second.Serial)
	if fault, since := k.Fault(); fault == nil || fault.Code != certs.CodeFiles || time.Since(since) > time.Minute {
		t.Errorf("got fault %v since %v", fault, since)
	}
	ca.Renew(t, testca.Leaf{To: -time.Hour}, pair)
	if _, err := k.Poll(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired certificate in place of a good one: %v", err)
	}
	served(second.Serial)

	last := ca.Renew(t, testca.Leaf{}, pair)
	if changed, err := k.Poll(); !changed || err != nil {
		t.Errorf("a good pair again: got %v, %v", changed, err)
	}
	served(last.Serial)
	if fault, _ := k.Fault(); fault != nil {
		t.Errorf("the fault stays: %v", fault)
	}
}

func TestNamesBindToNodes(t *testing.T) {
	t.Parallel()
	leaf := func(cn string, dns ...string) tls.ConnectionState {
		ca := testca.New(t, "ours")
		k := loaded(t, files(ca.Issue(t, testca.Leaf{CommonName: cn, DNS: dns})))
		return tls.ConnectionState{PeerCertificates: []*x509.Certificate{k.Leaf()}}
	}
	for _, tt := range []struct {
		state tls.ConnectionState
		code  string
	}{
		{leaf("n1"), ""}, {leaf("x", "N1"), ""}, {leaf("n2", "n3"), certs.CodeWrongNode},
		{leaf("", "*"), certs.CodeWrongNode}, {tls.ConnectionState{}, certs.CodeClientRequired},
	} {
		got := ""
		if f := certs.Bound(tt.state, "n1"); f != nil {
			got = f.Code
		}
		if got != tt.code {
			t.Errorf("got %q, want %q", got, tt.code)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

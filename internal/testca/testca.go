// Package testca makes certificates for tests. It contains no other code.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an authority of one test.
type CA struct {
	File string // its certificate, in PEM
	Cert *x509.Certificate

	tb  testing.TB
	key *ecdsa.PrivateKey
}

// New makes an authority.
func New(tb testing.TB, name string) *CA {
	tb.Helper()
	return NewUntil(tb, name, 365*24*time.Hour)
}

// NewUntil makes an authority that ends at a time from now, or before.
func NewUntil(tb testing.TB, name string, end time.Duration) *CA {
	tb.Helper()
	ca := &CA{tb: tb, key: newKey(tb)}
	der := ca.sign(&x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(end),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, ca.key)
	ca.File = filepath.Join(tb.TempDir(), "ca.pem")
	write(tb, ca.File, "CERTIFICATE", der)
	return ca
}

// Leaf says what a certificate is to be like. The zero value is good for 127.0.0.1
// and for an hour, as server and client.
type Leaf struct {
	CommonName string
	DNS        []string
	IPs        []net.IP // default 127.0.0.1
	From, To   time.Duration
	Usage      []x509.ExtKeyUsage
}

// Pair is a certificate and its key in files.
type Pair struct {
	CertFile, KeyFile string
	Serial            *big.Int
}

// Issue makes a certificate in a new directory.
func (ca *CA) Issue(tb testing.TB, leaf Leaf) Pair {
	tb.Helper()
	dir := tb.TempDir()
	p := Pair{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	return ca.Renew(tb, leaf, p)
}

// Renew makes a certificate in the files of an earlier one. Each is replaced as a
// whole, the key first.
func (ca *CA) Renew(tb testing.TB, leaf Leaf, at Pair) Pair {
	tb.Helper()
	key := newKey(tb)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	template := leaf.template(tb)
	write(tb, at.KeyFile, "PRIVATE KEY", raw)
	write(tb, at.CertFile, "CERTIFICATE", ca.sign(template, key))
	at.Serial = template.SerialNumber
	return at
}

func (l Leaf) template(tb testing.TB) *x509.Certificate {
	if l.IPs == nil {
		l.IPs = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if l.To == 0 {
		l.To = 60 * 24 * time.Hour
	}
	if l.From == 0 {
		l.From = -24 * time.Hour * 30
	}
	if l.Usage == nil {
		l.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: l.CommonName}, DNSNames: l.DNS, IPAddresses: l.IPs,
		NotBefore: time.Now().Add(l.From), NotAfter: time.Now().Add(l.To),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usage,
	}
}

func (ca *CA) sign(template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	ca.tb.Helper()
	parent := ca.Cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), ca.key)
	if err != nil {
		ca.tb.Fatal(err)
	}
	if ca.Cert == nil {
		if ca.Cert, err = x509.ParseCertificate(der); err != nil {
			ca.tb.Fatal(err)
		}
	}
	return der
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func serial(tb testing.TB) *big.Int {
	tb.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// write replaces a file at once, so that nobody reads half of it.
func write(tb testing.TB, path, kind string, der []byte) {
	tb.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}

package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func (s *Server) certFile() string { return filepath.Join(s.dir, "server.crt") }
func (s *Server) keyFile() string  { return filepath.Join(s.dir, "server.key") }

// EnableTLS gives the server a self-signed certificate for 127.0.0.1, restarts it
// and returns the file to trust.
func (s *Server) EnableTLS(tb testing.TB) string {
	tb.Helper()
	if err := s.writeCertificate(); err != nil {
		tb.Fatalf("make a certificate: %v", err)
	}
	s.tls = true
	s.Restart(tb)
	return s.certFile()
}

func (s *Server) writeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pgtest"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		s.writePEM(s.certFile(), 0o644, "CERTIFICATE", cert),
		s.writePEM(s.keyFile(), 0o600, "PRIVATE KEY", private),
	)
}

func (s *Server) writePEM(path string, mode os.FileMode, kind string, data []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), mode); err != nil {
		return fmt.Errorf("write %s: %w", kind, err)
	}
	if os.Getuid() == 0 {
		return os.Chown(path, nobody, nobody)
	}
	return nil
}

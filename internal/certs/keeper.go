package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Files names where certificates are kept, in PEM.
type Files struct {
	Cert string   // with its intermediates; empty: none
	Key  string   // of Cert
	CA   []string // bundles of accepted authorities; none: those of the system
}

// Keeper holds what the files say. A file that cannot be used changes nothing.
// It is safe for concurrent use.
type Keeper struct {
	files   Files
	current atomic.Pointer[material]

	mu     sync.Mutex
	stamps string // of the files that were read last
	fault  *Fault // of the last reading
	since  time.Time
}

// material is one reading of the files.
type material struct {
	cert  *tls.Certificate // nil: none
	roots *x509.CertPool   // nil: those of the system
}

// NewKeeper returns a Keeper that has read nothing yet.
func NewKeeper(files Files) *Keeper {
	k := &Keeper{files: files}
	k.current.Store(&material{})
	return k
}

// Load reads the files. An error leaves in force what was read before.
func (k *Keeper) Load() error {
	_, err := k.read(true)
	return err
}

// Reload reads the files again, and reports that what they say is in force.
func (k *Keeper) Reload() (changed bool, err error) { return k.read(true) }

// Poll reads the files if one of them has changed, or could not be used the last
// time. It reports whether something new is in force now.
func (k *Keeper) Poll() (changed bool, err error) { return k.read(false) }

func (k *Keeper) read(always bool) (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamps := k.files.stamps()
	if !always && k.fault == nil && stamps == k.stamps {
		return false, nil
	}
	m, fault := k.files.read()
	if fault == nil {
		fault = k.older(m)
	}
	if fault != nil {
		if k.fault == nil || k.fault.Text != fault.Text {
			k.since = time.Now()
		}
		k.fault = fault
		return false, fault
	}
	k.stamps, k.fault = stamps, nil
	k.current.Store(m)
	return true, nil
}

// older refuses a certificate that is not valid now in place of one that is.
func (k *Keeper) older(m *material) *Fault {
	now, old := time.Now(), k.Leaf()
	if m.cert == nil || old == nil || Dated(old, now) != nil {
		return nil
	}
	return Dated(m.cert.Leaf, now)
}

// Fault returns why the files, as they are now, are not in force, and since when;
// nil if they are.
func (k *Keeper) Fault() (*Fault, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fault, k.since
}

// Leaf returns the certificate in force, or nil if there is none.
func (k *Keeper) Leaf() *x509.Certificate {
	if c := k.current.Load().cert; c != nil {
		return c.Leaf
	}
	return nil
}

// Roots returns the authorities in force; nil means those of the system.
func (k *Keeper) Roots() *x509.CertPool { return k.current.Load().roots }

// Server returns the server side: TLS 1.2 or newer, HTTP/1.1 only, and always the
// certificate and authorities in force. No session is resumed, so that a handshake
// never rests on a certificate that was accepted before.
func (k *Keeper) Server(auth tls.ClientAuthType) *tls.Config {
	base := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientAuth: auth, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.certificate() },
	}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.ClientCAs, c.GetConfigForClient = k.Roots(), nil
		if seen, ok := hello.Conn.(*conn); ok {
			c.VerifyConnection = func(tls.ConnectionState) error { seen.agreed.Store(true); return nil }
		}
		return c, nil
	}
	return base
}

func (k *Keeper) certificate() (*tls.Certificate, error) {
	if c := k.current.Load().cert; c != nil {
		return c, nil
	}
	return nil, errors.New("no certificate was loaded")
}

// Client returns the client side: TLS 1.2 or newer, with the certificate in force
// if the server asks for one. The authorities are those of now. serverName
// replaces the host of the address; empty: it does not.
func (k *Keeper) Client(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: serverName, RootCAs: k.Roots(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := k.current.Load().cert; c != nil {
				return c, nil // even if the server would not take it: then it says why
			}
			return &tls.Certificate{}, nil
		},
	}
}

// stamps tells whether a file has changed: links are followed, as mounted secrets
// are links.
func (f Files) stamps() string {
	var all strings.Builder
	for _, path := range append([]string{f.Cert, f.Key}, f.CA...) {
		info, err := os.Stat(path)
		if err != nil {
			continue // reading says why
		}
		fmt.Fprintf(&all, "%s %d %d;", path, info.Size(), info.ModTime().UnixNano())
	}
	return all.String()
}

// maxFile bounds a file, in bytes: a bundle of all public authorities is a quarter.
const maxFile = 1 << 20

func (f Files) read() (*material, *Fault) {
	m := &material{}
	for _, path := range f.CA {
		if fault := m.addRoots(path); fault != nil {
			return nil, fault
		}
	}
	if f.Cert == "" {
		return m, nil
	}
	cert, fault := readFile("certificate", f.Cert)
	if fault != nil {
		return nil, fault
	}
	key, fault := readFile("key", f.Key)
	if fault != nil {
		return nil, fault
	}
	m.cert, fault = f.pair(cert, key)
	return m, fault
}

func (m *material) addRoots(path string) *Fault {
	text, fault := readFile("authorities", path)
	if fault != nil {
		return fault
	}
	if m.roots == nil {
		m.roots = x509.NewCertPool()
	}
	if !m.roots.AppendCertsFromPEM(text) {
		return faultf(CodeFiles, "%s holds no certificate in PEM", path)
	}
	return nil
}

// pair puts certificate and key together.
func (f Files) pair(cert, key []byte) (*tls.Certificate, *Fault) {
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return &pair, nil
	case strings.Contains(err.Error(), "does not match"):
		return nil, faultf(CodeKeyMismatch, "the key in %s does not belong to the certificate in %s", f.Key, f.Cert)
	case !holds(cert, "CERTIFICATE"):
		return nil, faultf(CodeFiles, "%s holds no certificate in PEM", f.Cert)
	case !holds(key, "PRIVATE KEY"):
		return nil, faultf(CodeFiles, "%s holds no private key in PEM without a passphrase", f.Key)
	}
	return nil, faultf(CodeFiles, "%s with %s: %s", f.Cert, f.Key, strings.TrimPrefix(err.Error(), "tls: "))
}

// holds reports whether text has a block of that type.
func holds(text []byte, kind string) bool {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) && !strings.Contains(block.Type, "ENCRYPTED") {
			return true
		}
	}
	return false
}

func readFile(what, path string) ([]byte, *Fault) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	if err != nil {
		return nil, faultf(CodeFiles, "read the %s file: %w", what, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, faultf(CodeFiles, "read the %s file: %w", what, err)
	}
	return text, nil
}

package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
)

// Values of TLS.ClientAuth.
const (
	ClientAuthNone        = "none"         // nobody is asked
	ClientAuthRequest     = "request"      // checked if it comes
	ClientAuthRequire     = "require"      // nobody gets in without one
	ClientAuthRequireName = "require-name" // and a node's must carry its name
)

// TLS names the certificates of a node, as PEM files. They are read again when
// they change. The node shows CertFile to callers and, if they ask, to the nodes
// that it calls.
type TLS struct {
	CertFile   string   // with its intermediates; empty: plain HTTP is served
	KeyFile    string   // of CertFile
	CAFiles    []string // authorities of nodes and clients; default: those of the system, for nodes only
	ClientAuth string   // ClientAuthNone (default), ClientAuthRequest, ClientAuthRequire or ClientAuthRequireName
	ServerName string   // expected in the certificates of other nodes; default: the host of their endpoint
}

func (t TLS) served() bool { return t.CertFile != "" }

// used reports whether there are files to read.
func (t TLS) used() bool { return t.served() || len(t.CAFiles) > 0 }

func (t TLS) files() certs.Files {
	return certs.Files{Cert: t.CertFile, Key: t.KeyFile, CA: t.CAFiles}
}

// clientAuth tells which callers the port accepts.
func (t TLS) clientAuth() (tls.ClientAuthType, bool) {
	kind, ok := map[string]tls.ClientAuthType{
		"": tls.NoClientCert, ClientAuthNone: tls.NoClientCert, ClientAuthRequest: tls.VerifyClientCertIfGiven,
		ClientAuthRequire: tls.RequireAndVerifyClientCert, ClientAuthRequireName: tls.RequireAndVerifyClientCert,
	}[t.ClientAuth]
	return kind, ok
}

func (t TLS) validate() (faults []error) {
	fault := func(format string, args ...any) {
		faults = append(faults, muster.Errorf(muster.CodeBadConfig, format, args...))
	}
	kind, ok := t.clientAuth()
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		fault("--mgmt-tls-cert needs --mgmt-tls-key")
	case t.CertFile == "" && t.KeyFile != "":
		fault("--mgmt-tls-key needs --mgmt-tls-cert")
	case !ok:
		fault("--mgmt-tls-client-auth %q: want none, request, require or require-name", muster.Printable(t.ClientAuth))
	case kind != tls.NoClientCert && !t.served():
		fault("--mgmt-tls-client-auth %s has no effect without --mgmt-tls-cert", t.ClientAuth)
	case kind != tls.NoClientCert && len(t.CAFiles) == 0:
		fault("--mgmt-tls-client-auth %s needs --mgmt-tls-ca: the authority whose clients are let in", t.ClientAuth)
	}
	return faults
}

// Times of certificates.
const (
	certificatePoll    = time.Second         // between looks at the files
	certificateWarning = 14 * 24 * time.Hour // before the last day
)

// loadCertificates reads the files for the first time. A certificate that is out
// of date does not stop the node: a new file is picked up while it runs.
func (n *node) loadCertificates() error {
	if err := n.certs.Load(); err != nil {
		return certificateFault(err)
	}
	if leaf := n.certs.Leaf(); leaf != nil {
		if f := certs.Dated(leaf, time.Now()); f != nil {
			n.log.Error("certificate is not valid", "code", f.Code, "reason", muster.Printable(f.Text))
		}
	}
	return nil
}

// certificateFault gives a fault of the files its code.
func certificateFault(err error) error {
	if f, ok := errors.AsType[*certs.Fault](err); ok {
		return &muster.Error{Code: muster.Code(f.Code), Text: f.Text, Err: err}
	}
	return err
}

// watchCertificates reads the files again when they change. Links that are up
// stay up: certificates matter to handshakes only.
func (n *node) watchCertificates(ctx context.Context) error {
	if !n.cfg.TLS.used() {
		return nil
	}
	tick := time.NewTicker(certificatePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_ = n.renewCertificates(n.certs.Poll) // logged, and a problem of the status
		}
	}
}

// renewCertificates reads the files in one of the two ways and tells of it once.
func (n *node) renewCertificates(read func() (bool, error)) error {
	before, _ := n.certs.Fault()
	changed, err := read()
	switch {
	case err != nil && (before == nil || before.Text != err.Error()):
		n.log.Error("certificate files cannot be used, the old ones stay", "reason", muster.Printable(err.Error()))
		n.changed.fire()
	case changed:
		n.logCertificate()
		n.changed.fire()
	}
	return certificateFault(err)
}

func (n *node) logCertificate() {
	leaf := n.certs.Leaf()
	if leaf == nil {
		n.log.Info("certificate authorities read")
		return
	}
	n.log.Info("certificates read", "serial", leaf.SerialNumber.Text(16), "expires", leaf.NotAfter.UTC().Format(time.RFC3339))
}

// secured serves TLS on the listener, if there is a certificate.
func (n *node) secured(inner net.Listener) net.Listener {
	if !n.cfg.TLS.served() {
		return inner
	}
	kind, _ := n.cfg.TLS.clientAuth() // validated
	return certs.NewListener(inner, n.certs.Server(kind), plainAnswer())
}

// plainAnswer is what a caller hears who speaks plain HTTP to a TLS port.
func plainAnswer() []byte {
	info, _ := muster.CodeTLSRequired.Info()
	body, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": info.Title, "status": http.StatusBadRequest, "code": info.Code,
		"detail": "this port speaks TLS: use https://", "fix": info.Fix,
	})
	if err != nil {
		return nil // words and a number cannot fail
	}
	return fmt.Appendf(nil, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// certificateProblems says what is wrong with the certificates, or soon will be.
func (n *node) certificateProblems() (list []muster.Problem) {
	add := func(code, text string, since time.Time) {
		info, _ := muster.Code(code).Info()
		list = append(list, muster.Problem{Code: info.Code, Text: muster.Printable(text), Fix: info.Fix, Since: since})
	}
	now, leaf := time.Now(), n.certs.Leaf()
	if f, since := n.certs.Fault(); f != nil {
		add(f.Code, "the new certificate files are not used: "+f.Text, since)
	}
	if leaf == nil {
		return list
	}
	if f := certs.Dated(leaf, now); f != nil {
		since := n.begun
		if now.After(leaf.NotAfter) {
			since = leaf.NotAfter
		}
		add(f.Code, "this node: "+f.Text, since)
		return list
	}
	if left := leaf.NotAfter.Sub(now); left < certificateWarning {
		add(certs.CodeExpiring, fmt.Sprintf("the certificate of this node expires on %s, in %s",
			leaf.NotAfter.UTC().Format(time.RFC3339), certs.Days(left)), leaf.NotAfter.Add(-certificateWarning))
	}
	return list
}

// registerTLS publishes the last day of the certificate.
func (n *node) registerTLS() error {
	if !n.cfg.TLS.served() {
		return nil
	}
	err := n.cfg.Metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "muster_tls_certificate_expiry_timestamp_seconds",
		Help: "When the certificate of the management port expires, as Unix time.",
	}, func() float64 {
		if leaf := n.certs.Leaf(); leaf != nil {
			return float64(leaf.NotAfter.Unix())
		}
		return 0
	}))
	if err != nil {
		return fmt.Errorf("register the metrics of certificates: %w", err)
	}
	return nil
}

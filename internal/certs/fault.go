package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Codes of what can be wrong with TLS, spelt as in the list of error codes.
const (
	CodeExpired        = "certificate-expired"
	CodeExpiring       = "certificate-expiring"
	CodeFiles          = "certificate-files"
	CodeKeyMismatch    = "certificate-key-mismatch"
	CodeName           = "certificate-name"
	CodeNotYetValid    = "certificate-not-yet-valid"
	CodeUntrusted      = "certificate-untrusted"
	CodeWrongNode      = "certificate-wrong-node"
	CodeClientRefused  = "client-certificate-refused"
	CodeClientRequired = "client-certificate-required"
	CodeHandshake      = "tls-handshake"
	CodeNotServed      = "tls-not-served"
	CodeRequired       = "tls-required"
	CodeVersion        = "tls-version"
)

// Codes lists all codes of this package.
func Codes() []string {
	return []string{
		CodeExpired, CodeExpiring, CodeFiles, CodeKeyMismatch, CodeName, CodeNotYetValid, CodeUntrusted, CodeWrongNode,
		CodeClientRefused, CodeClientRequired, CodeHandshake, CodeNotServed, CodeRequired, CodeVersion,
	}
}

// Fault is a failure with a code and one line for people. The text may quote what
// a certificate says of itself: clean it before showing it.
type Fault struct {
	Code string
	Text string
	Err  error // cause, may be nil
}

// Error returns the text.
func (f *Fault) Error() string { return f.Text }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

func faultf(code, format string, args ...any) *Fault {
	err := fmt.Errorf(format, args...)
	return &Fault{Code: code, Text: err.Error(), Err: errors.Unwrap(err)}
}

// Explain says why a connection that was dialled failed, if TLS is the reason.
func Explain(err error) (*Fault, bool) {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f, true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &Fault{CodeNotServed, "the port does not speak TLS", err}, true
	}
	if f := verification(err); f != nil {
		f.Err = err
		return f, true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		f := alert(op.Err.Error())
		f.Err = err
		return f, true
	}
	if f := local(err); f != nil {
		return f, true
	}
	return nil, false
}

// verification explains why this side did not accept the other's certificate.
func verification(err error) *Fault {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return faultf(CodeName, "the certificate is for %s, not for %s", subjects(e.Certificate), e.Host)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired && e.Cert != nil {
			return Dated(e.Cert, time.Now())
		}
		return faultf(CodeUntrusted, "the certificate is not acceptable: %s", strings.TrimPrefix(e.Error(), "x509: "))
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if e.Cert == nil {
			return faultf(CodeUntrusted, "the certificate is signed by an authority that is not trusted here")
		}
		return faultf(CodeUntrusted, "the certificate of %s is signed by %q, which is not trusted here%s", subjects(e.Cert), e.Cert.Issuer, namesake(e))
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return faultf(CodeUntrusted, "the certificate is not acceptable: %s", strings.TrimPrefix(e.Err.Error(), "x509: "))
	}
	return nil
}

// namesake says so if an authority of the same name is trusted.
func namesake(e x509.UnknownAuthorityError) string {
	if strings.Contains(e.Error(), "possibly because of") {
		return ": the authority given here has the same name and did not sign it"
	}
	return ""
}

// Dated says what is wrong with the dates of a certificate: it is expired, or not
// yet valid. It returns nil for one that is valid at that time.
func Dated(c *x509.Certificate, now time.Time) *Fault {
	switch {
	case now.After(c.NotAfter):
		return faultf(CodeExpired, "the certificate of %s expired on %s, %s ago", subjects(c), date(c.NotAfter), Days(now.Sub(c.NotAfter)))
	case now.Before(c.NotBefore):
		return faultf(CodeNotYetValid, "the certificate of %s is valid from %s on, in %s", subjects(c), date(c.NotBefore), Days(c.NotBefore.Sub(now)))
	}
	return nil
}

// alert explains what the other side said before it hung up.
func alert(text string) *Fault {
	text = strings.TrimPrefix(text, "tls: ")
	switch text {
	case "certificate required":
		return faultf(CodeClientRequired, "the other side wants a client certificate, and none was sent")
	case "unknown certificate authority", "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate":
		return faultf(CodeClientRefused, "the other side refuses our client certificate: %s", text)
	case "protocol version not supported":
		return faultf(CodeVersion, "the other side speaks no TLS version that we offer (1.2 and newer)")
	}
	return faultf(CodeHandshake, "the other side ended the TLS handshake: %s", text)
}

// local explains what this side did not accept, apart from certificates.
func local(err error) *Fault {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		text, ok := strings.CutPrefix(inner.Error(), "tls: ")
		switch {
		case !ok, strings.Contains(text, "closed connection"):
		case strings.Contains(text, "protocol version"):
			return &Fault{CodeVersion, "the other side speaks an old TLS version: " + text, err}
		default:
			return &Fault{CodeHandshake, "TLS handshake: " + text, err}
		}
	}
	return nil
}

// subjects names what a certificate is for.
func subjects(c *x509.Certificate) string {
	if c == nil {
		return "nobody"
	}
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, c.Subject.CommonName)
	}
	const most = 4
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, ", ")
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Days is a duration in words: whole days, or less than one.
func Days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); n {
	case 0:
		return d.Round(time.Minute).String()
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}

// Named reports whether a certificate carries a name, as a DNS name or as its
// common name. Case does not count; wildcards are taken literally.
func Named(c *x509.Certificate, name string) bool {
	return strings.EqualFold(c.Subject.CommonName, name) ||
		slices.ContainsFunc(c.DNSNames, func(n string) bool { return strings.EqualFold(n, name) })
}

// Bound checks that the certificate of the other side carries a node's name.
func Bound(state tls.ConnectionState, node string) *Fault {
	switch {
	case len(state.PeerCertificates) == 0:
		return faultf(CodeClientRequired, "%s came without a certificate", node)
	case !Named(state.PeerCertificates[0], node):
		return faultf(CodeWrongNode, "the node says that it is %s, and its certificate is for %s", node, subjects(state.PeerCertificates[0]))
	}
	return nil
}

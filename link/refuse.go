package link

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
)

// problem is the body of a refusal in clear text (RFC 9457).
type problem struct {
	Type     string      `json:"type"`
	Title    string      `json:"title"`
	Status   int         `json:"status"`
	Code     muster.Code `json:"code"`
	Detail   string      `json:"detail"`
	Fix      string      `json:"fix"`
	Accepted []string    `json:"accepted_kids,omitempty"`
	Retired  time.Time   `json:"retired_at,omitzero"` // when the cookie was dropped
}

// refuseUpgrade answers a request that does not become a link.
func (l *Link) refuseUpgrade(w http.ResponseWriter, r *http.Request, status int, why *muster.Error) {
	channel, _ := channelOf(r.Header.Get("Sec-WebSocket-Protocol"))
	l.metrics.refused(channel, true, why)
	if status != http.StatusUnauthorized {
		clearText(w, status, why)
		return
	}
	if !l.fails.allow(r.RemoteAddr, time.Now()) {
		clearText(w, http.StatusTooManyRequests, muster.Errorf(muster.CodeTooManyRequests, "too many failed handshakes from this address"))
		return
	}
	if l.fails.news(r.RemoteAddr, time.Now()) {
		l.log.Info("refused a link with another cookie; for a minute, further ones from there are only counted", "remote", r.RemoteAddr, "text", why.Text)
	}
	accepted := make([]string, 0, 2)
	for _, k := range l.cfg.Keys() {
		accepted = append(accepted, k.ID)
	}
	writeProblem(w, status, problemOf(status, why, accepted...).at(l.retiredAt(r)))
}

// retiredAt returns when the key that a request names was dropped, if it was.
func (l *Link) retiredAt(r *http.Request) time.Time {
	kid, _, err := parseNoise(r.Header.Values("Muster-Noise"))
	if err != nil || holds(l.cfg.Keys(), kid) {
		return time.Time{}
	}
	since, _ := l.retired(kid)
	return since
}

func problemOf(status int, why *muster.Error, accepted ...string) problem {
	info, _ := why.Code.Info()
	return problem{
		Type: "about:blank", Title: info.Title, Status: status, Code: why.Code,
		Detail: why.Text, Fix: why.Advice(), Accepted: accepted,
	}
}

func (p problem) at(retired time.Time) problem {
	p.Retired = retired
	return p
}

// clearText writes a refusal outside of a sealed connection.
func clearText(w http.ResponseWriter, status int, why *muster.Error) {
	writeProblem(w, status, problemOf(status, why))
}

func writeProblem(w http.ResponseWriter, status int, p problem) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close")
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusUpgradeRequired:
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade, close")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}

// maxProblem bounds how much of an answer's body is read.
const maxProblem = 4 << 10

// answerError turns an answer other than 101 into an error. key is the one we used.
func answerError(endpoint string, resp *http.Response, key Key) *muster.Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // what is there has to do
	p, ours := readProblem(resp, body)
	switch {
	case resp.StatusCode == http.StatusUpgradeRequired:
		return muster.Errorf(muster.CodeUpgradeStripped, "%s: %s between us removed the Upgrade header", endpoint, proxyName(resp))
	case !ours:
		return foreignAnswer(endpoint, resp, body)
	case p.Code == muster.CodeCookieMismatch:
		return muster.Errorf(muster.CodeCookieMismatch, "%s is a muster node that accepts [%s], ours [%s]: cookie rotated, or another cluster",
			endpoint, p.acceptedKIDs(), key.ID)
	case p.Code == muster.CodeCookieRetired:
		return muster.Errorf(muster.CodeCookieRetired, "the cookie of this node, %s, was dropped by %s at %s; accepted are [%s]",
			key.ID, endpoint, p.Retired.UTC().Format(time.RFC3339), p.acceptedKIDs())
	}
	return &muster.Error{
		Code: p.Code, Text: muster.Printable(endpoint + ": " + p.Detail), Fix: muster.Printable(p.Fix),
	}
}

// acceptedKIDs lists the first few key ids that the answerer accepts.
func (p problem) acceptedKIDs() string {
	kids := slices.DeleteFunc(p.Accepted, func(s string) bool { return !isKeyID(s) })
	return strings.Join(kids[:min(4, len(kids))], ", ")
}

// proxyName is what a proxy calls itself; a node sends no Server header.
func proxyName(resp *http.Response) string {
	if name := muster.Printable(resp.Header.Get("Server")); name != "" {
		return "the proxy " + name
	}
	return "a proxy"
}

// readProblem reports whether an answer was written by a muster node.
func readProblem(resp *http.Response, body []byte) (problem, bool) {
	statuses := []int{400, 401, 403, 426, 429, 503}
	if !slices.Contains(statuses, resp.StatusCode) ||
		!strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return problem{}, false
	}
	var p problem
	if err := json.Unmarshal(body, &p); err != nil {
		return problem{}, false
	}
	_, known := p.Code.Info()
	return p, known
}

// foreignAnswer describes an answer that no muster node wrote.
func foreignAnswer(endpoint string, resp *http.Response, body []byte) *muster.Error {
	status := muster.Printable(resp.Status)
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return muster.Errorf(muster.CodePeerUnreachable, "%s: a proxy answers %s for the node", endpoint, status)
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return muster.Errorf(muster.CodeNotMuster, "%s answers %s to %s; redirects are not followed",
			endpoint, status, muster.Printable(resp.Header.Get("Location")))
	}
	if strings.Contains(string(body), "HTTP request to an HTTPS server") {
		return muster.Errorf(muster.CodeNotMuster, "%s speaks TLS", endpoint).WithFix("write https:// in the endpoint")
	}
	return muster.Errorf(muster.CodeNotMuster, "%s answers %s", endpoint, status)
}

// unreachable turns a failure to connect into an error, unless it is one with a
// code already.
func unreachable(endpoint string, err error) *muster.Error {
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return e
	}
	if f, ok := certs.Explain(err); ok {
		return &muster.Error{Code: muster.Code(f.Code), Text: muster.Printable(endpoint + ": " + f.Text), Err: err}
	}
	return muster.Errorf(muster.CodePeerUnreachable, "%s: %w", endpoint, err)
}

// Class sorts the outcome of reaching a node into one word: ok, dns, refused,
// timeout, tls, not-muster or other-node.
func Class(err error) string {
	switch code := muster.CodeOf(err); {
	case err == nil:
		return "ok"
	case code == muster.CodeNotMuster || code == muster.CodeUpgradeStripped:
		return "not-muster"
	case isDNS(err):
		return "dns"
	case isTLS(err):
		return "tls"
	case isTimeout(err) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return "timeout"
	case slices.Contains([]muster.Code{muster.CodePeerUnreachable, muster.CodeInternal, muster.CodeAddressNotAllowed, muster.CodeBadConfig}, code):
		return "refused"
	}
	return "other-node" // a muster node that has its reasons
}

func isDNS(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func isTLS(err error) bool {
	if slices.Contains(certs.Codes(), string(muster.CodeOf(err))) {
		return true
	}
	_, ok := certs.Explain(err)
	return ok
}

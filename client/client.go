package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/internal/certs"
)

// DefaultAddr is asked when Config names no address.
const DefaultAddr = "http://127.0.0.1:9113"

// Config says whom to ask, and as whom.
type Config struct {
	Addr  string // URL with or without scheme, with the path prefix if there is one; default DefaultAddr
	Token string // empty: anonymous

	// TLS is used for https addresses. nil: the system's authorities, TLS 1.2 or newer.
	TLS *tls.Config

	// HTTPClient sends the requests; its Timeout would end long polls and streams.
	// Default: a client of our own that follows no redirects.
	HTTPClient *http.Client
}

// Client asks one node. It is safe for concurrent use.
type Client struct {
	addr  string
	api   *api.Client
	least least
}

// New returns a client. It connects to nothing.
func New(cfg Config) (*Client, error) {
	addr, err := normalize(cfg.Addr)
	if err != nil {
		return nil, err
	}
	doer := cfg.HTTPClient
	if doer == nil {
		doer = newHTTPClient(cfg.TLS)
	}
	inner, err := api.NewClient(addr, api.WithHTTPClient(doer), api.WithRequestEditorFn(authorize(cfg.Token)))
	if err != nil {
		return nil, muster.Errorf(muster.CodeUsage, "address %s: %w", addr, err)
	}
	return &Client{addr: addr, api: inner}, nil
}

// newHTTPClient follows no redirects.
func newHTTPClient(secure *tls.Config) *http.Client {
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok && secure != nil {
		t := standard.Clone()
		t.TLSClientConfig, t.ForceAttemptHTTP2 = secure, false
		c.Transport = t
	}
	return c
}

// Addr returns the address that is asked.
func (c *Client) Addr() string { return c.addr }

func authorize(token string) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return nil
	}
}

func normalize(addr string) (string, error) {
	if addr == "" {
		addr = DefaultAddr
	}
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", muster.Errorf(muster.CodeUsage, "%q is no address of a node", muster.Printable(addr)).
			WithFix("give one like %s", DefaultAddr)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// maxAnswer bounds an answer that is read as a whole.
const maxAnswer = 64 << 20

// take reads an answer into out, or the refusal that it is. It closes the body.
func (c *Client) take(resp *http.Response, err error, out any) (http.Header, error) {
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if !understood(resp) {
		return nil, c.refusal(resp, body)
	}
	if out == nil || len(body) == 0 {
		return resp.Header, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, muster.Errorf(muster.CodeNotMuster, "what %s answered is not the documented JSON: %w", c.addr, err)
	}
	return resp.Header, nil
}

// understood reports whether an answer is what was asked for. A 503 with a plain
// JSON body is one: "not yet", with the facts.
func understood(resp *http.Response) bool {
	plain := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
	return resp.StatusCode < 300 || resp.StatusCode == http.StatusServiceUnavailable && plain
}

// Conflict is the refusal of a write whose condition did not hold. Its cause is a
// *muster.Error with CodeConflict.
type Conflict struct {
	Current *muster.Document // what is there; nil if nothing is

	cause *muster.Error
}

// Error returns what the node said.
func (e *Conflict) Error() string { return e.cause.Error() }

// Unwrap returns the error that the node answered.
func (e *Conflict) Unwrap() error { return e.cause }

func (c *Client) refusal(resp *http.Response, body []byte) error {
	var p api.Problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return muster.Errorf(muster.CodeNotMuster, "%s answered %s, and not in the words of muster", c.addr, resp.Status)
	}
	e := &muster.Error{Code: muster.Code(p.Code), Text: p.Detail, Fix: p.Fix}
	if e.Code == muster.CodeConflict {
		return &Conflict{Current: p.Current, cause: e}
	}
	return e
}

// unreachable names a failure to ask. The caller's own cancellation stays what it
// is.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL: the text below names the address
	}
	if f, ok := certs.Explain(err); ok {
		return &muster.Error{Code: muster.Code(f.Code), Text: muster.Printable(c.addr + ": " + f.Text), Err: err}
	}
	return muster.Errorf(muster.CodePeerUnreachable, "%s does not answer: %w", c.addr, err)
}

// duration is the form of ?wait; nil for none.
func duration(d time.Duration) *string {
	if d <= 0 {
		return nil
	}
	return new(d.String())
}

func revisionOf(h http.Header) int64 {
	rev, err := strconv.ParseInt(h.Get("Muster-Revision"), 10, 64)
	if err != nil {
		return 0
	}
	return rev
}

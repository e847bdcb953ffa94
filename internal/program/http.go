package program

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/freeport"
)

// Address returns a loopback address that nobody listens on.
func Address(tb testing.TB) string {
	tb.Helper()
	port, err := freeport.Next()
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Await polls until ok returns nil, and returns how long it took; after the limit the
// test fails with its last answer.
func Await(tb testing.TB, limit time.Duration, ok func() error) time.Duration {
	tb.Helper()
	start, tick := time.Now(), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			tb.Fatalf("not within %s: %v", limit, err)
		}
		<-tick.C
	}
}

// Caller sends requests to one node, or to what stands before several.
type Caller struct {
	Base  string // URL without a slash at the end
	Token string // "" for an anonymous caller
}

// Answer is what came back.
type Answer struct {
	Code   int
	Header http.Header
	Body   []byte
}

// Send sends one request. The line is method and path, as in "GET /health"; header
// holds names and values in turn.
func (c Caller) Send(tb testing.TB, line, body string, header ...string) (Answer, error) {
	method, path, _ := strings.Cut(line, " ")
	req, err := http.NewRequestWithContext(tb.Context(), method, c.Base+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }() // nothing is written
	data, err := io.ReadAll(res.Body)
	return Answer{Code: res.StatusCode, Header: res.Header, Body: data}, err
}

// Put creates a document.
func (c Caller) Put(tb testing.TB, key, spec string) error {
	a, err := c.Send(tb, "PUT /v1/config/"+key+"?reason=test", spec, "If-None-Match", "*")
	if err == nil && a.Code != http.StatusCreated {
		err = fmt.Errorf("put %s: %d, want 201: %s", key, a.Code, a.Body)
	}
	return err
}

// LoginCode returns a fresh code that opens the dashboard.
func (c Caller) LoginCode(tb testing.TB) string {
	tb.Helper()
	a, err := c.Send(tb, "POST /v1/logins", "")
	if err != nil || a.Code != http.StatusCreated {
		tb.Fatalf("make a login code: %d %s %v", a.Code, a.Body, err)
	}
	var login struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(a.Body, &login); err != nil || login.Code == "" {
		tb.Fatalf("login code: got %s (%v)", a.Body, err)
	}
	return login.Code
}

// Healthy returns nil once the node sees a healthy cluster of that many members.
func (c Caller) Healthy(tb testing.TB, size int) error {
	a, err := c.Send(tb, "GET /cluster/status", "")
	if err != nil {
		return err
	}
	var s struct {
		Healthy int    `json:"healthy_members"`
		Size    int    `json:"cluster_size"`
		Verdict string `json:"cluster_health"`
	}
	if err := json.Unmarshal(a.Body, &s); err != nil {
		return fmt.Errorf("status %d of %s: %w", a.Code, c.Base, err)
	}
	if s.Healthy != size || s.Size != size || s.Verdict != "HEALTHY" {
		return fmt.Errorf("%s sees %d healthy of %d, %s", c.Base, s.Healthy, s.Size, s.Verdict)
	}
	return nil
}

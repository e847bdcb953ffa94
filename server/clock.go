package server

import (
	"bytes"
	"net/http"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/journal"
)

// causeHeader carries the sender's hybrid logical clock on every message between
// nodes, both ways. The digests of gossip end with the same text.
const causeHeader = "Muster-Cause"

// clocked is a way to a member that merges the clocks of both sides.
type clocked struct {
	clock *journal.Clock
	next  http.RoundTripper
}

// RoundTrip stamps the request and takes the time of the answer.
func (c clocked) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(causeHeader, c.clock.Tick().String())
	resp, err := c.next.RoundTrip(req)
	if err == nil {
		hear(c.clock, resp.Header.Get(causeHeader))
	}
	return resp, err
}

// hear merges a clock value that another node sent; anything else is ignored.
func hear(c *journal.Clock, text string) {
	if at, err := muster.ParseClock(text); err == nil {
		c.Observe(at)
	}
}

// withClock takes the time of requests and stamps their answers when they begin:
// what the handler has recorded by then comes before what the caller does next.
func withClock(c *journal.Clock, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hear(c, r.Header.Get(causeHeader))
		next.ServeHTTP(&clockWriter{ResponseWriter: w, clock: c}, r)
	})
}

// clockWriter sets the header at the last moment.
type clockWriter struct {
	http.ResponseWriter
	clock *journal.Clock
	done  bool
}

func (w *clockWriter) stamp() {
	if !w.done {
		w.done = true
		w.Header().Set(causeHeader, w.clock.Tick().String())
	}
}

// WriteHeader stamps the answer and begins it.
func (w *clockWriter) WriteHeader(status int) {
	w.stamp()
	w.ResponseWriter.WriteHeader(status)
}

// Write stamps the answer if nothing has begun it.
func (w *clockWriter) Write(b []byte) (int, error) {
	w.stamp()
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *clockWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// digest is what exchanges of gossip carry: where the configuration of this node
// stands, and its clock behind that. Readers of digests ignore fields at the end.
func (n *node) digest() []byte {
	c := n.core.Load()
	if c == nil {
		return nil
	}
	digest := c.replica.Digest()
	if len(digest) == 0 {
		return nil
	}
	return append(append(bytes.Clone(digest), ' '), n.journal.Clock().Tick().String()...)
}

func (n *node) observe(digest []byte) {
	hear(n.journal.Clock(), string(digest[bytes.LastIndexByte(digest, ' ')+1:]))
	if c := n.core.Load(); c != nil {
		c.replica.Observe(digest)
	}
}

package mgmt

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxHalfOpen is how many connections may be without a whole request header. Whoever
// sends one in time is not counted any more, however long the request takes.
const maxHalfOpen = 512

// halfOpen knows the connections whose header is not complete. When there are too
// many, the oldest one goes: a caller that is honest has long been served by then.
type halfOpen struct {
	mu   sync.Mutex
	open []net.Conn            // oldest first
	idle map[net.Conn]struct{} // between two requests
}

// halfOpenKey is the context key of a request's connection.
type halfOpenKey struct{}

// guardHalfOpen makes a server keep count.
func guardHalfOpen(srv *http.Server) {
	h, next := &halfOpen{idle: map[net.Conn]struct{}{}}, srv.Handler
	srv.ConnState = h.changed
	srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		return context.WithValue(ctx, halfOpenKey{}, nc)
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if nc, ok := r.Context().Value(halfOpenKey{}).(net.Conn); ok {
			h.remove(nc)
		}
		next.ServeHTTP(w, r)
	})
}

// changed follows a connection: it is half open from its start, and again from the
// first byte of each further request.
func (h *halfOpen) changed(nc net.Conn, state http.ConnState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, waited := h.idle[nc]
	delete(h.idle, nc)
	switch {
	case state == http.StateNew || state == http.StateActive && waited:
		h.addLocked(nc)
	case state == http.StateActive: // its first request: it is counted already, or was closed
	case state == http.StateIdle:
		h.idle[nc] = struct{}{}
		h.removeLocked(nc)
	default:
		h.removeLocked(nc)
	}
}

func (h *halfOpen) addLocked(nc net.Conn) {
	if h.open = append(h.open, nc); len(h.open) > maxHalfOpen {
		oldest := h.open[0]
		h.open = slices.Delete(h.open, 0, 1)
		go func() { _ = oldest.Close() }() // TLS may linger for its last words
	}
}

func (h *halfOpen) remove(nc net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(nc)
}

func (h *halfOpen) removeLocked(nc net.Conn) {
	if i := slices.Index(h.open, nc); i >= 0 {
		h.open = slices.Delete(h.open, i, i+1)
	}
}

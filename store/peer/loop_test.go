package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/peer"
	"github.com/musterhq/muster/store/storetest"
)

// wire is an in-memory way to a handler. Its hooks make it fail.
type wire struct {
	handler http.Handler

	mu     sync.Mutex
	before func(*http.Request) error          // instead of sending
	after  func(*http.Response) error         // instead of the answer
	seen   []string                           // methods and paths
	alter  func(path string, b []byte) []byte // of the answer
}

var errCut = errors.New("the wire is cut")

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	before, after, alter := w.before, w.after, w.alter
	w.seen = append(w.seen, req.Method+" "+req.URL.Path)
	w.mu.Unlock()
	if before != nil {
		if err := before(req); err != nil {
			return nil, err
		}
	}
	in := req.Clone(req.Context())
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		in.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		in.Body = http.NoBody
	}
	answered := make(chan *http.Response, 1)
	go func() {
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, in)
		answered <- rec.Result()
	}()
	select {
	case resp := <-answered:
		if after != nil {
			if err := after(resp); err != nil {
				return nil, err
			}
		}
		if alter != nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(alter(req.URL.Path, body)))
		}
		return resp, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func (w *wire) set(change func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *wire) calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

const (
	home  = muster.NodeID("aaaaaaaa-0000-8000-8000-000000000001")
	other = muster.NodeID("aaaaaaaa-0000-8000-8000-000000000002")
)

// connect returns a client of the given ways to the same store.
func connect(wires ...*wire) *peer.Store {
	return peer.New(peer.Config{Targets: func() []peer.Target {
		names := []string{"home", "other"}
		ids := []muster.NodeID{home, other}
		targets := make([]peer.Target, len(wires))
		for i, w := range wires {
			targets[i] = peer.Target{ID: ids[i], Name: names[i], Transport: w}
		}
		return targets
	}})
}

// formed returns a store with a cluster and a way to it.
func formed(t *testing.T) (*memory.Store, *wire) {
	t.Helper()
	backend := memory.New()
	storetest.Form(t, backend)
	return backend, &wire{handler: peer.Handler(backend)}
}

// whole is a peer store that can also do what only the node with the store may:
// form and compact. It hides the request ids that the client made up.
type whole struct {
	*peer.Store
	backend *memory.Store
	asked   sync.Map
}

func (w *whole) Form(ctx context.Context, id muster.ClusterID) (store.Cluster, error) {
	return w.backend.Form(ctx, id)
}

func (w *whole) Compact(ctx context.Context, upTo int64) error { return w.backend.Compact(ctx, upTo) }

func (w *whole) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	for _, write := range writes {
		w.asked.Store(write.RequestID, true)
	}
	outcomes, err := w.Store.Apply(ctx, writes)
	for _, o := range outcomes {
		if o.Change != nil {
			w.hide(o.Change)
		}
	}
	return outcomes, err
}

func (w *whole) History(ctx context.Context, p store.Past) (store.History, error) {
	h, err := w.Store.History(ctx, p)
	for i := range h.Changes {
		w.hide(&h.Changes[i])
	}
	return h, err
}

func (w *whole) Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error) {
	changes, err := w.Store.Changes(ctx, after, limit)
	for i := range changes {
		w.hide(&changes[i])
	}
	return changes, err
}

func (w *whole) hide(c *muster.Change) {
	if c.RequestID == "" {
		panic("the client sent a write without a request id")
	}
	if _, asked := w.asked.Load(c.RequestID); !asked {
		c.RequestID = ""
	}
}

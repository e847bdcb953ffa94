package replica

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// Bounds of a peer's wait for a revision.
const (
	maxHeadWait   = 30 * time.Second
	confirmMargin = 200 * time.Millisecond // for the answer to come back
	askAgain      = 100 * time.Millisecond // after a failure, while there is time
	asksAtOnce    = 16                     // members that are asked at the same time
)

// Handler serves hints, changes, snapshots and the head to peers, all from memory:
// peers level with each other while the store is down.
func (r *Replica) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST " + hintPath:    r.receiveHint,
		"GET " + changesPath:  r.serveChanges,
		"GET " + snapshotPath: r.serveSnapshot,
		"GET " + headPath:     r.serveHead,
		"GET " + tracePath:    r.serveTrace,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
			if err := serve(w, req); err != nil {
				peer.WriteProblem(w, err)
			}
		})
	}
	return r.Stamp(mux)
}

func errNotSynced() error {
	return muster.Errorf(muster.CodeNotSynced, "this node has no copy of the configuration yet")
}

func (r *Replica) serveChanges(w http.ResponseWriter, req *http.Request) error {
	after, limit, err := peer.ChangesQuery(req)
	if err != nil {
		return err
	}
	if r.View() == nil {
		return errNotSynced()
	}
	changes, ok := r.copy.after(after, limit)
	if !ok {
		return store.ErrCompacted
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = peer.WriteChanges(w, changes, r.position()) // a broken stream has no end record
	return nil
}

func (r *Replica) serveSnapshot(w http.ResponseWriter, _ *http.Request) error {
	view := r.View()
	if view == nil {
		return errNotSynced()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	_ = peer.WriteSnapshot(w, snapshotOf(view)) // a broken stream has no end record
	return nil
}

// serveHead says where this node stands; ?rev=N&wait=5s waits for a revision.
func (r *Replica) serveHead(w http.ResponseWriter, req *http.Request) error {
	rev := int64(unasked)
	if text := req.URL.Query().Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		asked, err2 := strconv.ParseInt(req.URL.Query().Get("rev"), 10, 64)
		if err != nil || err2 != nil {
			return muster.Errorf(muster.CodeBadRequest, "rev and wait: want a revision and a time")
		}
		rev = asked
		ctx, cancel := context.WithTimeout(req.Context(), min(wait, maxHeadWait))
		defer cancel()
		_ = r.Wait(ctx, rev) // where it stands is the answer, whether it came that far or not
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(r.headAt(rev))
}

// headAt says where this node stands, and what it knows of one revision.
func (r *Replica) headAt(rev int64) Head {
	s := r.Status()
	h := Head{
		Node: r.cfg.Self.ID, Position: s.Position, Digest: s.Digest, Documents: s.Documents,
		Source: s.Source, Store: s.StoreState, Since: s.Since.UTC(),
	}
	view := r.View()
	if view == nil || rev < 0 {
		return h
	}
	h.Chain, _ = r.copy.chainAt(view, rev)
	if at, ok := r.copy.marks.since(rev); ok {
		h.Passed = max(r.cfg.Now().Sub(at), 1)
	}
	return h
}

// serveTrace says how a revision came here.
func (r *Replica) serveTrace(w http.ResponseWriter, req *http.Request) error {
	rev, err := strconv.ParseInt(req.URL.Query().Get("rev"), 10, 64)
	if err != nil || rev < 1 {
		return muster.Errorf(muster.CodeBadRequest, "rev: want a revision")
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(r.Footprint(rev))
}

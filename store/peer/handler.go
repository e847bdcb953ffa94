package peer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Handler serves a store to other nodes under Prefix. Backend must be a direct
// store: one that is a peer's itself is answered with CodeLoop, since a call
// passes on to one other node only.
func Handler(backend store.Store) http.Handler {
	h := handler{backend}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET " + Prefix + "cluster":         h.cluster,
		"GET " + Prefix + "head":            h.head,
		"GET " + Prefix + "changes":         h.changes,
		"GET " + Prefix + "history":         h.history,
		"GET " + Prefix + "snapshot":        h.snapshot,
		"GET " + Prefix + "members":         h.members,
		"PUT " + Prefix + "members":         h.putMember,
		"DELETE " + Prefix + "members/{id}": h.removeMember,
		"POST " + Prefix + "apply":          h.apply,
		"GET " + Prefix + "leases":          h.leases,
		"POST " + Prefix + "leases/acquire": h.claim(h.backend.Acquire),
		"POST " + Prefix + "leases/renew":   h.claim(h.backend.Renew),
		"POST " + Prefix + "leases/release": h.release,
	} {
		mux.HandleFunc(pattern, h.guarded(serve))
	}
	return mux
}

type handler struct{ backend store.Store }

// guarded refuses second hops, bounds the time, and answers errors as problems.
func (h handler) guarded(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if h.backend.Kind() == store.KindPeer {
			WriteProblem(w, muster.Errorf(muster.CodeLoop, "this node uses another node's config store itself"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), DefaultTimeout)
		defer cancel()
		if err := serve(w, r.WithContext(ctx)); err != nil {
			WriteProblem(w, err)
		}
	}
}

func (h handler) cluster(w http.ResponseWriter, r *http.Request) error {
	c, err := h.backend.Cluster(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, c)
	}
	return err
}

func (h handler) head(w http.ResponseWriter, r *http.Request) error {
	head, err := h.backend.Head(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, head)
	}
	return err
}

func (h handler) changes(w http.ResponseWriter, r *http.Request) error {
	after, limit, err := ChangesQuery(r)
	if err != nil {
		return err
	}
	changes, err := h.backend.Changes(r.Context(), after, limit)
	if err != nil {
		return err
	}
	startStream(w)
	_ = WriteChanges(w, changes, muster.Position{}) // a broken stream has no end record
	return nil
}

// ChangesQuery reads after and limit from the query of a request for changes.
func ChangesQuery(r *http.Request) (after int64, limit int, err error) {
	query := r.URL.Query()
	after, err = strconv.ParseInt(query.Get("after"), 10, 64)
	if err != nil || after < 0 {
		return 0, 0, muster.Errorf(muster.CodeBadRequest, "after: want a revision, got %q", muster.Printable(query.Get("after")))
	}
	limit, err = strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 {
		limit = store.MaxChanges
	}
	return after, min(limit, store.MaxChanges), nil
}

func (h handler) history(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	before, err := strconv.ParseInt(q.Get("before"), 10, 64)
	if err != nil || before < 0 {
		return muster.Errorf(muster.CodeBadRequest, "before: want a revision, got %q", muster.Printable(q.Get("before")))
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		return muster.Errorf(muster.CodeBadRequest, "limit: want a number, got %q", muster.Printable(q.Get("limit")))
	}
	past := store.Past{Kind: q.Get("kind"), Name: q.Get("name"), Before: before, Limit: limit, Specs: q.Has("specs")}
	answer, err := h.backend.History(r.Context(), past)
	if err == nil {
		writeJSON(w, http.StatusOK, answer)
	}
	return err
}

func (h handler) snapshot(w http.ResponseWriter, r *http.Request) error {
	snap, err := h.backend.Snapshot(r.Context())
	if err != nil {
		return err
	}
	startStream(w)
	_ = WriteSnapshot(w, snap) // a broken stream has no end record
	return nil
}

func startStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
}

func (h handler) members(w http.ResponseWriter, r *http.Request) error {
	members, err := h.backend.Members(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, members)
	}
	return err
}

func (h handler) putMember(w http.ResponseWriter, r *http.Request) error {
	var m store.Member
	if err := readBody(w, r, smallBody, &m); err != nil {
		return err
	}
	if err := h.backend.PutMember(r.Context(), m); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h handler) removeMember(w http.ResponseWriter, r *http.Request) error {
	if err := h.backend.RemoveMember(r.Context(), muster.NodeID(r.PathValue("id"))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// apply goes on when the caller is gone: he will ask for the outcome again.
func (h handler) apply(w http.ResponseWriter, r *http.Request) error {
	var writes []store.Write
	if err := readBody(w, r, maxApplyBody, &writes); err != nil {
		return err
	}
	if err := store.CheckBatch(writes); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), DefaultTimeout)
	defer cancel()
	outcomes, err := h.backend.Apply(ctx, writes)
	if err == nil {
		writeJSON(w, http.StatusOK, encodeOutcomes(outcomes))
	}
	return err
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(v)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return muster.Errorf(muster.CodeTooLarge, "the body is larger than %d bytes", limit)
	}
	if err != nil {
		return muster.Errorf(muster.CodeBadRequest, "decode body: %w", err)
	}
	return nil
}

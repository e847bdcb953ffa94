package replica

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

// maxEarly bounds the hints that wait for the ones before them.
const maxEarly = 64

// early keeps hints that overtook others, by the revision that they continue.
type early struct {
	mu sync.Mutex
	of map[int64]waiting
}

// waiting is a hint that came too early.
type waiting struct {
	changes []muster.Change
	signer  muster.NodeID
}

func (e *early) put(h hint, changes []muster.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil || len(e.of) >= maxEarly {
		e.of = map[int64]waiting{}
	}
	e.of[h.Prev] = waiting{changes, h.Node}
}

// take returns what continues rev and forgets all that is older.
func (e *early) take(rev int64) waiting {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.of[rev]
	for prev := range e.of {
		if prev <= rev {
			delete(e.of, prev)
		}
	}
	return next
}

// receiveHint serves POST /peer/v1/hint. It always answers 204: the digest of the
// answer says where this node stands now.
func (r *Replica) receiveHint(w http.ResponseWriter, req *http.Request) error {
	var h hint
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxHintBody)).Decode(&h); err != nil {
		return muster.Errorf(muster.CodeBadRequest, "decode hint: %w", err)
	}
	if h.Cluster != r.cfg.Cluster() {
		return muster.Errorf(muster.CodeClusterMismatch, "the hint is for cluster %s", muster.Printable(string(h.Cluster)))
	}
	r.metrics.received.WithLabelValues(r.takeHint(req.Context(), h)).Inc()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// takeHint acts on a hint and says in a word what it did.
func (r *Replica) takeHint(ctx context.Context, h hint) string {
	at := r.position()
	switch {
	case r.View() == nil:
		r.need()
		return "early"
	case h.Epoch < at.Epoch, h.Rev < at.Rev:
		return "old"
	case !r.cfg.Verify(h.Node, h.message(), h.Signature):
		r.log.Warn("hint is not signed by the node it names", "node", muster.Printable(string(h.Node)))
		r.need()
		return "forged"
	case h.Rev == at.Rev:
		if h.Chain != at.Chain {
			r.log.Warn("a member writes another history", "signer", h.Node, "rev", h.Rev, "chain", h.Chain.Short(), "here", at.Chain.Short())
			r.Poke()
			return "contradicting"
		}
		return "old"
	case h.Epoch > at.Epoch || len(h.Changes) == 0:
		r.claims.note(h.Node, h.position())
		r.need()
		return "pulled"
	}
	return r.applyHint(context.WithoutCancel(ctx), h)
}

// applyHint applies the changes of a verified hint, or notes what it promises.
func (r *Replica) applyHint(ctx context.Context, h hint) string {
	var changes []muster.Change
	if err := json.Unmarshal(h.Changes, &changes); err != nil || !h.matches(changes) {
		r.need()
		return "damaged"
	}
	err := r.copy.advance(ctx, changes, 0, origin{fromPeer, muster.WayHint, h.Node})
	switch {
	case err == nil:
		r.applyEarly(ctx)
		return "applied"
	case errors.Is(err, config.ErrGap):
		r.early.put(h, changes)
		r.claims.note(h.Node, h.position())
		signal(r.soft)
		return "early"
	case errors.Is(err, config.ErrChain):
		r.metrics.failures.Inc()
		r.log.Warn("a member writes another history", "signer", h.Node, "rev", h.Rev, "error", err)
		r.Poke()
		r.need()
		return "contradicting"
	}
	r.metrics.failIf(r.log, "hint could not be applied", err)
	return "failed"
}

// matches reports whether the changes are the ones that the hint's head is about.
func (h hint) matches(changes []muster.Change) bool {
	if len(changes) == 0 {
		return false
	}
	last := changes[len(changes)-1]
	return changes[0].Rev == h.Prev+1 && last.Rev == h.Rev && last.Chain == h.Chain
}

func (h hint) position() muster.Position {
	return muster.Position{Epoch: h.Epoch, Rev: h.Rev, Chain: h.Chain}
}

// applyEarly applies the hints that were waiting for the copy to come this far.
func (r *Replica) applyEarly(ctx context.Context) {
	for {
		next := r.early.take(r.position().Rev)
		if next.changes == nil || r.copy.advance(ctx, next.changes, 0, origin{fromPeer, muster.WayHint, next.signer}) != nil {
			return
		}
	}
}

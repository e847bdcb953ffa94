package replica

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// State is what a node holds of the store.
type State string

// The states of the store as seen from a node.
const (
	Unknown  State = "unknown"  // not asked yet
	Fresh    State = "fresh"    // it answers, and its history is ours
	Stale    State = "stale"    // it does not answer
	Diverged State = "diverged" // it answers, and its history is not ours
)

// judgement is what is known of the store. It opens and closes the way for writes.
type judgement struct {
	mu    sync.Mutex
	state State
	since time.Time
	err   error         // why it is not fresh
	own   error         // why the node's own way does not answer; nil = it does
	round chan struct{} // closed and replaced after each look at the store

	turned chan struct{} // 1: the state is another one
}

func (j *judgement) init() {
	j.state = Unknown
	j.own = muster.Errorf(muster.CodeStoreUnavailable, "the config store was not reached yet")
	j.since = time.Now()
	j.round = make(chan struct{})
	j.turned = make(chan struct{}, 1)
}

// verdict is a copy of a judgement.
type verdict struct {
	state State
	since time.Time
	err   error
	own   error
}

func (j *judgement) now() verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	return verdict{j.state, j.since, j.err, j.own}
}

// looked returns a channel that is closed after the next look at the store.
func (j *judgement) looked() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.round
}

// turn sets what a look found out, and reports whether the state is another one.
// A store that does not answer stays diverged if it was.
func (j *judgement) turn(state State, err, own error) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if state == Stale && j.state == Diverged {
		state = Diverged
	} else {
		j.err = err
	}
	j.own = own
	close(j.round)
	j.round = make(chan struct{})
	if state == j.state {
		return false
	}
	j.state, j.since = state, time.Now()
	signal(j.turned)
	return true
}

// lost notes that the node's own way to the store broke during a call.
func (j *judgement) lost(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.own = err
	if j.state == Fresh {
		j.state, j.since, j.err = Stale, time.Now(), err
		signal(j.turned)
	}
}

// diverge judges that the store has another history than this node. Own is nil, or
// why it was reached through the fallback only.
func (r *Replica) diverge(own error, format string, args ...any) error {
	err := muster.Errorf(muster.CodeDiverged, format, args...)
	if r.store.turn(Diverged, err, own) {
		r.log.Error("config store has diverged", "error", err, "serving", r.position().String())
	}
	return err
}

// fresh judges that the store has the history of this node. Own is nil, or why it
// could be reached through the fallback only.
func (r *Replica) fresh(own error) {
	if r.store.turn(Fresh, nil, own) {
		r.log.Info("config store is in step", "kind", string(r.cfg.Store.Kind()), "position", r.position().String())
	}
}

// stale judges that the store cannot be reached.
func (r *Replica) stale(err error) {
	if r.store.turn(Stale, err, err) {
		r.log.Warn("config store is not reachable", "error", err, "serving", r.position().String())
	}
}

// unreachable reports whether err says that a store did nothing since it could not
// be reached, so that another way to it may be tried.
func unreachable(err error) bool {
	switch muster.CodeOf(err) {
	case muster.CodeStoreUnavailable, muster.CodeConfigHomeDown, muster.CodeLoop, muster.CodePeerUnreachable:
		return true
	}
	return false
}

// Status is what a node can say about its copy and its store.
type Status struct {
	Position   muster.Position
	Source     string // store, peer, mirror; empty before the first sync
	Documents  int
	Digest     muster.Hash // of the documents that are served
	StoreKind  store.Kind
	StoreState State
	Since      time.Time // of StoreState
	LastError  error     // why StoreState is not fresh, or why the own store does not answer
	Mirror     error     // why the mirror could not be written last; nil = it was
	Peers      map[muster.NodeID]muster.Position
}

// Status returns what is known now.
func (r *Replica) Status() Status {
	v := r.store.now()
	s := Status{
		Position: r.position(), StoreKind: r.cfg.Store.Kind(),
		StoreState: v.state, Since: v.since, LastError: v.err, Peers: r.claims.all(),
	}
	if s.LastError == nil && v.state == Fresh {
		s.LastError = v.own
	}
	s.Source, s.Mirror = r.copy.origin()
	if view := r.View(); view != nil {
		s.Documents, s.Digest = view.Len(), view.StateDigest()
	}
	return s
}

// Problems returns what is wrong with the copy or its store, for people.
func (s Status) Problems() []muster.Problem {
	var problems []muster.Problem
	add := func(err error) {
		e, ok := errors.AsType[*muster.Error](err)
		if !ok {
			e = muster.Errorf(muster.CodeStoreUnavailable, "%w", err)
		}
		problems = append(problems, muster.Problem{Code: e.Code, Text: e.Text, Fix: e.Advice(), Since: s.Since})
	}
	if s.StoreState == Stale || s.StoreState == Diverged {
		add(s.LastError)
	}
	if s.Mirror != nil {
		add(muster.Errorf(muster.CodeDataDir, "new revisions are not served, since they cannot be written to this node's disk: %w", s.Mirror))
	}
	return problems
}

// refusal returns why a write is not accepted now, or nil.
func (v verdict) refusal(fallback bool) error {
	switch {
	case v.state == Diverged:
		return v.err
	case v.own == nil:
		return nil
	case fallback && v.state == Fresh:
		return nil
	case errors.Is(v.own, store.ErrNoCluster):
		return muster.Errorf(muster.CodeNotFormed, "write: %w", v.own)
	}
	if _, ok := errors.AsType[*muster.Error](v.own); ok {
		return v.own
	}
	return muster.Errorf(muster.CodeStoreUnavailable, "write: %w", v.own)
}

// conflictText says how a store at head contradicts a copy at position at.
func conflictText(at, head muster.Position) string {
	switch {
	case head.Epoch < at.Epoch:
		return fmt.Sprintf("the store is of epoch %d, this node serves epoch %d", head.Epoch, at.Epoch)
	case head.Rev < at.Rev:
		return fmt.Sprintf("the store is at revision %d, this node serves %d", head.Rev, at.Rev)
	case head.Rev == at.Rev && head.Chain != at.Chain:
		return fmt.Sprintf("the store has another history at revision %d: chain %s, here %s", at.Rev, head.Chain.Short(), at.Chain.Short())
	}
	return ""
}

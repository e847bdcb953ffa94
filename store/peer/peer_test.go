package peer_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/peer"
	"github.com/musterhq/muster/store/storetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Store {
		backend := memory.New()
		return &whole{Store: connect(&wire{handler: peer.Handler(backend)}), backend: backend}
	})
}

func TestPeersNeverForm(t *testing.T) {
	t.Parallel()
	backend := memory.New()
	if _, err := connect(&wire{handler: peer.Handler(backend)}).Form(t.Context(), storetest.ClusterID); err == nil {
		t.Error("a cluster was formed through a peer")
	}
	if _, err := backend.Cluster(t.Context()); !errors.Is(err, store.ErrNoCluster) {
		t.Errorf("got %v, want ErrNoCluster", err)
	}
}

func TestLostAnswerIsAppliedOnce(t *testing.T) {
	t.Parallel()
	backend, w := formed(t)
	losses := 2
	w.after = func(*http.Response) error {
		if losses--; losses >= 0 {
			return errCut
		}
		return nil
	}
	outcome := storetest.Apply(t, connect(w), storetest.Put("route", "a", `1`))[0]
	if !outcome.Repeated || outcome.Change.Rev != 1 {
		t.Errorf("got %+v, want the first outcome again", outcome)
	}
	if history := storetest.History(t, backend, 10); len(history) != 1 {
		t.Errorf("applied %d times", len(history))
	}
}

func TestLostAnswerIsAskedForElsewhere(t *testing.T) {
	t.Parallel()
	backend, dying := formed(t)
	dying.after = func(*http.Response) error {
		dying.set(func(w *wire) { w.before = func(*http.Request) error { return errCut } })
		return errCut
	}
	second := &wire{handler: peer.Handler(backend.Share())}
	outcome := storetest.Apply(t, connect(dying, second), storetest.Put("route", "a", `1`))[0]
	if !outcome.Repeated || outcome.Change.Rev != 1 || len(storetest.History(t, backend, 10)) != 1 {
		t.Errorf("got %+v", outcome)
	}
}

func TestAnswerLostForGoodIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, w := formed(t)
		w.after = func(*http.Response) error { return errCut }
		start := time.Now()
		_, err := connect(w).Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
		if muster.CodeOf(err) != muster.CodeOutcomeUnknown || time.Since(start) > peer.DefaultTimeout {
			t.Errorf("after %v: got %v, want outcome-unknown within %v", time.Since(start), err, peer.DefaultTimeout)
		}
		if history := storetest.History(t, backend, 10); len(history) != 1 {
			t.Errorf("applied %d times", len(history))
		}
	})
}

func TestUnknownOutcomeOfTheStoreIsAskedForAgain(t *testing.T) {
	t.Parallel()
	backend, w := formed(t)
	backend.Inject(memory.Faults{LoseReply: true})
	w.after = func(*http.Response) error {
		backend.Inject(memory.Faults{})
		return nil
	}
	if o := storetest.Apply(t, connect(w), storetest.Put("route", "a", `1`))[0]; !o.Repeated {
		t.Errorf("got %+v", o)
	}
}

func TestUnsentWriteGoesToTheNextTarget(t *testing.T) {
	t.Parallel()
	backend, first := formed(t)
	first.before = func(*http.Request) error { return errCut }
	second := &wire{handler: peer.Handler(backend)}
	o := storetest.Apply(t, connect(first, second), storetest.Put("route", "a", `1`))[0]
	if o.Repeated || o.Change.Rev != 1 || first.calls() != 1 || second.calls() != 1 {
		t.Errorf("got %+v after %d and %d calls", o, first.calls(), second.calls())
	}
}

func TestTargetWithoutStoreIsPassedOver(t *testing.T) {
	t.Parallel()
	backend, second := formed(t)
	cut := backend.Share()
	cut.SetDown(true)
	first := &wire{handler: peer.Handler(cut)}
	s := connect(first, second)
	storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
	if h, err := s.Head(t.Context()); err != nil || h.Rev != 1 {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestAllTargetsDownNamesTheHome(t *testing.T) {
	t.Parallel()
	_, w := formed(t)
	w.before = func(*http.Request) error { return errCut }
	s := connect(w)
	_, applyErr := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
	_, headErr := s.Head(t.Context())
	for what, err := range map[string]error{"apply": applyErr, "head": headErr} {
		if muster.CodeOf(err) != muster.CodeConfigHomeDown || !strings.Contains(err.Error(), "home") || !errors.Is(err, errCut) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	nobody := peer.New(peer.Config{
		Targets: func() []peer.Target { return nil },
		Home:    func() string { return "n1" },
		Down:    muster.CodeStoreUnavailable,
	})
	if _, err := nobody.Head(t.Context()); muster.CodeOf(err) != muster.CodeStoreUnavailable || !strings.Contains(err.Error(), "n1") {
		t.Errorf("without targets: got %v", err)
	}
}

func TestSecondHopIsRefused(t *testing.T) {
	t.Parallel()
	backend, w := formed(t)
	middle := connect(w)
	s := connect(&wire{handler: peer.Handler(middle)})
	_, err := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
	if muster.CodeOf(err) != muster.CodeLoop {
		t.Errorf("apply: got %v, want loop", err)
	}
	if _, err := s.Head(t.Context()); muster.CodeOf(err) != muster.CodeLoop {
		t.Errorf("head: got %v, want loop", err)
	}
	if w.calls() != 0 || len(storetest.History(t, backend, 10)) != 0 {
		t.Error("the call went on to a second node")
	}
}

func TestNodeWithoutStoreDoesNotHideWhyTheOthersFailed(t *testing.T) {
	t.Parallel()
	backend, cut := formed(t)
	backend.SetDown(true)
	without := &wire{handler: peer.Handler(connect(cut))}
	for name, s := range map[string]*peer.Store{"last": connect(cut, without), "first": connect(without, cut)} {
		_, applyErr := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
		_, headErr := s.Head(t.Context())
		for what, err := range map[string]error{"apply": applyErr, "head": headErr} {
			if muster.CodeOf(err) != muster.CodeConfigHomeDown {
				t.Errorf("asked %s, %s: got %v", name, what, err)
			}
		}
	}
}

func TestHangingTargetEndsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := &wire{handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		s := connect(hang)
		for what, call := range map[string]func() error{
			"head":     func() error { _, err := s.Head(t.Context()); return err },
			"changes":  func() error { _, err := s.Changes(t.Context(), 0, 1); return err },
			"snapshot": func() error { _, err := s.Snapshot(t.Context()); return err },
			"apply": func() error {
				_, err := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
				return err
			},
		} {
			start := time.Now()
			if err := call(); err == nil || time.Since(start) > peer.DefaultTimeout {
				t.Errorf("%s: got %v after %v", what, err, time.Since(start))
			}
		}
	})
}

func TestReadsFailOverFromAHangingTarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, good := formed(t)
		hang := &wire{handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		if _, err := connect(hang, good).Head(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestCutStreamIsRefused cuts every answer after each of its lines, and in the
// middle of them.
func TestCutStreamIsRefused(t *testing.T) {
	t.Parallel()
	backend, w := formed(t)
	storetest.MustApply(t, backend, storetest.Put("route", "a", `1`), storetest.Put("route", "b", `2`), storetest.Put("route", "c", `3`))
	s := connect(w)
	for keep := range 4 {
		for _, extra := range []int{0, 20} {
			w.set(func(w *wire) {
				w.alter = func(_ string, b []byte) []byte {
					lines := bytes.SplitAfter(b, []byte("\n"))
					cut := bytes.Join(lines[:keep], nil)
					return append(cut, lines[keep][:extra]...)
				}
			})
			if got, err := s.Changes(t.Context(), 0, 10); err == nil {
				t.Errorf("%d lines and %d bytes: got %d changes", keep, extra, len(got))
			}
			if got, err := s.Snapshot(t.Context()); err == nil {
				t.Errorf("%d lines and %d bytes: got a snapshot of %d", keep, extra, len(got.Documents))
			}
		}
	}
}

func TestDamagedStreamIsRefused(t *testing.T) {
	t.Parallel()
	backend, w := formed(t)
	storetest.MustApply(t, backend, storetest.Put("route", "a", `"x"`))
	w.alter = func(_ string, b []byte) []byte { return bytes.Replace(b, []byte(`"x"`), []byte(`"y"`), 1) }
	s := connect(w)
	if _, err := s.Snapshot(t.Context()); !errors.Is(err, peer.ErrIncomplete) {
		t.Errorf("snapshot: got %v", err)
	}
	if _, err := s.Changes(t.Context(), 0, 10); !errors.Is(err, peer.ErrIncomplete) {
		t.Errorf("changes: got %v", err)
	}
}

func TestOversizedAnswerIsRefused(t *testing.T) {
	t.Parallel()
	_, w := formed(t)
	w.alter = func(string, []byte) []byte { return bytes.Repeat([]byte(" "), 1<<20) }
	if _, err := connect(w).Head(t.Context()); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("got %v", err)
	}
}

func TestOversizedRequestIsRefused(t *testing.T) {
	t.Parallel()
	_, w := formed(t)
	for path, size := range map[string]int{"apply": 64 * (300 << 10), "members": 1 << 20} {
		method := map[string]string{"apply": http.MethodPost, "members": http.MethodPut}[path]
		req := httptest.NewRequest(method, peer.Prefix+path, bytes.NewReader(bytes.Repeat([]byte(" "), size)))
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, req)
		if rec.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %d %s", path, rec.Code, rec.Body)
		}
	}
}

// TestLongHistoryComesInParts checks that an answer which would be very large
// ends early, at a whole change.
func TestLongHistoryComesInParts(t *testing.T) {
	t.Parallel()
	backend, w := formed(t)
	spec := `"` + strings.Repeat("x", muster.MaxSpec-2) + `"`
	const total = 40
	for range total {
		storetest.MustApply(t, backend, storetest.Put("route", "a", spec))
	}
	s := connect(w)
	first, err := s.Changes(t.Context(), 0, 1000)
	if err != nil || len(first) == 0 || len(first) >= total {
		t.Fatalf("the first answer has %d changes, %v", len(first), err)
	}
	if got := len(storetest.History(t, s, 1000)); got != total {
		t.Errorf("all answers have %d changes, want %d", got, total)
	}
}

func TestCallsCarryTheHopMark(t *testing.T) {
	t.Parallel()
	_, w := formed(t)
	w.before = func(r *http.Request) error {
		if r.Header.Get(peer.HopHeader) != "1" {
			t.Errorf("%s %s has no hop mark", r.Method, r.URL)
		}
		return nil
	}
	s := connect(w)
	storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
	if _, err := s.Members(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzStreams(f *testing.F) {
	var changes, snapshot bytes.Buffer
	backend := memory.New()
	if _, err := backend.Form(f.Context(), storetest.ClusterID); err != nil {
		f.Fatal(err)
	}
	storetest.MustApply(f, backend, storetest.Put("route", "a", `1`), storetest.Delete("route", "a"), storetest.Put("route", "b", `2`))
	log, _ := backend.Changes(f.Context(), 0, 10)
	snap, _ := backend.Snapshot(f.Context())
	if peer.WriteChanges(&changes, log, snap.Position) != nil || peer.WriteSnapshot(&snapshot, snap) != nil {
		f.Fatal("cannot write seeds")
	}
	f.Add(changes.Bytes())
	f.Add(snapshot.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, head, err := peer.ReadChanges(bytes.NewReader(b)); err == nil {
			var again bytes.Buffer
			if err := peer.WriteChanges(&again, got, head); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
		if snap, err := peer.ReadSnapshot(bytes.NewReader(b)); err == nil && snap == nil {
			t.Error("no snapshot and no error")
		}
	})
}

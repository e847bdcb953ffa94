package memory_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/storetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Store { return memory.New() })
}

func TestConformanceThroughAnotherConnection(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		first := memory.New()
		second := first.Share()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		return second
	})
}

func TestConnectionsFailAlone(t *testing.T) {
	t.Parallel()
	a := memory.New()
	b := a.Share()
	storetest.Form(t, a)
	a.SetDown(true)
	if _, err := a.Head(t.Context()); muster.CodeOf(err) != muster.CodeStoreUnavailable {
		t.Errorf("the connection that is down: got %v", err)
	}
	storetest.MustApply(t, b, storetest.Put("route", "a", `1`))
	a.SetDown(false)
	if h, err := a.Head(t.Context()); err != nil || h.Rev != 1 {
		t.Errorf("back again: got %+v, %v", h, err)
	}
}

func TestLatencyAndHangTakeTheirTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		storetest.Form(t, s)
		for _, tc := range []struct {
			faults memory.Faults
			took   time.Duration
			code   muster.Code
		}{
			{memory.Faults{}, 0, ""},
			{memory.Faults{Latency: 40 * time.Millisecond}, 40 * time.Millisecond, ""},
			{memory.Faults{Hang: true}, memory.Deadline, muster.CodeStoreUnavailable},
			{memory.Faults{Latency: time.Hour}, memory.Deadline, muster.CodeStoreUnavailable},
			{memory.Faults{Down: true, Latency: time.Hour}, 0, muster.CodeStoreUnavailable},
		} {
			s.Inject(tc.faults)
			start := time.Now()
			_, err := s.Head(t.Context())
			if took := time.Since(start); took != tc.took || muster.CodeOf(err) != tc.code {
				t.Errorf("%+v: took %v and got %v", tc.faults, took, err)
			}
		}
	})
}

func TestCloseEndsAHangingCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		s.Inject(memory.Faults{Hang: true})
		done := make(chan error)
		go func() {
			_, err := s.Cluster(t.Context())
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; muster.CodeOf(err) != muster.CodeStoreUnavailable || time.Since(start) != 0 {
			t.Errorf("after %v: got %v", time.Since(start), err)
		}
	})
}

func TestLostReplyHasWritten(t *testing.T) {
	t.Parallel()
	s := memory.New()
	storetest.Form(t, s)
	w := storetest.Put("route", "a", `1`)
	w.RequestID = muster.NewUUID()
	s.Inject(memory.Faults{LoseReply: true})
	if _, err := s.Apply(t.Context(), []store.Write{w}); muster.CodeOf(err) != muster.CodeOutcomeUnknown {
		t.Fatalf("got %v", err)
	}
	s.Inject(memory.Faults{})
	if o := storetest.Apply(t, s, w)[0]; !o.Repeated || o.Change.Rev != 1 {
		t.Errorf("asked again: got %+v", o)
	}
}

func TestFailDecidesPerMethod(t *testing.T) {
	t.Parallel()
	s := memory.New()
	storetest.Form(t, s)
	broken := errors.New("broken")
	s.Inject(memory.Faults{Fail: func(method string) error {
		if method == "Apply" {
			return broken
		}
		return nil
	}})
	if _, err := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)}); !errors.Is(err, broken) {
		t.Errorf("apply: got %v", err)
	}
	if _, err := s.Head(t.Context()); err != nil {
		t.Errorf("head: got %v", err)
	}
}

func TestRewindForgetsTheLastCommits(t *testing.T) {
	t.Parallel()
	s := memory.New()
	storetest.Form(t, s)
	w := storetest.Put("route", "b", `2`)
	w.RequestID = muster.NewUUID()
	storetest.MustApply(t, s, storetest.Put("route", "a", `1`), w, storetest.Delete("route", "a"))
	if err := s.Rewind(1); err != nil {
		t.Fatal(err)
	}
	if o := storetest.Apply(t, s, w)[0]; o.Repeated || o.Change.Rev != 2 {
		t.Errorf("written again: got %+v", o)
	}
	if n := len(storetest.History(t, s, 10)); n != 2 {
		t.Errorf("the log has %d changes, want 2", n)
	}
	if err := s.Rewind(3); err == nil {
		t.Error("rewound to the future")
	}
	s.Wipe()
	if _, err := s.Cluster(t.Context()); !errors.Is(err, store.ErrNoCluster) {
		t.Errorf("wiped: got %v", err)
	}
}

func TestWriterKeepsItsBytes(t *testing.T) {
	t.Parallel()
	s := memory.New()
	storetest.Form(t, s)
	w := storetest.Put("route", "a", `1`)
	storetest.MustApply(t, s, w)
	w.Spec[0] = '2'
	if got := storetest.History(t, s, 10)[0].Spec; string(got) != `1` {
		t.Errorf("the store now holds %s", got)
	}
}

package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// claimOf is a claim of the n-th process.
func claimOf(n uint64, ttl time.Duration) store.Claim {
	ids := []muster.NodeID{"aaaaaaaa-0000-8000-8000-000000000000", "bbbbbbbb-0000-8000-8000-000000000000"}
	return store.Claim{Name: "work", Holder: ids[n%2], Boot: muster.Boot{Counter: n/2 + 1, Random: 1<<64 - 1 - n}, TTL: ttl}
}

func acquire(t *testing.T, s store.Store, c store.Claim) store.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), c)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return l
}

func renew(t *testing.T, s store.Store, c store.Claim, term int64) store.Lease {
	t.Helper()
	c.Term = term
	l, err := s.Renew(t.Context(), c)
	if err != nil {
		t.Fatalf("renew: %v", err)
	}
	return l
}

func release(t *testing.T, s store.Store, c store.Claim, term int64) {
	t.Helper()
	c.Term = term
	if err := s.Release(t.Context(), c); err != nil {
		t.Fatalf("release: %v", err)
	}
}

// leaseHasOneHolder follows a lease through all that may happen to it before it ends.
func leaseHasOneHolder(t *testing.T, s store.Store) {
	a, b := claimOf(0, store.MaxTTL), claimOf(1, store.MaxTTL)
	again := claimOf(2, store.MaxTTL) // the node of a after a restart
	first := acquire(t, s, a)
	if !first.HeldBy(a) || first.Name != "work" || first.TTL != a.TTL || first.Left <= a.TTL/2 || first.Left > a.TTL || first.Since.IsZero() {
		t.Fatalf("taken: %+v", first)
	}
	if off := time.Since(time.UnixMicro(first.Term)).Abs(); off > time.Minute {
		t.Errorf("the first term is %d, want the time in microseconds", first.Term)
	}
	for _, c := range []store.Claim{b, again} {
		if l := acquire(t, s, c); l.HeldBy(c) || !l.HeldBy(a) || l.Term != first.Term || l.Left <= 0 {
			t.Errorf("a second one asks: %+v", l)
		}
		if l := renew(t, s, c, first.Term); l.HeldBy(c) || !l.HeldBy(a) {
			t.Errorf("a second one renews: %+v", l)
		}
		release(t, s, c, first.Term)
	}
	if l := acquire(t, s, a); !l.HeldBy(a) || l.Term != first.Term || !l.Since.Equal(first.Since) || l.Expires.Before(first.Expires) {
		t.Errorf("the holder asks again: %+v, was %+v", l, first)
	}
	if l := renew(t, s, a, first.Term); !l.HeldBy(a) || l.Term != first.Term {
		t.Errorf("renewed: %+v", l)
	}
	before := acquire(t, s, b)
	renew(t, s, a, first.Term-1)
	release(t, s, a, first.Term-1) // of a term that was
	if l := acquire(t, s, b); !l.HeldBy(a) || !l.Expires.Equal(before.Expires) {
		t.Errorf("an old term renewed or freed it: %+v, was %+v", l, before)
	}
	release(t, s, a, first.Term)
	second := acquire(t, s, b)
	if !second.HeldBy(b) || second.Term <= first.Term {
		t.Errorf("after the release: %+v, the first term was %d", second, first.Term)
	}
	if l := renew(t, s, a, first.Term); l.HeldBy(a) {
		t.Errorf("renewed after the release: %+v", l)
	}
}

// leaseEnds by itself, and what has ended is not renewed.
func leaseEnds(t *testing.T, s store.Store) {
	a, b := claimOf(0, store.MinTTL), claimOf(1, store.MaxTTL)
	first := acquire(t, s, a)
	var second store.Lease
	for begun := time.Now(); !second.HeldBy(b); second = acquire(t, s, b) {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("the lease does not end: %+v", second)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(max(time.Millisecond, second.Left)):
		}
	}
	if second.Term <= first.Term || second.Since.Before(first.Since.Add(store.MinTTL)) {
		t.Errorf("taken over with %+v from %+v", second, first)
	}
	if l := renew(t, s, a, first.Term); l.HeldBy(a) || l.Term != second.Term {
		t.Errorf("the old holder renewed: %+v", l)
	}
	release(t, s, b, second.Term)
	if l := renew(t, s, b, second.Term); l.HeldBy(b) {
		t.Errorf("renewed what was released: %+v", l)
	}
}

// oneOfManyClaimantsWins at a time, and terms never repeat.
func oneOfManyClaimantsWins(t *testing.T, s store.Store) {
	var inside atomic.Int32
	var mu sync.Mutex
	terms := map[int64]bool{}
	var wg sync.WaitGroup
	for i := range uint64(8) {
		c := claimOf(i, store.MaxTTL)
		wg.Go(func() {
			for range 10 {
				l := acquire(t, s, c)
				if !l.HeldBy(c) {
					continue
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d processes hold the lease", n)
				}
				mu.Lock()
				if terms[l.Term] {
					t.Errorf("term %d twice", l.Term)
				}
				terms[l.Term] = true
				mu.Unlock()
				inside.Add(-1)
				release(t, s, c, l.Term)
			}
		})
	}
	wg.Wait()
	if len(terms) == 0 {
		t.Error("nobody ever held it")
	}
}

func leasesAreListed(t *testing.T, s store.Store) {
	if list, err := s.Leases(t.Context()); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("at first: %#v, %v", list, err)
	}
	a, b := claimOf(0, store.MaxTTL), claimOf(1, store.MaxTTL)
	a.Name = "a-job"
	held := acquire(t, s, b)
	freed := acquire(t, s, a)
	release(t, s, a, freed.Term)
	renew(t, s, store.Claim{Name: "unheard-of", Holder: a.Holder, TTL: a.TTL}, 1)
	list, err := s.Leases(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	if l := list[0]; l.Name != "a-job" || l.Holder != "" || l.Left != 0 || l.Term != freed.Term {
		t.Errorf("the free one: %+v", l)
	}
	if l := list[1]; !l.HeldBy(b) || l.Term != held.Term || l.TTL != b.TTL || !l.Since.Equal(held.Since) || !l.Expires.Equal(held.Expires) || l.Left > held.Left {
		t.Errorf("the held one: %+v, want %+v", l, held)
	}
}

func badClaimsAreRefused(t *testing.T, s store.Store) {
	good := claimOf(0, time.Second)
	for what, spoil := range map[string]func(*store.Claim){
		"no name":            func(c *store.Claim) { c.Name = "" },
		"a path for a name":  func(c *store.Claim) { c.Name = "../x" },
		"no holder":          func(c *store.Claim) { c.Holder = "" },
		"no time":            func(c *store.Claim) { c.TTL = 0 },
		"a day":              func(c *store.Claim) { c.TTL = 24 * time.Hour },
		"part of a microsec": func(c *store.Claim) { c.TTL++ },
	} {
		c := good
		spoil(&c)
		_, acquireErr := s.Acquire(t.Context(), c)
		_, renewErr := s.Renew(t.Context(), c)
		for _, err := range []error{acquireErr, renewErr, s.Release(t.Context(), c)} {
			if muster.CodeOf(err) != muster.CodeBadRequest {
				t.Errorf("%s: got %v, want bad-request", what, err)
			}
		}
	}
}

func leasesNeedTheStore(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Acquire(ctx, claimOf(0, time.Second)); err == nil {
		t.Error("acquired for a caller that had gone")
	}
	if list, err := s.Leases(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("left behind: %+v, %v", list, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(t.Context(), claimOf(0, time.Second)); !isDown(err) {
		t.Errorf("after close: got %v, want store-unavailable", err)
	}
}

package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

func formMintsOnce(t *testing.T, s store.Store) {
	if _, err := s.Cluster(t.Context()); !errors.Is(err, store.ErrNoCluster) {
		t.Errorf("before: got %v, want ErrNoCluster", err)
	}
	const callers = 16
	var formed [callers]store.Cluster
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			var err error
			if formed[i], err = s.Form(t.Context(), muster.NewClusterID()); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got, err := s.Cluster(t.Context())
	if err != nil || !got.ID.Valid() || got.Epoch != 1 || time.Since(got.Created) > time.Minute {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i := range callers {
		diff(t, "what a caller was told", got, formed[i])
	}
	if chain := head(t, s).Chain; chain != config.Genesis(got.ID) {
		t.Errorf("chain(0) is %s, want that of cluster %s", chain, got.ID)
	}
}

func nothingWorksBeforeForm(t *testing.T, s store.Store) {
	ctx := t.Context()
	_, headErr := s.Head(ctx)
	_, changesErr := s.Changes(ctx, 0, 10)
	_, snapshotErr := s.Snapshot(ctx)
	_, applyErr := s.Apply(ctx, []store.Write{Put("route", "a", `1`)})
	for what, err := range map[string]error{"head": headErr, "changes": changesErr, "snapshot": snapshotErr, "apply": applyErr} {
		if !errors.Is(err, store.ErrNoCluster) {
			t.Errorf("%s: got %v, want ErrNoCluster", what, err)
		}
	}
}

func formRefusesBadIdentity(t *testing.T, s store.Store) {
	for _, id := range []muster.ClusterID{"", "cluster", "0B8CF2D5-9A3E-4C1F-8F67-2F1F3A9D7C55"} {
		if _, err := s.Form(t.Context(), id); err == nil {
			t.Errorf("formed with identity %q", id)
		}
	}
	if _, err := s.Cluster(t.Context()); !errors.Is(err, store.ErrNoCluster) {
		t.Errorf("got %v, want ErrNoCluster", err)
	}
}

func member(id muster.NodeID) store.Member {
	return store.Member{
		ID: id, Name: "n-" + id.Short(), Endpoint: "http://127.0.0.1:9113", Boot: muster.Boot{Counter: 3, Random: 1<<64 - 1},
		Role: muster.RoleVoter, Version: "1.0.0", Zone: "z", State: muster.StateAlive,
	}
}

func putMember(t *testing.T, s store.Store, m store.Member) {
	t.Helper()
	if err := s.PutMember(t.Context(), m); err != nil {
		t.Fatalf("put member: %v", err)
	}
}

func members(t *testing.T, s store.Store) []store.Member {
	t.Helper()
	list, err := s.Members(t.Context())
	if err != nil {
		t.Fatalf("members: %v", err)
	}
	return list
}

func membersAreKept(t *testing.T, s store.Store) {
	if list := members(t, s); len(list) != 0 {
		t.Fatalf("at first: %+v", list)
	}
	a, b := member("aaaaaaaa-0000-8000-8000-000000000000"), member("bbbbbbbb-0000-8000-8000-000000000000")
	putMember(t, s, b) // before there is a cluster
	Form(t, s)
	putMember(t, s, a)
	first := members(t, s)
	if len(first) != 2 || first[0].JoinedAt.IsZero() {
		t.Fatalf("got %+v", first)
	}
	a.JoinedAt, a.SeenAt = first[0].JoinedAt, first[0].SeenAt
	b.JoinedAt, b.SeenAt = first[1].JoinedAt, first[1].SeenAt
	diff(t, "two members", []store.Member{a, b}, first)

	a.Endpoint, a.State, a.Boot.Counter, a.Role = "http://127.0.0.1:9114", muster.StateLeft, 4, muster.RoleObserver
	a.JoinedAt, a.SeenAt = time.Time{}, time.Time{} // both are the store's business
	putMember(t, s, a)
	second := members(t, s)
	if second[0].SeenAt.Before(first[0].SeenAt) {
		t.Errorf("seen at %v, before %v", second[0].SeenAt, first[0].SeenAt)
	}
	a.JoinedAt, a.SeenAt = first[0].JoinedAt, second[0].SeenAt
	diff(t, "after a change of one", []store.Member{a, b}, second)

	for _, bad := range []store.Member{{}, {ID: a.ID, Name: "a\x00b"}, {ID: a.ID, Zone: "\xff"}} {
		if err := s.PutMember(t.Context(), bad); err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
	for range 2 { // an absent one is no error
		if err := s.RemoveMember(t.Context(), a.ID); err != nil {
			t.Errorf("remove member: %v", err)
		}
	}
	if list := members(t, s); len(list) != 1 || list[0].ID != b.ID {
		t.Errorf("after removing one: %+v", list)
	}
	if rev := head(t, s).Rev; rev != 0 {
		t.Errorf("members took %d revisions", rev)
	}
}

func membersAreFresh(t *testing.T, s store.Store) {
	old := member("aaaaaaaa-0000-8000-8000-000000000000")
	gone := member("bbbbbbbb-0000-8000-8000-000000000000")
	gone.State = muster.StateLeft
	old.SeenAt = time.Now().Add(24 * time.Hour) // a node with a wrong clock has no say
	putMember(t, s, old)
	putMember(t, s, gone)
	list := members(t, s)
	now := list[1].SeenAt
	if !list[0].Fresh(now, time.Minute) || list[0].Fresh(now.Add(time.Hour), time.Minute) || list[1].Fresh(now, time.Minute) {
		t.Errorf("got %+v", list)
	}
}

func cancelledCallEnds(t *testing.T, s store.Store) {
	Form(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Head(ctx); err == nil {
		t.Error("head worked for a caller that had gone")
	}
	if _, err := s.Apply(ctx, []store.Write{Put("route", "a", `1`)}); err == nil {
		t.Error("apply worked for a caller that had gone")
	}
	if rev := head(t, s).Rev; rev != 0 {
		t.Errorf("revision %d was written for a caller that had gone", rev)
	}
}

func closedStoreRefuses(t *testing.T, s store.Store) {
	Form(t, s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if _, err := s.Head(t.Context()); !isDown(err) {
		t.Errorf("head: got %v, want store-unavailable", err)
	}
	if _, err := s.Apply(t.Context(), []store.Write{Put("route", "a", `1`)}); !isDown(err) {
		t.Errorf("apply: got %v, want store-unavailable", err)
	}
	if err := s.PutMember(t.Context(), member(Node)); !isDown(err) {
		t.Errorf("put member: got %v, want store-unavailable", err)
	}
}

func closeEndsCallsUnderWay(t *testing.T, s store.Store) {
	Form(t, s)
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				_, err := s.Apply(t.Context(), []store.Write{Put("route", string(rune('a'+i)), `1`)})
				if n == 0 {
					started <- struct{}{}
				}
				if err != nil {
					if !isDown(err) {
						t.Errorf("writer %d: got %v", i, err)
					}
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
}

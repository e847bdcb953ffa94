package replica_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/sqlite"
)

// TestPostgresOutage stops a real server under a replica with a real mirror.
func TestPostgresOutage(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	r := runAlone(t, openPostgres(t, server.Database(t), 2))
	write := func(i int) error {
		_, err := r.Apply(t.Context(), []store.Write{put("a", fmt.Sprint(i))})
		return err
	}
	if err := write(1); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	for i := range 50 {
		start := time.Now()
		err := write(2)
		if code := muster.CodeOf(err); code != muster.CodeStoreUnavailable {
			t.Fatalf("attempt %d with the server down: %v", i, err)
		}
		if took := time.Since(start); i > 0 && took > time.Second {
			t.Errorf("attempt %d was refused after %v", i, took)
		}
	}
	if doc, _ := r.View().Get("route", "a"); string(doc.Spec) != "1" || r.Status().StoreState != replica.Stale {
		t.Errorf("serves %s, the store is %s", doc.Spec, r.Status().StoreState)
	}
	server.Start(t)
	back := time.Now()
	for write(3) != nil {
		if time.Since(back) > 10*time.Second {
			t.Fatal("no write was accepted after the server came back")
		}
		time.Sleep(5 * time.Millisecond) // a real server, in real time
	}
	t.Logf("first write accepted after %v", time.Since(back))
	if rev := r.View().Position().Rev; rev != 2 {
		t.Errorf("serves revision %d, want 2: a refused write was applied", rev)
	}
}

// TestRealMirrorSurvivesTheProcess serves from the file of an earlier run.
func TestRealMirrorSurvivesTheProcess(t *testing.T) {
	t.Parallel()
	w := &world{t: t, data: memory.New()}
	if _, err := w.data.Form(t.Context(), clusterID); err != nil {
		t.Fatal(err)
	}
	n := w.add()
	path := filepath.Join(t.TempDir(), "mirror.db")
	open := func() *sqlite.Mirror {
		m, err := sqlite.OpenMirror(path)
		if err != nil {
			t.Fatal(err)
		}
		n.change = func(c *replica.Config) { c.Mirror = m }
		return m
	}
	for round := range 3 {
		m := open()
		n.start()
		n.reaches(int64(round)*100, 10*time.Second)
		for i := range 100 {
			n.write(fmt.Sprint(i%7), fmt.Sprint(round))
		}
		before, digest := n.View().Position(), n.View().StateDigest()
		n.stop()
		_ = m.Close()

		n.store.SetDown(true)
		m = open()
		n.start()
		n.reaches(before.Rev, 10*time.Second)
		if at := n.View().Position(); at != before || n.View().StateDigest() != digest {
			t.Errorf("serves %v, before %v", at, before)
		}
		n.stop()
		_ = m.Close()
		n.store.SetDown(false)
	}
}

package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/postgres"
	"github.com/musterhq/muster/store/storetest"
)

func TestNodeStartsBeforeItsDatabase(t *testing.T) {
	t.Parallel()
	own := pgtest.New(t)
	socket, tcp := own.Database(t), own.TCPDSN(own.CreateDatabase(t), "disable")
	own.Stop()
	a, b := open(t, postgres.Config{DSN: socket}), open(t, postgres.Config{DSN: tcp})
	for _, s := range []*postgres.Store{a, b} {
		start := time.Now()
		_, err := s.Cluster(t.Context())
		wantError(t, err, want{muster.CodeStoreUnavailable, "refuses connections", "database back"})
		if took := time.Since(start); took > time.Second {
			t.Errorf("being refused took %v", took)
		}
	}
	own.Start(t)
	for _, s := range []*postgres.Store{a, b} {
		storetest.Form(t, s)
		storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
	}
}

func TestBrokenConnectionsAreReplacedUnnoticed(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: server.SocketDSN(db)})
	storetest.Form(t, s)
	for i := range 5 {
		server.Disconnect(t, db)
		if i%2 == 0 {
			if _, err := s.Head(t.Context()); err != nil {
				t.Errorf("a read after round %d: %v", i, err)
			}
			continue
		}
		w := storetest.Put("route", "a", `1`)
		w.RequestID = muster.NewUUID()
		storetest.MustApply(t, s, w)
	}
}

func TestUnresolvableHostSaysSo(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{DSN: "postgres://nobody@no-such-host.invalid/m?sslmode=require"})
	_, err := s.Head(t.Context())
	if muster.CodeOf(err) != muster.CodeStoreUnavailable {
		t.Errorf("got %v", err)
	}
}

// A frozen server is the worst kind: it accepts and never answers.
func TestFrozenServerHoldsNobodyForLong(t *testing.T) {
	t.Parallel()
	own := pgtest.New(t)
	dsn := own.Database(t)
	s, fresh := open(t, postgres.Config{DSN: dsn, MaxConns: 2}), open(t, postgres.Config{DSN: dsn})
	storetest.Form(t, s)
	own.Pause()
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			reader := s
			if i == 0 {
				reader = fresh
			}
			start := time.Now()
			_, err := reader.Head(t.Context())
			if took := time.Since(start); took > postgres.Deadline+time.Second || muster.CodeOf(err) != muster.CodeStoreUnavailable {
				t.Errorf("after %v got %v", took, err)
			}
		})
	}
	wg.Wait()
	own.Resume()
	start := time.Now()
	storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("back after %v", took)
	}
}

// holdHead takes the lock that every write needs, until the function is called.
func holdHead(t *testing.T, dsn string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "select from config_head for update")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback(context.Background()) }
}

// awaitBlocked waits until a session of the database waits for a lock.
func awaitBlocked(t *testing.T, own *pgtest.Server, db string) {
	t.Helper()
	own.SQL(t, "postgres", "do $$ begin for i in 1..1000 loop if exists (select from pg_stat_activity where datname = '"+db+
		"' and wait_event_type = 'Lock') then return; end if; perform pg_sleep(0.002); perform pg_stat_clear_snapshot(); end loop; raise 'nobody waits'; end $$")
}

func TestHeldLockIsNamed(t *testing.T) {
	t.Parallel()
	dsn := server.Database(t)
	s := open(t, postgres.Config{DSN: dsn})
	storetest.Form(t, s)
	release := holdHead(t, dsn)
	_, err := s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
	wantError(t, err, want{muster.CodeStoreUnavailable, "holds the lock", "pg_stat_activity"})
	if _, err := s.Head(t.Context()); err != nil {
		t.Errorf("a read meanwhile: %v", err)
	}
	release()
	storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
}

func TestFrozenWriteIsUnknownAndCanBeAskedAgain(t *testing.T) {
	t.Parallel()
	own := pgtest.New(t)
	db := own.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: own.SocketDSN(db)})
	storetest.Form(t, s)
	release := holdHead(t, own.SocketDSN(db))
	w := storetest.Put("route", "a", `1`)
	w.Expect, w.RequestID = 0, muster.NewUUID()
	result := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := s.Apply(t.Context(), []store.Write{w})
		result <- err
	}()
	awaitBlocked(t, own, db)
	own.Pause()
	err := <-result
	wantError(t, err, want{muster.CodeOutcomeUnknown, "may or may not", "Idempotency-Key"})
	if took := time.Since(start); took > postgres.Deadline+time.Second {
		t.Errorf("the write took %v", took)
	}
	own.Resume()
	release()
	if o := storetest.Apply(t, s, w)[0]; o.Err != nil || o.Change.Rev != 1 {
		t.Errorf("asked again: got %+v", o)
	}
	if n := len(storetest.History(t, s, 10)); n != 1 {
		t.Errorf("the write happened %d times", n)
	}
}

// A write without a request id cannot be asked for again.
func TestBrokenWriteWithoutRequestIDIsUnknown(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: server.SocketDSN(db)})
	storetest.Form(t, s)
	holdHead(t, server.SocketDSN(db))
	for id, code := range map[string]muster.Code{"": muster.CodeOutcomeUnknown, muster.NewUUID(): ""} {
		w := storetest.Put("route", "a", `1`)
		w.RequestID = id
		result := make(chan error, 1)
		go func() {
			_, err := s.Apply(t.Context(), []store.Write{w})
			result <- err
		}()
		awaitBlocked(t, server, db)
		server.Disconnect(t, db) // the holder of the lock too
		if err := <-result; muster.CodeOf(err) != code {
			t.Errorf("request id %q: got %v, want %q", id, err, code)
		}
		holdHead(t, server.SocketDSN(db))
	}
}

// Writers go on while the server is stopped, restarted and disconnected. What was
// acknowledged is there exactly once; what was refused is not there; what is
// unknown is there at most once.
func TestNoAcknowledgedWriteIsLostInOutages(t *testing.T) {
	t.Parallel()
	own := pgtest.New(t)
	db := own.CreateDatabase(t)
	s := open(t, postgres.Config{DSN: own.TCPDSN(db, "disable")})
	storetest.Form(t, s)
	var mu sync.Mutex
	fates := map[string]muster.Code{} // name of the document to how its write ended
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w := storetest.Put("route", fmt.Sprintf("w%d-%d", writer, n), `1`)
				w.Expect, w.RequestID = 0, muster.NewUUID()
				outcomes, err := s.Apply(context.WithoutCancel(ctx), []store.Write{w})
				if err == nil && outcomes[0].Err != nil {
					t.Errorf("%s: %v", w.Name, outcomes[0].Err)
				}
				mu.Lock()
				fates[w.Name] = muster.CodeOf(err)
				mu.Unlock()
			}
		})
	}
	for range 3 {
		awaitMore(t, s)
		own.Disconnect(t, db)
		awaitMore(t, s)
		own.Restart(t)
		awaitMore(t, s)
		own.Stop()
		own.Start(t)
	}
	awaitMore(t, s)
	stop()
	wg.Wait()
	checkFates(t, fates, storetest.History(t, s, 1000))
}

// awaitMore waits until another 20 writes have succeeded.
func awaitMore(t *testing.T, s store.Store) {
	t.Helper()
	var first int64 = -1
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		h, err := s.Head(t.Context())
		if err != nil {
			continue
		}
		if first < 0 {
			first = h.Rev
		}
		if h.Rev >= first+20 {
			return
		}
	}
	t.Fatal("no write succeeds any more")
}

func checkFates(t *testing.T, fates map[string]muster.Code, history []muster.Change) {
	t.Helper()
	written := map[string]int{}
	for _, c := range history {
		written[c.Name]++
	}
	count := map[muster.Code]int{}
	for name, code := range fates {
		count[code]++
		switch n := written[name]; {
		case n > 1:
			t.Errorf("%s was written %d times", name, n)
		case code == "" && n == 0:
			t.Errorf("%s was acknowledged and is lost", name)
		case code == muster.CodeStoreUnavailable && n > 0:
			t.Errorf("%s was refused and is there", name)
		case code != "" && code != muster.CodeStoreUnavailable && code != muster.CodeOutcomeUnknown:
			t.Errorf("%s ended with %s", name, code)
		}
	}
	t.Logf("ends of %d writes: %v", len(fates), count)
}

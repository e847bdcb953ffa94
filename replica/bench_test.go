package replica_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
	"github.com/musterhq/muster/store/postgres"
	"github.com/musterhq/muster/store/sqlite"
)

const benchClients = 32

// openPostgres returns the store of a new cluster in a real server.
func openPostgres(tb testing.TB, dsn string, conns int) *postgres.Store {
	tb.Helper()
	s, err := postgres.New(postgres.Config{DSN: dsn, MaxConns: conns})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() }) // the server ends with it
	if _, err := s.Form(tb.Context(), clusterID); err != nil {
		tb.Fatal(err)
	}
	return s
}

// runAlone runs a replica without peers until the test ends.
func runAlone(tb testing.TB, s store.Store) *replica.Replica {
	tb.Helper()
	mirror, err := sqlite.OpenMirror(filepath.Join(tb.TempDir(), "mirror.db"))
	if err != nil {
		tb.Fatal(err)
	}
	r, stop := runWith(tb, func(c *replica.Config) { c.Store, c.Mirror = s, mirror })
	tb.Cleanup(func() {
		stop()
		_ = mirror.Close() // a temporary file
	})
	if err := r.Wait(tb.Context(), 0); err != nil {
		tb.Fatal(err)
	}
	return r
}

// runWith runs a replica until it is stopped.
func runWith(tb testing.TB, change func(*replica.Config)) (r *replica.Replica, stop func()) {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := replica.Config{
		Self:    replica.Self{ID: muster.NodeIDOf(public), Sign: func(m []byte) []byte { return ed25519.Sign(private, m) }},
		Verify:  func(muster.NodeID, []byte, []byte) bool { return false },
		Cluster: func() muster.ClusterID { return clusterID },
	}
	change(&cfg)
	if r, err = replica.New(cfg); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Run(ctx)
	}()
	return r, func() { cancel(); <-ended }
}

type applier interface {
	Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error)
}

// benchWrites has 32 clients write one document of 300 bytes after another.
func benchWrites(b *testing.B, to applier) {
	spec := fmt.Sprintf(`{"text":"%0288d"}`, 0)
	var client atomic.Int64
	b.SetParallelism(benchClients / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		name := fmt.Sprint(client.Add(1))
		for p.Next() {
			outcomes, err := to.Apply(b.Context(), []store.Write{put(name, spec)})
			if err != nil || outcomes[0].Err != nil {
				b.Fatalf("%v, %+v", err, outcomes)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkConfigWriteCombined32(b *testing.B) {
	server := pgtest.New(b)
	benchWrites(b, runAlone(b, openPostgres(b, server.Database(b), 6)))
}

func BenchmarkConfigWriteDirect32(b *testing.B) {
	server := pgtest.New(b)
	benchWrites(b, openPostgres(b, server.Database(b), benchClients))
}

// BenchmarkCatchUpFromPeer10000 is how long a node takes that missed 10,000 changes
// while the store is down.
func BenchmarkCatchUpFromPeer10000(b *testing.B) {
	const total = 10_000
	data := memory.New()
	if _, err := data.Form(b.Context(), clusterID); err != nil {
		b.Fatal(err)
	}
	empty, err := data.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ahead := runAlone(b, data)
	spec := fmt.Sprintf(`{"text":"%0288d"}`, 0)
	for i := 0; i < total; {
		var batch []store.Write
		for range min(store.MaxBatch, total-i) {
			batch = append(batch, put(fmt.Sprint(i), spec))
			i++
		}
		if _, err := ahead.Apply(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	down := memory.New()
	down.SetDown(true)
	for b.Loop() {
		b.StopTimer()
		behind := &disk{}
		if err := behind.Replace(b.Context(), empty); err != nil {
			b.Fatal(err)
		}
		r, stop := runWith(b, func(c *replica.Config) { c.Store, c.Mirror, c.Peers = down, behind, onePeer{ahead} })
		if err := r.Wait(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		r.Observe(ahead.Digest())
		if err := r.Wait(b.Context(), total); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		stop()
		b.StartTimer()
	}
}

// onePeer is the Peers of a node that has one.
type onePeer struct{ r *replica.Replica }

// Live returns the peer as its own digest names it.
func (p onePeer) Live() []muster.NodeID {
	return []muster.NodeID{muster.NodeID(strings.Fields(string(p.r.Digest()))[2])}
}

func (p onePeer) Transport(muster.NodeID) http.RoundTripper { return direct{p.r.Handler()} }

// BenchmarkConfigRead is what a reader on the hot path pays.
func BenchmarkConfigRead(b *testing.B) {
	server := pgtest.New(b)
	r := runAlone(b, openPostgres(b, server.Database(b), 6))
	if _, err := r.Apply(b.Context(), []store.Write{put("demo", `{"weight":10}`)}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.View().Get("route", "demo"); !ok {
			b.Fatal("not there")
		}
	}
}

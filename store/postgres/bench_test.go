package postgres_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/postgres"
	"github.com/musterhq/muster/store/storetest"
)

// BenchmarkApplyDirect32 lets 32 clients write one document per call, each on a
// connection of its own: they queue for the head row. Package replica combines
// the writes of a node instead.
func BenchmarkApplyDirect32(b *testing.B) {
	s := open(b, postgres.Config{DSN: server.Database(b), MaxConns: 32})
	storetest.Form(b, s)
	b.SetParallelism(16) // times GOMAXPROCS
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			apply(b, s, 1, int(next.Add(1)))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// BenchmarkApplyBatch writes from one client with many documents per call.
func BenchmarkApplyBatch(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			s := open(b, postgres.Config{DSN: server.Database(b)})
			storetest.Form(b, s)
			for i := 0; b.Loop(); i++ {
				apply(b, s, size, i)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

func apply(b *testing.B, s *postgres.Store, size, seed int) {
	writes := make([]store.Write, size)
	for i := range writes {
		writes[i] = storetest.Put("route", strconv.Itoa((seed*size+i)%1000), `{"upstream":"http://10.0.0.1:8080","weight":10}`)
	}
	outcomes, err := s.Apply(b.Context(), writes)
	if err != nil || outcomes[0].Err != nil {
		b.Errorf("apply: %v", err)
	}
}

func BenchmarkCatchUp(b *testing.B) {
	s := open(b, postgres.Config{DSN: server.Database(b)})
	storetest.Form(b, s)
	for i := range 100 {
		apply(b, s, 64, i)
	}
	for b.Loop() {
		for after := int64(0); after < 6400; after += 1000 {
			if _, err := s.Changes(b.Context(), after, 1000); err != nil {
				b.Fatal(err)
			}
		}
	}
}

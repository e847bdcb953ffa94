package main

import (
	"runtime"
	"slices"
	"syscall"
	"time"
)

// usage is what the process has used so far.
type usage struct {
	at             time.Time
	cpu            time.Duration
	mallocs, bytes uint64
}

func now() usage {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // cannot fail with this argument
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{
		at: time.Now(), mallocs: m.Mallocs, bytes: m.TotalAlloc,
		cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano()),
	}
}

// since returns what was used after an earlier reading.
func (u usage) since(start usage) (wall, cpu time.Duration, mallocs, bytes float64) {
	return u.at.Sub(start.at), u.cpu - start.cpu, float64(u.mallocs - start.mallocs), float64(u.bytes - start.bytes)
}

// quantile returns the value below which a share of the values lies; 0 for none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func median(values []float64) float64 { return quantile(values, 0.5) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

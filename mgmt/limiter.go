package mgmt

import (
	"net/netip"
	"sync"
	"time"
)

// Allowance of failed credentials per address.
const (
	failuresPerSecond = 10
	failuresAtOnce    = 20
	maxAddresses      = 4096 // remembered; beyond that all forgotten
	logEvery          = 10 * time.Second
)

// limiter is one token bucket per address.
type limiter struct {
	mu      sync.Mutex
	buckets map[netip.Prefix]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
	logged time.Time
}

func newLimiter() *limiter { return &limiter{buckets: map[netip.Prefix]*bucket{}} }

// take spends one failure of an address. It reports whether the allowance
// permitted it, and whether it is time for a log line about that address.
func (l *limiter) take(addr netip.Addr) (allowed, log bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketLocked(network(addr), now)
	b.tokens = min(failuresAtOnce, b.tokens+now.Sub(b.at).Seconds()*failuresPerSecond)
	b.at = now
	if log = now.Sub(b.logged) >= logEvery; log {
		b.logged = now
	}
	if b.tokens < 1 {
		return false, log
	}
	b.tokens--
	return true, log
}

func (l *limiter) bucketLocked(key netip.Prefix, now time.Time) *bucket {
	if b, ok := l.buckets[key]; ok {
		return b
	}
	if len(l.buckets) >= maxAddresses {
		l.pruneLocked(now)
	}
	b := &bucket{tokens: failuresAtOnce, at: now}
	l.buckets[key] = b
	return b
}

// pruneLocked forgets the addresses whose allowance is full again, or all of them
// if there are none: memory is bounded, whoever knocks.
func (l *limiter) pruneLocked(now time.Time) {
	for key, b := range l.buckets {
		if now.Sub(b.at).Seconds()*failuresPerSecond >= failuresAtOnce {
			delete(l.buckets, key)
		}
	}
	if len(l.buckets) >= maxAddresses {
		clear(l.buckets)
	}
}

// network is what counts as one address: an IPv6 host has a whole /64.
func network(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero Prefix for no address
	return p
}

package link

import (
	"crypto/sha256"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// unconfirmed holds the incoming connections whose HELLO has not verified yet. When
// there are too many, the oldest one goes.
type unconfirmed struct {
	mu     sync.Mutex
	open   []*session // oldest first
	closed bool
}

// add enters a session. done takes it out again. ok is false after closeAll.
func (u *unconfirmed) add(s *session) (done func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, false
	}
	u.open = append(u.open, s)
	if len(u.open) > maxUnconfirmed {
		u.open[0].closeWith(errEvicted)
		u.open = slices.Delete(u.open, 0, 1)
	}
	return func() { u.remove(s) }, true
}

func (u *unconfirmed) remove(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i := slices.Index(u.open, s); i >= 0 {
		u.open = slices.Delete(u.open, i, i+1)
	}
}

func (u *unconfirmed) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.open)
}

func (u *unconfirmed) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, s := range u.open {
		s.closeWith(errShutdown)
	}
	u.open = nil
}

// maxFailures is how many failed handshakes of one source a second are answered
// with the reason. Right ones are never counted: opening message 1 is cheap.
const maxFailures = 20

// maxSources bounds the addresses that failures are remembered of.
const maxSources = 1024

// logEvery is the time between two log lines about failures of one source.
const logEvery = time.Minute

// failures counts failed handshakes per source address and second.
type failures struct {
	mu     sync.Mutex
	since  time.Time
	count  map[string]int
	logged map[string]time.Time
}

// allow counts a failure and reports whether it may be answered in full.
func (f *failures) allow(remote string, now time.Time) bool {
	host := hostOf(remote)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == nil || now.Sub(f.since) >= time.Second {
		f.since, f.count = now, make(map[string]int)
	}
	if len(f.count) >= maxSources {
		return false
	}
	f.count[host]++
	return f.count[host] <= maxFailures
}

// news reports whether a failure is worth a log line: the last one about its source
// is a minute old. With too many sources at once, new ones are not.
func (f *failures) news(remote string, now time.Time) bool {
	host := hostOf(remote)
	f.mu.Lock()
	defer f.mu.Unlock()
	if last, known := f.logged[host]; known && now.Sub(last) < logEvery {
		return false
	}
	maps.DeleteFunc(f.logged, func(_ string, last time.Time) bool { return now.Sub(last) >= logEvery })
	if len(f.logged) >= maxSources {
		return false
	}
	if f.logged == nil {
		f.logged = make(map[string]time.Time)
	}
	f.logged[host] = now
	return true
}

// hostOf is an address without its port.
func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// seen remembers the first messages of the last minutes. A replayed one gets
// nowhere anyway; this saves the key agreement.
type seen struct {
	mu       sync.Mutex
	turned   time.Time
	now, old map[[8]byte]struct{}
}

// Bounds of the memory for first messages.
const (
	seenMax  = 4096
	seenTurn = 5 * time.Minute
)

// first reports whether an ephemeral key is new, and remembers it.
func (s *seen) first(ephemeral []byte, now time.Time) bool {
	var k [8]byte
	sum := sha256.Sum256(ephemeral)
	copy(k[:], sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= seenMax || now.Sub(s.turned) > seenTurn {
		s.old, s.now, s.turned = s.now, make(map[[8]byte]struct{}), now
	}
	if _, known := s.old[k]; known {
		return false
	}
	if _, known := s.now[k]; known {
		return false
	}
	s.now[k] = struct{}{}
	return true
}

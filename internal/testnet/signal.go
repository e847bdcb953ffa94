package testnet

import (
	"context"
	"time"
)

// signal is a condition variable whose waiters block on a channel, which
// testing/synctest counts as durable. It is guarded by the network's mutex.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) raise() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// pause is what somebody waits for: a signal, or a time unless it is zero.
type pause struct {
	changed <-chan struct{}
	until   time.Time
}

func (p pause) wait(ctx context.Context) error {
	var timeout <-chan time.Time
	if !p.until.IsZero() {
		t := time.NewTimer(time.Until(p.until))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-p.changed:
	case <-timeout:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// earlier returns the earlier of two times; zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// passed reports whether a time that is not zero has come.
func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

package mgmt

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// maxWait is the longest an answer is held back.
const maxWait = 5 * time.Minute

// recheck bounds how long a long poll relies on being told of changes: part of
// what it waits for follows from clocks, not from events.
const recheck = time.Second

// waiting reads ?wait: a duration, or a number of seconds.
func waiting(value *string) (time.Duration, error) {
	text := or(value, "")
	if text == "" {
		return 0, nil
	}
	if _, err := strconv.ParseUint(text, 10, 32); err == nil {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, badField("wait", "want a duration like 30s or 1m30s")
	}
	return min(d, maxWait), nil
}

// hold begins a long poll: the context ends after d, when the caller goes away or
// when the node shuts down.
func (a *API) hold(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	patience(scopeOf(ctx).w, d)
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(a.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// patience lets an answer come later than the server's limits allow for ordinary
// ones. Without a connection below, as in some tests, there is nothing to extend.
func patience(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + writeTimeout))
}

// until calls done whenever the node has changed, and ends when done is true or
// ctx ends. It reports the last answer of done.
func (a *API) until(ctx context.Context, done func() bool) bool {
	for {
		changed := a.cfg.Node.Changed()
		if done() {
			return true
		}
		timer := time.NewTimer(recheck)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return done()
		}
		timer.Stop()
	}
}

// untilClosed ends when changed is closed, or after d.
func (a *API) untilClosed(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	held, cancel := a.hold(ctx, d)
	defer cancel()
	select {
	case <-changed:
	case <-held.Done():
	}
}

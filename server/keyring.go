package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
)

// CookieSource is where a node's cookies come from while it runs. Both methods
// are called by one goroutine; *auth.Files is one.
type CookieSource interface {
	// Changed reports whether Load may return something else than last time. It
	// is asked each second.
	Changed() bool
	// Load returns the cookies to accept, the one to sign and dial with first.
	Load() (auth.Ring, error)
}

// cookiePoll is how often a CookieSource is asked.
const cookiePoll = time.Second

// keyring is the cookies that a node accepts now.
type keyring struct {
	source  CookieSource // nil: they never change
	state   *join.State
	changed func() // told after a change
	log     *slog.Logger
	asked   chan struct{} // one: a reload is due, however often it was asked for
	usage   *usage

	ring atomic.Pointer[auth.Ring]

	mu    sync.Mutex
	fault *muster.Problem // why the newest cookies are not used; nil: they are
}

func newKeyring(n *node) (*keyring, error) {
	k := &keyring{
		source: n.cfg.CookieSource, state: n.state, changed: n.cookiesChanged, log: n.log,
		asked: make(chan struct{}, 1), usage: newUsage(),
	}
	ring := n.cfg.Cookies
	k.ring.Store(&ring)
	return k, n.state.SetKIDs(ring.KIDs(), time.Now())
}

// now returns the accepted cookies, the first of which signs and dials.
func (k *keyring) now() auth.Ring { return *k.ring.Load() }

// accepts reports whether a key id is one of an accepted cookie.
func (k *keyring) accepts(kid string) bool { return slices.Contains(k.now().KIDs(), kid) }

func (k *keyring) linkKeys() (keys []link.Key) {
	for _, key := range k.now().LinkKeys() {
		keys = append(keys, link.Key{ID: key.ID, PSK: key.PSK})
	}
	return keys
}

// retired says since when a cookie is not accepted any more.
func (k *keyring) retired(kid string) (time.Time, bool) {
	for _, r := range k.state.Retired() {
		if r.KID == kid {
			return r.Since, true
		}
	}
	return time.Time{}, false
}

// problems says what is wrong with the newest cookies.
func (k *keyring) problems() []muster.Problem {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fault == nil {
		return nil
	}
	return []muster.Problem{*k.fault}
}

// reload makes run look at the source at once.
func (k *keyring) reload() {
	select {
	case k.asked <- struct{}{}:
	default: // one is due already
	}
}

// run follows the source.
func (k *keyring) run(ctx context.Context) error {
	if k.source == nil {
		return nil
	}
	tick := time.NewTicker(cookiePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.asked:
			k.load()
		case <-tick.C:
			if k.source.Changed() {
				k.load()
			}
		}
	}
}

// load takes over what the source holds, unless something is wrong with it.
func (k *keyring) load() {
	ring, err := k.source.Load()
	if err == nil && len(ring) == 0 {
		err = muster.Errorf(muster.CodeCookieMissing, "there is no cookie any more")
	}
	before := k.now().KIDs()
	if err != nil {
		k.log.Error("cookies not read again, the old ones stay in force", "accepted", strings.Join(before, " "), "error", err)
		k.setFault(cookieFault(err, before))
		k.changed()
		return
	}
	k.setFault(nil)
	if slices.Equal(before, ring.KIDs()) {
		k.changed()
		return
	}
	k.ring.Store(&ring)
	if err := k.state.SetKIDs(ring.KIDs(), time.Now()); err != nil {
		k.log.Error("dropped cookies will not be remembered", "error", err)
	}
	k.log.Info("cookies changed", "accepted", strings.Join(ring.KIDs(), " "), "before", strings.Join(before, " "))
	k.changed()
}

func (k *keyring) setFault(p *muster.Problem) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p != nil && k.fault != nil && k.fault.Text == p.Text {
		return // it keeps its time
	}
	k.fault = p
}

// cookieFault describes cookies that cannot be used.
func cookieFault(err error, accepted []string) *muster.Problem {
	p := &muster.Problem{Code: muster.CodeBadConfig, Since: time.Now()}
	if e, ok := errors.AsType[*muster.Error](err); ok {
		p.Code, p.Fix = e.Code, muster.Printable(e.Advice())
	}
	p.Text = muster.Printable("the new cookies are not used, [" + strings.Join(accepted, ", ") + "] stay in force: " + err.Error())
	return p
}

// cookiesChanged ends what was made with cookies that are not accepted any more.
func (n *node) cookiesChanged() {
	n.link.Revoke()
	n.api.Recheck()
	n.changed.fire()
}

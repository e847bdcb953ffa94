package join

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

const (
	backDials       = 4 // at once
	backDialOK      = 30 * time.Second
	backDialFailure = time.Second
	backDialSpacing = time.Second      // per host and port
	backDialQueue   = 10 * time.Second // longest wait for a turn at one host and port
	maxVerdicts     = 4096
)

// classOK is the class of a dial that reached the node it was meant for.
const classOK = "ok"

// backDialer checks that a node that asks to be admitted can be called at the
// endpoint it names. It tells the class of what happened and nothing else, so
// that nobody can use it to look around.
type backDialer struct {
	meet  Meet
	class func(error) string
	slots chan struct{}

	mu       sync.Mutex
	verdicts map[verdictKey]verdict
	after    map[string]time.Time // per host and port: no dial before
}

type verdictKey struct {
	endpoint string
	id       muster.NodeID
	boot     muster.Boot
}

type verdict struct {
	class string
	until time.Time
}

func newBackDialer(meet Meet, class func(error) string) *backDialer {
	return &backDialer{
		meet: meet, class: class, slots: make(chan struct{}, backDials),
		verdicts: map[verdictKey]verdict{}, after: map[string]time.Time{},
	}
}

// check dials the endpoint of a peer and returns the class of the outcome.
func (b *backDialer) check(ctx context.Context, endpoint string, peer link.Hello) (string, error) {
	key := verdictKey{endpoint, peer.ID, peer.Boot}
	if class := b.known(key); class != "" {
		return class, nil
	}
	wait, ok := b.turn(endpoint)
	if !ok {
		return "", muster.Errorf(muster.CodeTooManyRequests, "too many checks of %s are waiting", muster.Printable(endpoint))
	}
	if wait > 0 && !sleep(ctx, wait) {
		return "", ctx.Err()
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-b.slots }()
	dialCtx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	class := classOK
	m, err := b.meet(dialCtx, endpoint, peer.ID)
	if err != nil {
		class = b.class(err)
	} else {
		if m.Peer().ID != peer.ID {
			class = "other-node"
		}
		m.Close() // it was only to see who answers
	}
	b.keep(key, class)
	return class, nil
}

// known returns the class of a recent check, or nothing.
func (b *backDialer) known(key verdictKey) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, ok := b.verdicts[key]; ok && time.Now().Before(v.until) {
		return v.class
	}
	return ""
}

func (b *backDialer) keep(key verdictKey, class string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.verdicts) >= maxVerdicts {
		maps.DeleteFunc(b.verdicts, func(_ verdictKey, v verdict) bool { return !now.Before(v.until) })
	}
	if len(b.verdicts) >= maxVerdicts {
		return // whoever asks again is dialled again, once a second
	}
	life := backDialFailure
	if class == classOK {
		life = backDialOK
	}
	b.verdicts[key] = verdict{class, now.Add(life)}
}

// turn books the next dial to a host and port and returns how long to wait. It books
// nothing when too many wait already: else a few calls, given up at once, would keep
// the owner of an address waiting for hours.
func (b *backDialer) turn(endpoint string) (wait time.Duration, ok bool) {
	host := hostOf(endpoint)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.after) >= maxVerdicts {
		maps.DeleteFunc(b.after, func(_ string, after time.Time) bool { return !now.Before(after) })
	}
	after, known := b.after[host]
	if !known && len(b.after) >= maxVerdicts {
		return 0, false
	}
	at := now
	if after.After(now) {
		at = after
	}
	if at.Sub(now) > backDialQueue {
		return 0, false
	}
	b.after[host] = at.Add(backDialSpacing)
	return at.Sub(now), true
}

// hostOf is the host and port of an endpoint in the one form that all spellings of an
// address have in common.
func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, u.Port())
}

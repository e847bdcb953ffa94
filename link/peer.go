package link

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// Backoff between failed attempts to reach a peer.
const (
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
)

// The warm-up dial comes within max(warmUpMin, peers x warmUpPerPeer).
const (
	warmUpMin     = 200 * time.Millisecond
	warmUpPerPeer = 20 * time.Millisecond
)

// rivalLimit is how long the redundant one of two links stays open, so that nothing
// in flight on it is lost.
const rivalLimit = 2 * time.Second

// Why a packet was not sent. They reach the caller inside a *net.OpError.
var (
	errNoRoute = errors.New("no route to the peer")
	errTooBig  = errors.New("packet is too big for one frame")
)

// peer is the way to one other node. Its packet side is a small state machine:
// idle, dialling, up, or backing off; an incoming link makes it up at any time.
type peer struct {
	l  *Link
	id muster.NodeID

	mu         sync.Mutex
	endpoint   string  // empty: we cannot dial it
	links      []*conn // packet links that are up
	queue      queue
	again      *batch             // could not be written and gets a second chance
	writing    bool               // a writer is at work
	dialing    bool               // a dial is under way
	cancelDial context.CancelFunc // of that dial
	failed     int                // attempts since the last success
	notBefore  time.Time
	down       *net.OpError // what Send returns until notBefore
	lastErr    error
	since      time.Time // of the last change between up and down
	tripper    *pooledTransport
	stopped    bool
}

func (l *Link) peer(id muster.NodeID) *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[id]
}

// peerFor returns the peer with an id and makes it if need be; nil after Run has ended.
func (l *Link) peerFor(id muster.NodeID) *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.peers[id]; p != nil {
		return p
	}
	if l.ctx != nil && l.ctx.Err() != nil {
		return nil
	}
	p := &peer{l: l, id: id, since: time.Now(), queue: queue{pool: &l.bufs}}
	l.peers[id] = p
	return p
}

// Learn sets the route to a node: the endpoint URL that it advertises, or empty for
// one that can only dial us.
func (l *Link) Learn(id muster.NodeID, endpoint string) {
	if id == l.cfg.Self.ID {
		return
	}
	p := l.peerFor(id)
	if p == nil {
		return
	}
	if !p.reroute(endpoint) {
		return
	}
	p.dropTransport()
	if l.cfg.Self.ID < id && endpoint != "" {
		l.warmUp(p)
	}
}

// reroute sets the endpoint and reports whether it is another one. What failed at
// the old address says nothing about the new one.
func (p *peer) reroute(endpoint string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoint == endpoint {
		return false
	}
	p.endpoint, p.failed, p.notBefore = endpoint, 0, time.Time{}
	if p.cancelDial != nil {
		p.cancelDial() // harmless when that dial is over
	}
	return true
}

// Forget removes the route to a node and what waits to be sent to it. Open
// connections stay; see Drop.
func (l *Link) Forget(id muster.NodeID) {
	l.mu.Lock()
	p := l.peers[id]
	delete(l.peers, id)
	l.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	links := slices.Clone(p.links)
	p.mu.Unlock()
	p.stop()
	for _, c := range links { // they stay a route, as if they had just come in
		if q := l.peerFor(id); q != nil {
			q.addLink(c)
		}
	}
}

// State says whether a packet link to a node is up, since when, and what the last
// attempt to reach it ended with.
func (l *Link) State(id muster.NodeID) (up bool, lastErr error, since time.Time) {
	p := l.peer(id)
	if p == nil {
		return false, nil, time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links) > 0, p.lastErr, p.since
}

// bestLocked prefers the link that the node with the smaller id has dialled, so that
// both sides choose the same one.
func (p *peer) bestLocked() *conn {
	for _, c := range p.links {
		if p.preferred(c) {
			return c
		}
	}
	if len(p.links) > 0 {
		return p.links[0]
	}
	return nil
}

func (p *peer) preferred(c *conn) bool {
	return c.inbound == (p.id < p.l.cfg.Self.ID)
}

// addLink makes a packet link a route to the peer. It replaces an older one of the
// same direction.
func (p *peer) addLink(c *conn) {
	p.mu.Lock()
	if slices.Contains(p.links, c) {
		p.mu.Unlock()
		return
	}
	i := slices.IndexFunc(p.links, func(o *conn) bool { return o.inbound == c.inbound })
	var replaced *conn
	if i >= 0 {
		replaced, p.links[i] = p.links[i], c
	} else {
		p.links = append(p.links, c)
	}
	if len(p.links) == 1 {
		p.since = time.Now()
		p.dropStaleLocked(p.since)
	}
	p.failed, p.notBefore, p.lastErr = 0, time.Time{}, nil
	p.retireRivalLocked()
	p.mu.Unlock()
	if replaced != nil {
		p.l.metrics.replaced.Inc()
		p.l.spawn(func() {
			replaced.sendClose(closeReplaced)
			replaced.closeWith(errReplaced)
		})
	}
	p.wake()
}

// retireRivalLocked closes, after a while, a link of ours that a better one made redundant.
func (p *peer) retireRivalLocked() {
	if len(p.links) < 2 {
		return
	}
	for _, c := range p.links {
		if c.inbound || p.preferred(c) {
			continue // only its dialler closes a link
		}
		time.AfterFunc(rivalLimit, func() {
			p.mu.Lock()
			best := p.bestLocked()
			p.mu.Unlock()
			if best != nil && best != c {
				c.sendClose(closeReplaced)
				c.closeWith(errReplaced)
			}
		})
	}
}

// removeLink takes a closed link away.
func (p *peer) removeLink(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.links, c)
	if i < 0 {
		return
	}
	p.links = slices.Delete(p.links, i, i+1)
	if len(p.links) > 0 {
		return
	}
	p.since, p.lastErr = time.Now(), c.closedBy()
	p.queue.waitSince(p.since)
}

// queued returns the size of the packet queue in bytes.
func (p *peer) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.size()
}

// stop discards the queue and the idle connections.
func (p *peer) stop() {
	p.mu.Lock()
	p.stopped = true
	p.queue.clear()
	p.again, p.endpoint = nil, ""
	if p.cancelDial != nil {
		p.cancelDial() // harmless when that dial is over
	}
	p.mu.Unlock()
	p.dropTransport()
}

// forgetIdle removes a peer that only inbound links had made known.
func (l *Link) forgetIdle(p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.endpoint == "" && len(p.links) == 0 && p.tripper == nil && l.peers[p.id] == p {
		delete(l.peers, p.id)
	}
}

// dropTransport closes the idle rpc connections of the peer and begins a new pool.
func (p *peer) dropTransport() {
	p.mu.Lock()
	old := p.tripper
	p.tripper = nil
	p.mu.Unlock()
	if old != nil {
		old.CloseIdleConnections()
	}
}

// retireTransport drops the pool of rpc connections if its key is not accepted.
func (p *peer) retireTransport(keys []Key) {
	p.mu.Lock()
	old := p.tripper != nil && !holds(keys, p.tripper.kid)
	p.mu.Unlock()
	if old {
		p.dropTransport()
	}
}

var _ http.RoundTripper = (*pooledTransport)(nil)

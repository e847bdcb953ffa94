package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// Bounds of a peer's packet queue.
const (
	maxQueueBytes   = 256 << 10
	maxQueuePackets = 512
	maxQueueAge     = time.Second // while no link is up
)

// Backoff between failed attempts to reach a peer.
const (
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
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
// idle, dialling (a writer is at work and there is no link), up, or backing off.
type peer struct {
	l  *Link
	id muster.NodeID

	mu        sync.Mutex
	endpoint  string  // empty: we cannot dial it
	links     []*conn // packet links that are up
	pending   *buffer // whole frames, in order; nil while there are none
	marks     []mark  // of pending
	busy      bool    // a writer is at work
	failed    int     // attempts since the last success
	notBefore time.Time
	down      *net.OpError // what Send returns until notBefore
	lastErr   error
	since     time.Time // of the last change between up and down
	tripper   *pooledTransport
	stopped   bool
}

// mark says when the packet that starts at an offset of pending began to wait for a
// link; zero while one is up.
type mark struct {
	offset int
	at     time.Time
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
	p := &peer{l: l, id: id, since: time.Now()}
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
	if p.reroute(endpoint) {
		p.dropTransport()
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

// Send queues a packet for a node and returns. It never blocks and never dials in
// the calling goroutine. A full queue drops the packet and returns nil, as a
// datagram network would. While the node is known to be out of reach the result is a
// bare *net.OpError, which memberlist looks for with a type assertion.
func (l *Link) Send(to muster.NodeID, packet []byte) error {
	p := l.peer(to)
	if p == nil {
		l.metrics.dropped.noRoute.Inc()
		return dialError(errNoRoute)
	}
	if len(packet) > maxPayload {
		l.metrics.dropped.tooBig.Inc()
		return &net.OpError{Op: "write", Net: "tcp", Err: errTooBig}
	}
	start, err := p.enqueue(packet)
	if err != nil {
		return err
	}
	if start && !l.spawn(p.writeLoop) {
		p.giveUp() // Run starts what was queued before it
		if l.ended() {
			return dialError(errShutdown)
		}
	}
	return nil
}

func dialError(err error) *net.OpError { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

// enqueue appends a packet to the queue and reports whether a writer must be
// started. The result is an error interface so that nil stays nil.
func (p *peer) enqueue(packet []byte) (start bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Time{}
	if len(p.links) == 0 {
		now = time.Now()
		p.dropStaleLocked(now)
		switch {
		case now.Before(p.notBefore):
			return false, p.down
		case p.endpoint == "":
			p.l.metrics.dropped.noRoute.Inc()
			return false, dialError(errNoRoute)
		}
	}
	if p.pending == nil {
		p.pending = getBuffer(&p.l.bufs)
	}
	q := p.pending.b
	if len(p.marks) >= maxQueuePackets || len(q)+frameHead+len(packet) > maxQueueBytes {
		p.l.metrics.dropped.queueFull.Inc()
		return false, nil
	}
	p.marks = append(p.marks, mark{len(q), now})
	p.pending.b = append(appendFrameHead(q, framePacket, len(packet)), packet...)
	start = !p.busy
	p.busy = true
	return start, nil
}

// dropStaleLocked throws away what has waited too long for a link.
func (p *peer) dropStaleLocked(now time.Time) {
	i := slices.IndexFunc(p.marks, func(m mark) bool { return now.Sub(m.at) <= maxQueueAge })
	if i < 0 {
		i = len(p.marks)
	}
	if i == 0 {
		return
	}
	p.l.metrics.dropped.stale.Add(float64(i))
	if i == len(p.marks) {
		p.clearLocked()
		return
	}
	start := p.marks[i].offset
	p.pending.b = append(p.pending.b[:0], p.pending.b[start:]...)
	p.marks = slices.Delete(p.marks, 0, i)
	for j := range p.marks {
		p.marks[j].offset -= start
	}
}

// clearLocked empties the queue.
func (p *peer) clearLocked() {
	if p.pending != nil {
		putBuffer(&p.l.bufs, p.pending)
	}
	p.pending, p.marks = nil, p.marks[:0]
}

// writeLoop sends what is queued, over a link that it opens if there is none, and
// ends when nothing is left.
func (p *peer) writeLoop() {
	for {
		c, batch := p.nextBatch()
		if batch == nil {
			return
		}
		if c == nil {
			if p.open() == nil {
				p.giveUp()
				return
			}
			continue
		}
		sent := p.send(c, batch.b)
		putBuffer(&p.l.bufs, batch)
		if !sent {
			p.l.metrics.dropped.lost.Inc()
			p.giveUp()
			return
		}
		p.l.metrics.batches.Inc()
	}
}

// send writes a batch and tries once more on another link: the first write after
// the peer's restart fails.
func (p *peer) send(c *conn, batch []byte) bool {
	if c.write(batch) == nil {
		return true
	}
	p.removeLink(c)
	if c = p.best(); c == nil {
		c = p.open()
	}
	if c == nil {
		return false
	}
	err := c.write(batch)
	if err != nil {
		p.removeLink(c)
		p.fail(err)
	}
	return err == nil
}

// nextBatch takes everything that is queued, if there is a link to send it on. With
// nothing to send it ends the writer's work: batch is nil.
func (p *peer) nextBatch() (c *conn, batch *buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c = p.bestLocked()
	if c == nil {
		p.dropStaleLocked(time.Now())
	}
	if p.pending == nil || p.stopped {
		p.busy = false
		return nil, nil
	}
	if batch = p.pending; c == nil {
		return nil, batch
	}
	p.l.metrics.sent(len(p.marks), len(batch.b))
	p.pending, p.marks = nil, p.marks[:0]
	return c, batch
}

// giveUp ends the writer's work with packets left in the queue. They go out with
// the next link if it comes soon.
func (p *peer) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
}

// open dials the peer for packets. Without success it returns nil and the backoff runs.
func (p *peer) open() *conn {
	p.mu.Lock()
	endpoint, wait := p.endpoint, time.Until(p.notBefore)
	p.mu.Unlock()
	if endpoint == "" || wait > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.l.ctx, packetDialLimit)
	defer cancel()
	c, err := p.l.dial(ctx, destination{endpoint, p.id, ChannelPacket})
	if err != nil {
		p.fail(err)
		return nil
	}
	p.addLink(c)
	if !p.l.spawn(func() { p.l.servePackets(c) }) {
		c.closeWith(errShutdown)
		return nil
	}
	return c
}

// fail starts or prolongs the backoff.
func (p *peer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := min(backoffMin<<min(p.failed, 10), backoffMax)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
	p.failed++
	p.notBefore = time.Now().Add(wait)
	p.lastErr = err
	p.down = dialError(err)
}

// best returns the link to write on, or nil.
func (p *peer) best() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bestLocked()
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

// wake starts a writer if something is queued and none is at work.
func (p *peer) wake() {
	p.mu.Lock()
	start := p.pending != nil && !p.busy
	p.busy = p.busy || start
	p.mu.Unlock()
	if start && !p.l.spawn(p.writeLoop) {
		p.giveUp()
	}
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
			if best := p.best(); best != nil && best != c {
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
	for i := range p.marks { // queued without a time while the link was up
		p.marks[i].at = p.since
	}
}

// queued returns the size of the packet queue in bytes.
func (p *peer) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		return 0
	}
	return len(p.pending.b)
}

// stop discards the queue and the idle connections.
func (p *peer) stop() {
	p.mu.Lock()
	p.stopped = true
	p.clearLocked()
	p.endpoint = ""
	p.mu.Unlock()
	p.dropTransport()
}

// servePackets makes a packet link a route and reads from it until it ends.
func (l *Link) servePackets(c *conn) {
	p := l.peerFor(c.hello.ID)
	if p == nil {
		c.closeWith(errShutdown)
		return
	}
	p.addLink(c)
	err := l.readPackets(c)
	c.closeWith(err)
	if p := l.peer(c.hello.ID); p != nil {
		p.removeLink(c)
		l.forgetIdle(p)
	}
	l.log.Debug("packet link ended", "peer", c.hello.ID, "name", c.hello.Name, "error", c.closedBy())
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

func (l *Link) readPackets(c *conn) error {
	for {
		rec, err := c.readRecord()
		if err != nil {
			return err
		}
		for len(rec) > 0 {
			kind, body, rest, err := cutFrame(rec)
			if err != nil {
				return err
			}
			if kind == framePacket {
				l.receive(c, body)
			}
			rec = rest
		}
	}
}

// receive hands a packet over. The copy is the receiver's for ever.
func (l *Link) receive(c *conn, body []byte) {
	l.metrics.received(len(body))
	if l.cfg.Receiver != nil {
		l.cfg.Receiver.Packet(c.hello.ID, slices.Clone(body))
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

var _ http.RoundTripper = (*pooledTransport)(nil)

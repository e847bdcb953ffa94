package link

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/musterhq/muster"
)

// Send queues a packet for a node and returns. It never blocks and never dials in
// the calling goroutine. A full queue drops the packet and returns nil, as a
// datagram network would. While the node is known to be out of reach the result is a
// bare *net.OpError, which memberlist looks for with a type assertion.
func (l *Link) Send(to muster.NodeID, packet []byte) error {
	p := l.peer(to)
	if p == nil {
		l.metrics.dropped.noRoute.Inc()
		if l.ended() {
			return dialError(errShutdown)
		}
		return dialError(errNoRoute)
	}
	if len(packet) > maxPayload {
		l.metrics.dropped.tooBig.Inc()
		return &net.OpError{Op: "write", Net: "tcp", Err: errTooBig}
	}
	return p.enqueue(packet)
}

func dialError(err error) *net.OpError { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

// enqueue appends a packet to the queue and sees to it that somebody sends it. The
// result is an error, not a *net.OpError, so that nil stays nil.
func (p *peer) enqueue(packet []byte) error {
	p.mu.Lock()
	now := time.Time{}
	if len(p.links) == 0 {
		now = time.Now()
		p.dropStaleLocked(now)
		if err := p.unreachableLocked(now); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	if !p.queue.add(packet, now) {
		p.l.metrics.dropped.queueFull.Inc()
	}
	next := p.nextStepLocked(now)
	p.mu.Unlock()
	p.begin(next)
	return nil
}

// unreachableLocked says why there is no use in queueing, without a link.
func (p *peer) unreachableLocked(now time.Time) error {
	switch {
	case now.Before(p.notBefore):
		return p.down
	case p.endpoint == "":
		p.l.metrics.dropped.noRoute.Inc()
		return dialError(errNoRoute)
	}
	return nil
}

// dropStaleLocked throws away what has waited too long for a link.
func (p *peer) dropStaleLocked(now time.Time) {
	p.l.metrics.dropped.stale.Add(float64(p.queue.dropStale(now)))
	if p.again != nil && now.Sub(p.again.failed) > maxQueueAge {
		p.l.metrics.dropped.stale.Add(float64(p.again.packets))
		putBuffer(&p.l.bufs, p.again.buf)
		p.again = nil
	}
}

// step is what a peer needs to have done in a goroutine of its own.
type step int

const (
	stepNone step = iota
	stepWrite
	stepDial
)

// nextStepLocked decides what the queue waits for, and marks it as under way.
func (p *peer) nextStepLocked(now time.Time) step {
	waiting := p.queue.size() > 0 || p.again != nil
	switch {
	case !waiting || p.stopped:
		return stepNone
	case len(p.links) > 0 && !p.writing:
		p.writing = true
		return stepWrite
	case len(p.links) == 0 && p.mayDialLocked(now):
		p.dialing = true
		return stepDial
	}
	return stepNone
}

func (p *peer) mayDialLocked(now time.Time) bool {
	return !p.dialing && !p.stopped && p.endpoint != "" && !now.Before(p.notBefore)
}

// begin does a step in a goroutine of its own. Before Run it does nothing: Run wakes
// all peers.
func (p *peer) begin(s step) {
	started := true
	switch s {
	case stepNone:
		return
	case stepWrite:
		started = p.l.spawn(p.write)
	case stepDial:
		started = p.l.spawn(p.open)
	}
	if !started {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.writing = p.writing && s != stepWrite
		p.dialing = p.dialing && s != stepDial
	}
}

// wake starts what the queue waits for, if anything.
func (p *peer) wake() {
	p.mu.Lock()
	next := p.nextStepLocked(time.Now())
	p.mu.Unlock()
	p.begin(next)
}

// write sends what is queued until nothing is left or no link is up.
func (p *peer) write() {
	for {
		c, b := p.nextBatch()
		if c == nil {
			p.wake() // something may wait for a dial
			return
		}
		if err := c.session.write(b.buf.b); err != nil {
			p.removeLink(c)
			p.writeFailed(b, err)
			continue
		}
		p.l.metrics.sent(b)
		putBuffer(&p.l.bufs, b.buf)
	}
}

// nextBatch takes what is to be sent, and the link to send it on. Without either the
// writer's work is over.
func (p *peer) nextBatch() (*conn, *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, b := p.bestLocked(), p.again
	switch {
	case p.stopped || c == nil || b == nil && p.queue.size() == 0:
		p.writing = false
		return nil, nil
	case b != nil:
		p.again = nil
	default:
		b = p.queue.take()
	}
	return c, b
}

// writeFailed keeps a batch for a second attempt: the first write after the peer's
// restart fails. What has failed twice is lost and starts the backoff.
func (p *peer) writeFailed(b *batch, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.failed.IsZero() && p.again == nil {
		b.failed = time.Now()
		p.again = b
		return
	}
	p.l.metrics.dropped.lost.Add(float64(b.packets))
	putBuffer(&p.l.bufs, b.buf)
	p.failLocked(err)
}

// open dials the peer for packets.
func (p *peer) open() {
	ctx, cancel := context.WithTimeout(p.l.ctx, packetDialLimit)
	defer cancel()
	p.mu.Lock()
	endpoint := p.endpoint
	p.cancelDial = cancel
	p.mu.Unlock()
	c, err := p.l.dial(ctx, destination{endpoint: endpoint, target: p.id, channel: ChannelPacket})
	p.mu.Lock()
	p.dialing = false
	if err != nil && p.endpoint == endpoint { // a new address starts afresh
		p.failLocked(err)
	}
	p.mu.Unlock()
	if err != nil {
		p.wake() // a new address, or a link that came in meanwhile
		return
	}
	if !p.l.spawn(func() { p.l.servePackets(c) }) {
		c.closeWith(errShutdown)
	}
}

// Open opens a packet link to whoever answers at an endpoint, who must accept links
// that name nobody (Config.AnyTarget), and returns who that is.
func (l *Link) Open(ctx context.Context, endpoint string) (Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	c, err := l.dial(ctx, destination{endpoint: endpoint, channel: ChannelPacket})
	if err != nil {
		return Hello{}, err
	}
	if !l.spawn(func() { l.servePackets(c) }) {
		c.closeWith(errShutdown)
	}
	return c.hello, nil
}

// failLocked starts or prolongs the backoff, unless there is a link all the same.
func (p *peer) failLocked(err error) {
	if len(p.links) > 0 {
		return
	}
	wait := min(backoffMin<<min(p.failed, 10), backoffMax)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
	p.failed++
	p.notBefore = time.Now().Add(wait)
	p.lastErr = err
	p.down = dialError(err)
}

// warmUp opens the packet link a little later, so that the first probe does not pay
// for it. The side with the smaller id does it, at a random time, so that pairs do
// not dial each other twice and a cluster that starts does not dial all at once.
func (l *Link) warmUp(p *peer) {
	l.mu.Lock()
	n := len(l.peers)
	l.mu.Unlock()
	spread := max(warmUpMin, time.Duration(n)*warmUpPerPeer)
	time.AfterFunc(rand.N(spread), func() {
		p.mu.Lock()
		next := stepNone
		if len(p.links) == 0 && p.mayDialLocked(time.Now()) {
			p.dialing = true
			next = stepDial
		}
		p.mu.Unlock()
		p.begin(next)
	})
}

// servePackets reads from a packet link until it ends.
func (l *Link) servePackets(c *conn) {
	c.closeWith(l.readPackets(c))
	if p := l.peer(c.hello.ID); p != nil {
		p.removeLink(c)
		p.wake()
		l.forgetIdle(p)
	}
	l.log.Debug("packet link ended", "peer", c.hello.ID, "name", c.hello.Name, "error", c.closedBy())
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
			switch kind {
			case framePacket:
				l.receive(c, body)
			case frameDialBack:
				l.answerDialBack(c, body)
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

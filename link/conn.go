package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
)

// conn is a session whose peer has proved who it is.
type conn struct {
	*session
	hello   Hello
	channel Channel
	inbound bool
	kid     string
	remote  string // address of the socket
	since   time.Time
	token   string // of a dial-back
	up      bool   // admitted by both sides; guarded by registry.mu

	ctx    context.Context // ends when the connection is closed
	cancel context.CancelFunc

	dialingBack atomic.Int32 // connections that the peer asked for, under way
}

// newConn registers a session whose peer's HELLO has verified, so that Drop
// reaches it while the gates are still being asked.
func (l *Link) newConn(s *session, hello Hello, h handshake) *conn {
	c := &conn{
		session: s, hello: hello, channel: h.channel, inbound: !s.client, kid: h.key.ID, token: h.token,
		remote: s.nc.RemoteAddr().String(), since: time.Now(),
	}
	c.ctx, c.cancel = context.WithCancel(l.ctx)
	l.reg.add(c)
	s.onClose(func() {
		c.cancel()
		if l.reg.remove(c) {
			l.metrics.ended(c)
		}
	})
	return c
}

// Reasons for closing a connection from our side.
var (
	errShutdown = errors.New("link: this node is shutting down")
	errDropped  = errors.New("link: the connection was dropped")
	errReplaced = errors.New("link: a newer connection has replaced this one")
	errNewBoot  = errors.New("link: the peer has restarted")
	errRevoked  = errors.New("link: the cookie of the connection is not accepted any more")
	errEvicted  = errors.New("link: too many unfinished handshakes")
	errTooSlow  = errors.New("link: the peer did not take what was sent to it within 2 s")
)

// Status describes one connection.
type Status struct {
	Peer       muster.NodeID
	Name       string
	Endpoint   string // as the peer advertises it
	Remote     string // address of the socket
	KID        string
	Channel    Channel
	Inbound    bool
	Boot       muster.Boot
	Since      time.Time
	LastRead   time.Time
	LastWrite  time.Time
	QueueBytes int // of the peer's packet queue
}

func (c *conn) status() Status {
	return Status{
		Peer: c.hello.ID, Name: c.hello.Name, Endpoint: c.hello.Endpoint, Remote: c.remote, KID: c.kid,
		Channel: c.channel, Inbound: c.inbound, Boot: c.hello.Boot, Since: c.since,
		LastRead: time.Unix(0, c.lastRead.Load()), LastWrite: time.Unix(0, c.lastWrite.Load()),
	}
}

// registry knows every connection whose peer has proved who it is.
type registry struct {
	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newRegistry() *registry { return &registry{conns: make(map[*conn]struct{})} }

func (r *registry) add(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = struct{}{}
}

// remove takes a connection out and reports whether it was up.
func (r *registry) remove(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, there := r.conns[c]
	delete(r.conns, c)
	return there && c.up
}

// markUp counts c as an admitted link, unless it was closed meanwhile.
func (r *registry) markUp(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, there := r.conns[c]
	c.up = there
	return there
}

// all returns the connections that are up.
func (r *registry) all() []*conn {
	return r.find(func(c *conn) bool { return c.up })
}

// of returns the connections with a node, admitted or not.
func (r *registry) of(id muster.NodeID) []*conn {
	return r.find(func(c *conn) bool { return c.hello.ID == id })
}

func (r *registry) find(match func(*conn) bool) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*conn
	for c := range r.conns {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// inbound counts the admitted connections that a node has opened to us on a channel.
func (r *registry) inbound(id muster.NodeID, channel Channel) int {
	return len(r.find(func(c *conn) bool {
		return c.up && c.inbound && c.hello.ID == id && c.channel == channel
	}))
}

func (r *registry) closeAll(code uint16) {
	closeAll(r.find(func(*conn) bool { return true }), code, errShutdown)
}

// closeAll closes connections, telling the other sides where that takes no time.
func closeAll(conns []*conn, code uint16, cause error) {
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			c.sendClose(code)
			c.closeWith(cause)
		})
	}
	wg.Wait()
}

// Links describes all connections, sorted by peer, channel and age.
func (l *Link) Links() []Status {
	conns := l.reg.all()
	out := make([]Status, 0, len(conns))
	for _, c := range conns {
		st := c.status()
		if p := l.peer(c.hello.ID); p != nil && c.channel == ChannelPacket {
			st.QueueBytes = p.queued()
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b Status) int {
		ka, kb := string(a.Peer)+string(a.Channel), string(b.Peer)+string(b.Channel)
		if ka != kb && ka < kb {
			return -1
		} else if ka != kb {
			return 1
		}
		return a.Since.Compare(b.Since)
	})
	return out
}

// Drop closes all connections with a node, also those under way, and ends the
// requests on them. The route stays: use Gate to keep the node out.
func (l *Link) Drop(id muster.NodeID) {
	closeAll(l.reg.of(id), closeRevoked, errDropped)
	if p := l.peer(id); p != nil {
		p.dropTransport()
	}
}

// Revoke closes all connections under keys that Keys does not return any more, also
// those under way, and ends the requests on them. Call it when Keys has changed.
func (l *Link) Revoke() {
	keys := l.cfg.Keys()
	gone := l.reg.find(func(c *conn) bool { return !holds(keys, c.kid) })
	if len(gone) > 0 {
		l.log.Info("closing links under a dropped cookie", "links", len(gone))
	}
	closeAll(gone, closeRevoked, errRevoked)
	l.mu.Lock()
	peers := slices.Collect(maps.Values(l.peers))
	l.mu.Unlock()
	for _, p := range peers {
		p.retireTransport(keys)
	}
}

func holds(keys []Key, kid string) bool {
	_, ok := findKey(keys, kid)
	return ok
}

// admit decides about a peer whose HELLO has verified: is it the one we meant, is
// it really another process, and what does the gate say?
func (l *Link) admit(c *conn, target muster.NodeID, where string) *muster.Error {
	if err := l.checkIdentity(c.hello, target, where); err != nil {
		if err.Code == muster.CodeClone {
			l.alarm(err)
		}
		return err
	}
	if err := l.checkCertificate(c); err != nil {
		return err
	}
	if v := c.hello.Versions; v[0] > version || v[1] < version {
		return muster.Errorf(muster.CodeVersionRange, "%s speaks link versions %d to %d, %s speaks %d",
			c.hello.Name, v[0], v[1], l.cfg.Self.Name, version)
	}
	if c.inbound && c.channel != ChannelPacket && l.reg.inbound(c.hello.ID, c.channel) >= maxPerPeer {
		return muster.Errorf(muster.CodeTooManyRequests, "%s holds %d %s connections to %s already",
			c.hello.Name, maxPerPeer, c.channel, l.cfg.Self.Name)
	}
	if l.cfg.Gate != nil {
		if err := l.cfg.Gate.Admit(c.hello, c.channel); err != nil {
			return err
		}
	}
	return l.settleBoot(c)
}

func (l *Link) checkIdentity(peer Hello, target muster.NodeID, where string) *muster.Error {
	self := l.cfg.Self
	switch {
	case peer.ID == self.ID && peer.Boot.Random == self.Boot.Random:
		return muster.Errorf(muster.CodeSelf, "%s is this node itself (%s)", where, self.Name)
	case peer.ID == self.ID:
		return muster.Errorf(muster.CodeClone, "another process with the identity of %s (%s) runs at %s, boot %d",
			self.Name, self.ID, where, peer.Boot.Counter)
	case target != "" && peer.ID != target:
		return muster.Errorf(muster.CodeWrongTarget, "%s is %s (%s), not %s", where, peer.Name, peer.ID, target)
	}
	return nil
}

// checkCertificate binds the name of a peer to its certificate, if that is wanted.
func (l *Link) checkCertificate(c *conn) *muster.Error {
	if !l.cfg.BindNames {
		return nil
	}
	var state tls.ConnectionState
	if secure, ok := c.nc.(*tls.Conn); ok {
		state = secure.ConnectionState()
	}
	if f := certs.Bound(state, c.hello.Name); f != nil {
		return muster.Errorf(muster.Code(f.Code), "%s refuses %s: %s", l.cfg.Self.Name, c.hello.Name, muster.Printable(f.Text))
	}
	return nil
}

// settleBoot deals with links to another run of the same node: a run that still
// answers is a clone, a silent one has been replaced. Boot counters are drawn once,
// so that an equal one gives a clone away whether it answers or not.
func (l *Link) settleBoot(c *conn) *muster.Error {
	old := l.reg.find(func(o *conn) bool {
		return o.up && o.hello.ID == c.hello.ID && o.hello.Boot != c.hello.Boot
	})
	for _, o := range old {
		twin := o.hello.Boot.Counter == c.hello.Boot.Counter
		if !twin && (o.channel != ChannelPacket || !o.probe(time.Second)) {
			continue
		}
		err := muster.Errorf(muster.CodeClone, "two processes have the identity of %s (%s): boot %d at %s and boot %d at %s",
			c.hello.Name, c.hello.ID, o.hello.Boot.Counter, o.remote, c.hello.Boot.Counter, c.remote)
		l.alarm(err)
		return err
	}
	for _, o := range old {
		o.sendClose(closeNewBoot)
		o.closeWith(errNewBoot)
	}
	return nil
}

// establish makes an admitted connection known.
func (l *Link) establish(c *conn) error {
	c.max = maxMessage
	_ = c.nc.SetDeadline(time.Time{}) // a closed connection shows at the first use
	if !l.reg.markUp(c) {
		return fmt.Errorf("link to %s: %w", c.hello.Name, c.closedBy())
	}
	l.metrics.up(c)
	if !holds(l.cfg.Keys(), c.kid) { // dropped during the handshake, after Revoke had looked
		c.sendClose(closeRevoked)
		c.closeWith(errRevoked)
		return fmt.Errorf("link to %s: %w", c.hello.Name, errRevoked)
	}
	l.log.Debug("link is up", "peer", c.hello.ID, "name", c.hello.Name, "channel", c.channel, "inbound", c.inbound)
	if p := l.peerFor(c.hello.ID); p != nil && c.channel == ChannelPacket {
		p.addLink(c) // before anybody hears of it and sends
	}
	if l.cfg.OnUp != nil {
		l.cfg.OnUp(c.hello)
	}
	return nil
}

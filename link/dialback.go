package link

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"

	"github.com/musterhq/muster"
)

// Streams and rpc to a node that nobody can dial: it is asked over its packet link
// to dial us, with a token that tells us what its connection is for. The token works
// once, for that node and channel only.

const (
	maxDialBack     = 256 // bytes of a request
	maxDialingBack  = 32  // answers of one node under way
	maxTokenOnWire  = 64
	dialBackWaiting = 256 // requests of one node under way
)

var errDialBacks = errors.New("too many nodes have been asked to dial back")

// dialBackRequest is the payload of a dial-back frame.
type dialBackRequest struct {
	Token   string  `json:"token"`
	Channel Channel `json:"channel"`
}

// dialBacks knows the connections that other nodes were asked for.
type dialBacks struct {
	mu      sync.Mutex
	waiting map[string]*awaited
}

type awaited struct {
	from    muster.NodeID
	channel Channel
	conn    chan *conn // one: a token works once
}

// expect makes a token.
func (d *dialBacks) expect(from muster.NodeID, channel Channel) (string, *awaited, error) {
	token, a := rand.Text(), &awaited{from: from, channel: channel, conn: make(chan *conn, 1)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) >= dialBackWaiting {
		return "", nil, errDialBacks
	}
	if d.waiting == nil {
		d.waiting = make(map[string]*awaited)
	}
	d.waiting[token] = a
	return token, a, nil
}

// deliver gives a connection to whoever asked for it, and reports whether there is
// anybody.
func (d *dialBacks) deliver(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.waiting[c.token]
	if a == nil || a.from != c.hello.ID || a.channel != c.channel {
		return false
	}
	delete(d.waiting, c.token)
	a.conn <- c
	return true
}

// forget makes a token worthless. What came too late is closed.
func (d *dialBacks) forget(token string, a *awaited) {
	d.mu.Lock()
	delete(d.waiting, token)
	d.mu.Unlock()
	select {
	case c := <-a.conn:
		c.closeWith(errDropped)
	default:
	}
}

// dialBack asks a node to open a connection to us, and waits for it.
func (l *Link) dialBack(ctx context.Context, p *peer, channel Channel) (*conn, error) {
	p.mu.Lock()
	link := p.bestLocked()
	p.mu.Unlock()
	if link == nil {
		return nil, muster.Errorf(muster.CodePeerUnreachable, "node %s: %w", p.id, errNoRoute)
	}
	token, a, err := l.back.expect(p.id, channel)
	if err != nil {
		return nil, muster.Errorf(muster.CodePeerUnreachable, "node %s: %w", p.id, err)
	}
	defer l.back.forget(token, a)
	body, err := json.Marshal(dialBackRequest{Token: token, Channel: channel})
	if err == nil {
		err = link.session.write(append(appendFrameHead(nil, frameDialBack, len(body)), body...))
	}
	if err != nil {
		return nil, muster.Errorf(muster.CodePeerUnreachable, "ask node %s to dial back: %w", p.id, err)
	}
	select {
	case c := <-a.conn:
		return c, nil
	case <-link.done:
		return nil, muster.Errorf(muster.CodePeerUnreachable, "node %s went away before it dialled back: %w", p.id, link.closedBy())
	case <-ctx.Done():
		return nil, muster.Errorf(muster.CodePeerUnreachable, "node %s did not dial back: %w", p.id, ctx.Err())
	}
}

// answerDialBack does what the node at the other end of a packet link asks for. Only
// a node that cannot be dialled does: nobody else has reason to ask.
func (l *Link) answerDialBack(c *conn, body []byte) {
	var req dialBackRequest
	if len(body) > maxDialBack || json.Unmarshal(body, &req) != nil || len(req.Token) > maxTokenOnWire ||
		req.Channel != ChannelStream && req.Channel != ChannelRPC || l.cfg.Facts().Endpoint != "" {
		return
	}
	if c.dialingBack.Add(1) > maxDialingBack || !l.spawn(func() { l.openDialBack(c, req) }) {
		c.dialingBack.Add(-1)
	}
}

func (l *Link) openDialBack(c *conn, req dialBackRequest) {
	defer c.dialingBack.Add(-1)
	ctx, cancel := context.WithTimeout(c.ctx, dialLimit)
	defer cancel()
	endpoint := c.hello.Endpoint
	if p := l.peer(c.hello.ID); p != nil {
		p.mu.Lock()
		if p.endpoint != "" {
			endpoint = p.endpoint
		}
		p.mu.Unlock()
	}
	back, err := l.dial(ctx, destination{endpoint: endpoint, target: c.hello.ID, channel: req.Channel, token: req.Token})
	if err != nil {
		l.log.Debug("could not dial back", "peer", c.hello.ID, "error", err)
		return
	}
	l.serve(back)
}

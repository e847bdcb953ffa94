package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
)

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

var errNameless = errors.New("address without a node id")

// Transport carries memberlist's packets and streams over the link. Members are
// found by node id; the made-up addresses are for memberlist's eyes only.
type Transport struct {
	ctx      context.Context // ends dials at Shutdown; memberlist's calls bring none
	cancel   context.CancelFunc
	self     muster.NodeID
	link     Link
	inbox    *Inbox
	contacts *contacts
	sentNews func() // a packet went out that may tell of a change
}

// NewTransport returns the transport of a node and opens its inbox. Run makes
// its own; this is for those who bring their own memberlist.
func NewTransport(self muster.NodeID, link Link, inbox *Inbox) *Transport {
	ctx, cancel := context.WithCancel(context.Background()) // until Shutdown
	inbox.open()
	return &Transport{
		ctx: ctx, cancel: cancel, self: self, link: link, inbox: inbox,
		contacts: newContacts(), sentNews: func() {},
	}
}

// FinalAdvertiseAddr returns this node's made-up address.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return addressOf(t.self).ip, port, nil
}

// WriteToAddress queues a packet. It never blocks: one goroutine of memberlist's
// probes all members, and a second one answers them.
func (t *Transport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	id := muster.NodeID(to.Name)
	err := t.link.Send(id, b)
	if hasNews(b) {
		t.sentNews()
	}
	// memberlist counts a failed ping against the peer only if the error is a
	// bare *net.OpError, and otherwise does not suspect it at all.
	if down, ok := err.(*net.OpError); ok { //nolint:errorlint // as memberlist does it
		t.contacts.note(id, down)
		return time.Now(), down
	}
	return time.Now(), nil
}

// DialAddressTimeout opens a stream to a member.
func (t *Transport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	id := muster.NodeID(to.Name)
	conn, err := t.link.Stream(ctx, id)
	t.contacts.note(id, err)
	if err != nil {
		return nil, fmt.Errorf("open stream to node %s: %w", id.Short(), err)
	}
	tracked, ok := t.inbox.track(id, conn)
	if !ok {
		return nil, errStopped
	}
	return tracked, nil
}

// WriteTo is not used: every address comes with a name.
func (t *Transport) WriteTo([]byte, string) (time.Time, error) { return time.Time{}, errNameless }

// DialTimeout is not used: every address comes with a name.
func (t *Transport) DialTimeout(string, time.Duration) (net.Conn, error) { return nil, errNameless }

// PacketCh returns where packets arrive.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.inbox.packets }

// StreamCh returns where streams arrive.
func (t *Transport) StreamCh() <-chan net.Conn { return t.inbox.streams }

// Shutdown ends all dials and streams and returns at once.
func (t *Transport) Shutdown() error {
	t.cancel()
	t.inbox.close()
	return nil
}

// The first byte of memberlist's packets, as far as they matter here.
const (
	packetPing         = 0
	packetIndirectPing = 1
	packetAck          = 2
	packetAlive        = 4
	packetNack         = 11
	packetChecksum     = 12 // followed by four bytes and another packet
)

// hasNews reports whether a packet may tell of a change: whatever memberlist comes to
// believe, it broadcasts. Pings and their answers, nearly all packets of a quiet
// cluster, tell of none.
func hasNews(packet []byte) bool {
	if len(packet) > 5 && packet[0] == packetChecksum {
		packet = packet[5:]
	}
	if len(packet) == 0 {
		return false
	}
	switch packet[0] {
	case packetPing, packetIndirectPing, packetAck, packetNack:
		return false
	}
	return true
}

// contacts remembers why the last contact with each member failed.
type contacts struct {
	mu       sync.Mutex
	failures map[muster.NodeID]failure
}

// failure is why the last contact failed, and when the first one in a row did.
type failure struct {
	err   error
	since time.Time
}

func newContacts() *contacts { return &contacts{failures: map[muster.NodeID]failure{}} }

// note stores the outcome of a contact.
func (c *contacts) note(id muster.NodeID, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.failures, id)
		return
	}
	before, failing := c.failures[id]
	if !failing {
		before.since = time.Now()
	}
	c.failures[id] = failure{err, before.since}
}

// failure returns why the last contact failed; its error is nil if it did not.
func (c *contacts) failure(id muster.NodeID) failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures[id]
}

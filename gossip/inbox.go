package gossip

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
)

const (
	// inboxPackets is what may arrive while memberlist is busy, some seconds of a
	// large cluster's traffic. What comes on top is dropped and counted.
	inboxPackets = 1024
	// inboxStreams bounds streams that memberlist has not taken yet. It takes
	// them at once; more than these are closed and counted.
	inboxStreams = 64
)

// Inbox takes what the link receives for gossip; it is a link.Receiver. It never
// blocks. Before Run and after it, everything is thrown away.
type Inbox struct {
	packets chan *memberlist.Packet
	streams chan net.Conn
	foreign bool // memberlist is configured by somebody else: messages pass unscreened

	hearing *hearing // set before open; nil: nobody asks

	opened                         atomic.Bool // written with mu held
	droppedPackets, droppedStreams atomic.Uint64

	mu      sync.Mutex
	tracked map[*stream]struct{}
}

// NewInbox returns an Inbox; it is made before the link and the Gossip.
func NewInbox() *Inbox {
	return &Inbox{
		packets: make(chan *memberlist.Packet, inboxPackets),
		streams: make(chan net.Conn, inboxStreams),
		tracked: map[*stream]struct{}{},
	}
}

// Packet takes a packet from an authenticated member. It keeps data.
func (b *Inbox) Packet(from muster.NodeID, data []byte) {
	if !b.opened.Load() {
		return
	}
	if !b.foreign && !plainPacket(data) {
		b.droppedPackets.Add(1)
		return
	}
	if b.hearing != nil && answers(data) {
		b.hearing.heard(time.Now())
	}
	select {
	case b.packets <- &memberlist.Packet{Buf: data, From: source{from}, Timestamp: time.Now()}:
	default:
		b.droppedPackets.Add(1)
	}
}

// Stream takes a stream that an authenticated member has opened, and closes it in
// the end.
func (b *Inbox) Stream(from muster.NodeID, conn net.Conn) {
	s, ok := b.track(from, conn)
	if !ok {
		return
	}
	select {
	case b.streams <- s:
	default:
		b.droppedStreams.Add(1)
		_ = s.Close()
	}
}

func (b *Inbox) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened.Store(true)
}

// close ends all streams, so that nobody waits for a peer any more.
func (b *Inbox) close() {
	b.mu.Lock()
	b.opened.Store(false)
	open := b.tracked
	b.tracked = map[*stream]struct{}{}
	b.mu.Unlock()
	for s := range open {
		_ = s.Conn.Close()
	}
}

// track wraps a stream so that close ends it. Unless the inbox is open it closes
// the stream and returns false.
func (b *Inbox) track(peer muster.NodeID, conn net.Conn) (*stream, bool) {
	s := &stream{Conn: conn, peer: peer, inbox: b}
	b.mu.Lock()
	if b.opened.Load() {
		b.tracked[s] = struct{}{}
		b.mu.Unlock()
		return s, true
	}
	b.mu.Unlock()
	_ = conn.Close()
	return nil, false
}

func (b *Inbox) untrack(s *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.tracked, s)
}

// stream is a stream in either direction, known by the peer's made-up address.
type stream struct {
	net.Conn
	peer  muster.NodeID
	inbox *Inbox

	message *bytes.Reader // the one message that a stream brings; nil before the first Read
}

// Read returns the message of the stream once all of it is there and sound. One
// goroutine reads.
func (s *stream) Read(p []byte) (int, error) {
	if s.inbox.foreign {
		return s.Conn.Read(p)
	}
	if s.message == nil {
		message, err := screen(s.Conn)
		if err != nil {
			if errors.Is(err, errUnsound) {
				s.inbox.droppedStreams.Add(1)
			}
			return 0, err
		}
		s.message = bytes.NewReader(message)
	}
	return s.message.Read(p)
}

// Write sends a message, which memberlist writes in one piece, without what this node
// cannot know of others than the peer.
func (s *stream) Write(p []byte) (int, error) {
	if h := s.inbox.hearing; h != nil && !h.sound(time.Now()) {
		p = bytes.Clone(p)
		calmExchange(p, s.peer)
	}
	return s.Conn.Write(p)
}

// RemoteAddr returns the peer's made-up address.
func (s *stream) RemoteAddr() net.Addr { return source{s.peer} }

// Close closes the stream.
func (s *stream) Close() error {
	s.inbox.untrack(s)
	return s.Conn.Close()
}

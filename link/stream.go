package link

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/musterhq/muster"
)

// stream is the net.Conn over a link of the stream or rpc channel.
type stream struct {
	*conn

	reading chan struct{} // holds an element while a goroutine reads
	rest    []byte        // of the current record
	data    []byte        // unread part of the current data frame
}

func newStream(c *conn) *stream {
	return &stream{conn: c, reading: make(chan struct{}, 1)}
}

// Stream opens a byte stream to a node whose route is known.
func (l *Link) Stream(ctx context.Context, to muster.NodeID) (net.Conn, error) {
	s, err := l.openStream(ctx, to, ChannelStream)
	l.metrics.stream(false, err)
	if err != nil {
		return nil, err // not a nil *stream in an interface
	}
	return s, nil
}

func (l *Link) openStream(ctx context.Context, to muster.NodeID, channel Channel) (*stream, error) {
	p := l.peer(to)
	if p == nil {
		return nil, muster.Errorf(muster.CodePeerUnreachable, "node %s: %w", to, errNoRoute)
	}
	p.mu.Lock()
	endpoint := p.endpoint
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if endpoint == "" {
		c, err := l.dialBack(ctx, p, channel)
		if err != nil {
			return nil, err
		}
		return newStream(c), nil
	}
	c, err := l.dial(ctx, destination{endpoint: endpoint, target: to, channel: channel})
	if err != nil {
		return nil, err
	}
	return newStream(c), nil
}

// deliverStream gives an incoming stream to the receiver.
func (l *Link) deliverStream(c *conn) {
	if l.cfg.Receiver == nil {
		l.metrics.stream(true, errDropped)
		c.closeWith(errDropped)
		return
	}
	l.metrics.stream(true, nil)
	l.cfg.Receiver.Stream(c.hello.ID, newStream(c))
}

// Read reads from the stream. After a timeout reading may go on.
func (s *stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	select {
	case s.reading <- struct{}{}:
	case <-s.done:
		return 0, s.opError("read", s.closedBy())
	}
	defer func() { <-s.reading }()
	for len(s.data) == 0 {
		if err := s.nextFrame(); err != nil {
			return 0, s.opError("read", err)
		}
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	return n, nil
}

// nextFrame moves on to the next frame; one that carries no data is skipped.
func (s *stream) nextFrame() error {
	if len(s.rest) == 0 {
		rec, err := s.readRecord()
		if err != nil {
			return err
		}
		s.rest = rec
	}
	if len(s.rest) == 0 {
		return nil // an empty record
	}
	kind, body, rest, err := cutFrame(s.rest)
	if err != nil {
		s.closeWith(err)
		return err
	}
	if s.rest = rest; kind == frameData {
		s.data = body
	}
	return nil
}

// opError makes err look like that of a TCP connection.
func (s *stream) opError(op string, err error) error {
	if _, ok := err.(net.Error); ok || err == io.EOF { //nolint:errorlint // only what needs no wrapping
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// Write sends b in as few records as possible.
func (s *stream) Write(b []byte) (int, error) {
	sent := 0
	err := s.locked(func() error {
		buf := getBuffer(s.bufs)
		defer putBuffer(s.bufs, buf)
		for sent < len(b) {
			part := b[sent:min(len(b), sent+maxPayload)]
			out, err := s.appendRecord(buf.b[:0], appendFrameHead(nil, frameData, len(part)), part)
			if err != nil {
				return err
			}
			buf.b = out
			if err := s.flush(out); err != nil {
				return err
			}
			sent += len(part)
		}
		return nil
	})
	if err != nil {
		return sent, s.opError("write", err)
	}
	return sent, nil
}

// Close closes the stream.
func (s *stream) Close() error {
	s.closeWith(net.ErrClosed)
	return nil
}

// LocalAddr returns the address of the socket below.
func (s *stream) LocalAddr() net.Addr { return s.nc.LocalAddr() }

// RemoteAddr returns the address of the socket below.
func (s *stream) RemoteAddr() net.Addr { return s.nc.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *stream) SetDeadline(t time.Time) error { return s.nc.SetDeadline(t) }

// SetReadDeadline bounds Read.
func (s *stream) SetReadDeadline(t time.Time) error { return s.nc.SetReadDeadline(t) }

// SetWriteDeadline bounds Write. A write that it ends has broken the stream.
func (s *stream) SetWriteDeadline(t time.Time) error { return s.nc.SetWriteDeadline(t) }

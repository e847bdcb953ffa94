package testnet

import (
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// capacity bounds what was written to one direction of a connection and not yet
// read. A writer that meets it waits, as with full socket buffers.
const capacity = 256 << 10

type addr struct {
	host string
	port int
}

// Network returns "tcp".
func (addr) Network() string { return "tcp" }

// String returns host:port.
func (a addr) String() string { return net.JoinHostPort(a.host, strconv.Itoa(a.port)) }

type segment struct {
	data []byte
	due  time.Time
	fin  bool
}

// stream is one direction of a connection.
type stream struct {
	path      path
	segments  []segment
	size      int  // bytes in segments
	abandoned bool // the reading end was closed
	reset     bool
	changed   signal
}

// conn is one end of a connection. All fields are guarded by the network's mutex.
type conn struct {
	n                           *Network
	local, remote               addr
	in, out                     *stream
	closed                      bool
	readDeadline, writeDeadline time.Time
}

// Read waits for data, the peer's close, the deadline or a reset.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err, wait := c.tryRead(p)
		if wait == nil {
			return n, c.opError("read", err)
		}
		_ = wait.wait(context.Background())
	}
}

func (c *conn) tryRead(p []byte) (int, error, *pause) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if err := c.readErrorLocked(); err != nil || len(p) == 0 {
		return 0, err, nil
	}
	at, ok := c.arrivalLocked()
	if ok && !at.After(time.Now()) {
		n, err := c.in.take(p)
		return n, err, nil
	}
	return 0, nil, &pause{c.in.changed.wait(), earlier(at, c.readDeadline)}
}

func (c *conn) readErrorLocked() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case passed(c.readDeadline):
		return os.ErrDeadlineExceeded
	case c.in.reset && !c.n.blockedLocked(c.in.path):
		return syscall.ECONNRESET
	}
	return nil
}

// arrivalLocked says when the next segment can be read; zero if nobody knows.
func (c *conn) arrivalLocked() (time.Time, bool) {
	if len(c.in.segments) == 0 {
		return time.Time{}, false
	}
	at, ok := c.n.arrivalLocked(c.in.path, c.in.segments[0].due)
	if !ok {
		return time.Time{}, false
	}
	return at, true
}

func (s *stream) take(p []byte) (int, error) {
	first := &s.segments[0]
	if first.fin {
		return 0, io.EOF
	}
	n := copy(p, first.data)
	first.data = first.data[n:]
	if len(first.data) == 0 {
		s.segments = s.segments[1:]
	}
	s.size -= n
	s.changed.raise()
	return n, nil
}

// Write returns once everything is buffered, which may need the peer to read.
func (c *conn) Write(p []byte) (int, error) {
	done := 0
	for {
		n, err, wait := c.tryWrite(p[done:])
		done += n
		if err != nil || (wait == nil && done == len(p)) {
			return done, c.opError("write", err)
		}
		if wait != nil {
			_ = wait.wait(context.Background())
		}
	}
}

func (c *conn) tryWrite(p []byte) (int, error, *pause) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if err := c.writeErrorLocked(); err != nil || len(p) == 0 {
		return 0, err, nil
	}
	n := min(len(p), capacity-c.out.size)
	if n <= 0 {
		return 0, nil, &pause{c.out.changed.wait(), c.writeDeadline}
	}
	c.pushLocked(segment{data: append([]byte(nil), p[:n]...)})
	return n, nil, nil
}

func (c *conn) writeErrorLocked() error {
	heard := !c.n.blockedLocked(path{c.out.path.to, c.out.path.from})
	switch {
	case c.closed:
		return net.ErrClosed
	case passed(c.writeDeadline):
		return os.ErrDeadlineExceeded
	case c.out.reset && heard:
		return syscall.ECONNRESET
	case c.out.abandoned && heard:
		return syscall.EPIPE
	}
	return nil
}

func (c *conn) pushLocked(s segment) {
	s.due = time.Now().Add(c.n.travelLocked(c.out.path))
	c.n.sent[c.local.host] += int64(len(s.data))
	if last := len(c.out.segments) - 1; last >= 0 && s.due.Before(c.out.segments[last].due) {
		s.due = c.out.segments[last].due
	}
	c.out.segments = append(c.out.segments, s)
	c.out.size += len(s.data)
	c.out.changed.raise()
}

// Close ends both directions; the peer reads what was written, then EOF.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	if !c.out.reset {
		c.pushLocked(segment{fin: true})
	}
	c.in.abandoned = true
	c.endLocked()
	return nil
}

// abortLocked ends the connection as a crashing host does.
func (c *conn) abortLocked() {
	c.in.reset, c.out.reset = true, true
	c.endLocked()
}

func (c *conn) endLocked() {
	c.closed = true
	delete(c.n.conns, c)
	c.in.segments, c.in.size = nil, 0
	c.in.changed.raise()
	c.out.changed.raise()
}

// LocalAddr returns this end's host:port.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's host:port.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; zero means none.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline sets the deadline of reads, those under way too.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline sets the deadline of writes, those under way too.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *conn) setDeadlines(read, write *time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	if read != nil {
		c.readDeadline = *read
	}
	if write != nil {
		c.writeDeadline = *write
	}
	c.in.changed.raise()
	c.out.changed.raise()
	return nil
}

func (c *conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

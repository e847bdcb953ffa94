package certs

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// lingerLimit is how long a refused connection stays half open, so that the
// reason arrives before the reset.
const lingerLimit = 500 * time.Millisecond

// errPlain ends a connection on which no TLS is spoken.
var errPlain = errors.New("a request in plain HTTP on a TLS port")

// NewListener serves TLS on a listener. A caller that speaks plain HTTP is sent
// plain, a whole HTTP answer, in clear text.
func NewListener(inner net.Listener, config *tls.Config, plain []byte) net.Listener {
	return &listener{Listener: inner, config: config, plain: plain}
}

type listener struct {
	net.Listener

	config *tls.Config
	plain  []byte
}

// Accept returns a *tls.Conn. The handshake is left to the goroutine that serves it.
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&conn{Conn: nc, plain: l.plain}, l.config), nil
}

// conn looks at the first byte of a connection, and lets the last words of a
// failed handshake arrive.
type conn struct {
	net.Conn

	plain  []byte
	begun  bool        // something was read
	spoke  atomic.Bool // something was written
	agreed atomic.Bool // the handshake has accepted the other side
}

// NetConn returns the connection below TLS.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Read reads, and refuses a request in clear text. Methods start with a capital
// letter, no TLS record does.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if b[0] < 'A' || b[0] > 'Z' {
		return n, err
	}
	_, _ = c.Write(c.plain) // the caller may be gone
	return 0, errPlain
}

// Write writes.
func (c *conn) Write(b []byte) (int, error) {
	c.spoke.Store(true)
	return c.Conn.Write(b)
}

// Close closes. What was said to somebody who was refused is given time to arrive:
// closing with unread input would reset the connection before.
func (c *conn) Close() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && c.spoke.Load() && !c.agreed.Swap(true) && half.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(lingerLimit))
		_, _ = io.CopyN(io.Discard, c.Conn, 64<<10) // until the other side closes too
	}
	return c.Conn.Close()
}

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// network cuts members off: from then on nothing reaches them and nothing comes
// from them, and nobody is told, as with a pulled cable.
type network struct {
	mu  sync.RWMutex
	cut map[string]bool // by IP
}

func newNetwork() *network { return &network{cut: map[string]bool{}} }

func (n *network) sever(ip string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[ip] = true
}

func (n *network) severed(a, b string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.cut[a] || n.cut[b]
}

// at returns a place on the network.
func (n *network) at(ip string) place {
	return place{ip: ip, net: n, dial: n.dialer(ip), wrap: func(l net.Listener) net.Listener { return listener{l, n} }}
}

func (n *network) dialer(self string) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(self)}}
	return func(ctx context.Context, kind, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if n.severed(self, host) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: kind, Err: os.ErrDeadlineExceeded}
		}
		conn, err := d.DialContext(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		return n.conn(conn), nil
	}
}

// listener wraps what it accepts.
type listener struct {
	net.Listener
	n *network
}

// Accept wraps the next connection.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.n.conn(conn), nil
}

// cable is a connection that can be cut.
type cable struct {
	net.Conn
	n    *network
	a, b string
	once sync.Once
	done chan struct{}
}

func (n *network) conn(c net.Conn) *cable {
	return &cable{Conn: c, n: n, a: hostOf(c.LocalAddr()), b: hostOf(c.RemoteAddr()), done: make(chan struct{})}
}

func hostOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}

// NetConn returns the connection beneath, for socket options.
func (c *cable) NetConn() net.Conn { return c.Conn }

// Read loses what arrives while the cable is cut, the end of the connection too.
func (c *cable) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if !c.n.severed(c.a, c.b) {
			return n, err
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			<-c.done
			return 0, net.ErrClosed
		}
		if err != nil {
			return 0, err
		}
	}
}

// Write loses what is sent while the cable is cut; a kernel would keep it.
func (c *cable) Write(p []byte) (int, error) {
	if c.n.severed(c.a, c.b) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// Close closes the connection.
func (c *cable) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// severable cuts off memberlist's own transport, whose sockets cannot be wrapped.
// What arrives needs no look: the sender's side has lost it.
type severable struct {
	*memberlist.NetTransport
	place place
}

// WriteToAddress sends a packet unless the cable is cut.
func (s *severable) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	if s.gone(to.Addr) {
		return time.Now(), nil
	}
	return s.NetTransport.WriteToAddress(b, to)
}

// DialAddressTimeout opens a stream, or waits in vain when the cable is cut.
func (s *severable) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if s.gone(to.Addr) {
		time.Sleep(timeout)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	return s.NetTransport.DialAddressTimeout(to, timeout)
}

func (s *severable) gone(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && s.place.net.severed(s.place.ip, host)
}

// frozen returns a dialer that connects through a proxy, and what makes the proxy
// stop reading in both directions without closing anything.
func frozen() (dial func(context.Context, string, string) (net.Conn, error), freeze, end func()) {
	var (
		mu    sync.Mutex
		conns []net.Conn
		ice   = make(chan struct{})
	)
	dial = func(ctx context.Context, kind, address string) (net.Conn, error) {
		far, err := (&net.Dialer{}).DialContext(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		near, mine, err := pair(ctx)
		if err != nil {
			_ = far.Close()
			return nil, err
		}
		mu.Lock()
		conns = append(conns, far, mine)
		mu.Unlock()
		go pump(far, mine, ice)
		go pump(mine, far, ice)
		return near, nil
	}
	return dial, func() { close(ice) }, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// pair returns both ends of a TCP connection.
func pair(ctx context.Context) (near, far net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	near, err = (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	far, err = l.Accept()
	return near, far, err
}

func pump(to io.Writer, from io.Reader, ice <-chan struct{}) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-ice:
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// blackhole dials nobody until it has no more time.
func blackhole(ctx context.Context, kind, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, &net.OpError{Op: "dial", Net: kind, Err: os.ErrDeadlineExceeded}
}

package testnet

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	backlog = 128 // connections not yet accepted; further dials wait
	// dialLimit ends a dial that gets no answer, as the kernel does after its
	// last SYN.
	dialLimit = 2 * time.Minute
)

// Host is the network as one machine sees it.
type Host struct {
	n    *Network
	name string
}

// Host returns the machine of that name; it exists from then on.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name] = true
	return &Host{n, name}
}

// Name returns the host's name, which is also its address.
func (h *Host) Name() string { return h.name }

// Listen opens a port of this host, as in ":80"; port 0 chooses one.
func (h *Host) Listen(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", address, err)
	}
	if host != "" && host != h.name {
		return nil, fmt.Errorf("listen %s: not an address of host %s", address, h.name)
	}
	return h.n.Listen(net.JoinHostPort(h.name, port))
}

// Dial connects from this host. It has the signature of net.Dialer.DialContext.
func (h *Host) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	return h.n.Dial(ctx, h.name, address)
}

type listener struct {
	n       *Network
	addr    addr
	waiting []*conn
	closed  bool
	changed signal
}

// Listen opens a port of the host that the address names; port 0 chooses one.
func (n *Network) Listen(address string) (net.Listener, error) {
	a, err := parse(address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.port == 0 {
		a.port = n.nextPortLocked()
	}
	switch {
	case n.down[a.host]:
		return nil, listenError(a, syscall.ENETDOWN)
	case n.listeners[a.String()] != nil:
		return nil, listenError(a, syscall.EADDRINUSE)
	}
	n.names[a.host] = true
	l := &listener{n: n, addr: a}
	n.listeners[a.String()] = l
	return l, nil
}

// Accept waits for a dial.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, wait, err := l.tryAccept()
		if err != nil {
			return nil, err
		}
		if c != nil {
			return c, nil
		}
		_ = wait.wait(context.Background())
	}
}

func (l *listener) tryAccept() (*conn, pause, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return nil, pause{}, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	if len(l.waiting) == 0 {
		return nil, pause{changed: l.changed.wait()}, nil
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.changed.raise()
	return c, pause{}, nil
}

// Close refuses further dials and resets those not yet accepted.
func (l *listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	l.closed = true
	delete(l.n.listeners, l.addr.String())
	for _, c := range l.waiting {
		c.abortLocked()
	}
	l.waiting = nil
	l.changed.raise()
	l.n.wakeLocked()
}

// Addr returns the host:port of the listener.
func (l *listener) Addr() net.Addr { return l.addr }

// Dial connects from a host to an address. It hangs while a path between the two
// is blocked, until ctx ends or the peer could not be reached for two minutes.
func (n *Network) Dial(ctx context.Context, from, address string) (net.Conn, error) {
	to, err := parse(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	c, err := n.dial(limited, from, to)
	if err == nil {
		return c, nil
	}
	if limited.Err() != nil && ctx.Err() == nil {
		err = os.NewSyscallError("connect", syscall.ETIMEDOUT)
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: to, Err: err}
}

func (n *Network) dial(ctx context.Context, from string, to addr) (net.Conn, error) {
	due := n.handshake(path{from, to.host})
	for {
		c, wait, err := n.tryDial(from, to, due)
		if err != nil {
			return nil, os.NewSyscallError("connect", err)
		}
		if c != nil {
			return c, nil
		}
		if err := wait.wait(ctx); err != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// handshake returns when the answer to a dial that starts now is due.
func (n *Network) handshake(p path) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Add(n.travelLocked(p) + n.travelLocked(path{p.to, p.from}))
}

func (n *Network) tryDial(from string, to addr, due time.Time) (net.Conn, pause, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[from] = true
	l := n.listeners[to.String()]
	switch {
	case n.down[from]:
		return nil, pause{}, syscall.ENETDOWN
	case n.blockedLocked(path{from, to.host}) || n.blockedLocked(path{to.host, from}):
		return nil, pause{changed: n.changed.wait()}, nil
	case time.Now().Before(due):
		return nil, pause{n.changed.wait(), due}, nil
	case l == nil:
		return nil, pause{}, syscall.ECONNREFUSED
	case len(l.waiting) >= backlog:
		return nil, pause{changed: l.changed.wait()}, nil
	}
	return n.connectLocked(from, l), pause{}, nil
}

func (n *Network) connectLocked(from string, l *listener) *conn {
	local := addr{from, n.nextPortLocked()}
	out, in := &stream{path: path{from, l.addr.host}}, &stream{path: path{l.addr.host, from}}
	near := &conn{n: n, local: local, remote: l.addr, in: in, out: out}
	far := &conn{n: n, local: l.addr, remote: local, in: out, out: in}
	n.conns[near], n.conns[far] = struct{}{}, struct{}{}
	l.waiting = append(l.waiting, far)
	l.changed.raise()
	return near
}

func (n *Network) nextPortLocked() int {
	n.port++
	return n.port
}

func parse(address string) (addr, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return addr{}, err
	}
	port, err := strconv.Atoi(text)
	if err != nil || host == "" {
		return addr{}, fmt.Errorf("address %q: want host:port", address)
	}
	return addr{host, port}, nil
}

func listenError(a addr, errno syscall.Errno) error {
	return &net.OpError{Op: "listen", Net: "tcp", Addr: a, Err: os.NewSyscallError("bind", errno)}
}

package gossip

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

var _ memberlist.NodeAwareTransport = (*AddressTransport)(nil)

// TransportConfig holds what a transport on its own needs. Keys is required.
type TransportConfig struct {
	// Listen is the host:port to serve on; empty: a free port of 127.0.0.1. On an
	// unspecified host, memberlist.Config.AdvertiseAddr must be set.
	Listen string

	// Listener is served instead of Listen, and closed by Shutdown.
	Listener net.Listener

	// Keys are the link keys of the accepted cookies; the first one is used to dial.
	Keys []link.Key

	// TLS wraps all connections in TLS when it is set: the server side takes the
	// certificate from it, the client side the roots.
	TLS *tls.Config

	// Dial opens connections; nil: a net.Dialer with the dial policy of package link.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Log     *slog.Logger          // nil: silent
	Metrics prometheus.Registerer // nil: none
}

// AddressTransport is a complete transport for somebody else's memberlist: one TCP
// listener that carries packets and streams over sealed links. Members are found
// by the host:port that memberlist advertises, their names do not matter; the
// node identity behind an address is found out by meeting it. What the members say
// passes unread, as the messages, labels and compression are the caller's. What runs
// a muster node is Gossip, which trusts identities only and reads everything first.
type AddressTransport struct {
	*Transport
	link     *link.Link
	listener net.Listener
	server   *http.Server
	scheme   string
	endpoint atomic.Value // string: the URL in our HELLOs
	book     *book

	stop  context.CancelFunc
	tasks sync.WaitGroup // grows only while book is open
}

// ListenTransport starts a transport with a node identity made on the spot. It serves
// until Shutdown, which memberlist calls.
func ListenTransport(cfg TransportConfig) (*AddressTransport, error) {
	if len(cfg.Keys) == 0 {
		return nil, muster.Errorf(muster.CodeCookieMissing, "a transport needs a link key")
	}
	listener, err := cfg.listen()
	if err != nil {
		return nil, err
	}
	t := &AddressTransport{listener: listener, scheme: "http", book: newBook()}
	if cfg.TLS != nil {
		t.scheme = "https"
	}
	t.endpoint.Store("")
	if host, _, _ := net.SplitHostPort(listener.Addr().String()); !net.ParseIP(host).IsUnspecified() {
		t.endpoint.Store(t.scheme + "://" + listener.Addr().String())
	}
	inbox, self := NewInbox(), newSelf()
	inbox.foreign = true
	if t.link, err = link.New(t.linkConfig(cfg, self, inbox)); err != nil {
		_ = listener.Close() // the first error says more
		return nil, fmt.Errorf("listen for gossip: %w", err)
	}
	t.Transport = NewTransport(self.ID, t.link, inbox)
	t.serve(cfg.TLS)
	return t, nil
}

func (c TransportConfig) listen() (net.Listener, error) {
	if c.Listener != nil {
		return c.Listener, nil
	}
	address := c.Listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for gossip: %w", err)
	}
	return listener, nil
}

func newSelf() link.Self {
	pub, key, _ := ed25519.GenerateKey(nil) // never fails with this source
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	id := muster.NodeIDOf(pub)
	return link.Self{
		ID: id, Key: key, Name: "node-" + id.Short(),
		Boot: muster.Boot{Counter: 1, Random: binary.LittleEndian.Uint64(random[:])},
	}
}

func (t *AddressTransport) linkConfig(cfg TransportConfig, self link.Self, inbox *Inbox) link.Config {
	host, _, _ := net.SplitHostPort(t.listener.Addr().String())
	return link.Config{
		Self: self, Keys: func() []link.Key { return cfg.Keys }, Receiver: inbox, OnUp: t.met,
		Facts: func() link.Facts { return link.Facts{Endpoint: t.Endpoint(), Role: muster.RoleVoter} },
		Dial:  cfg.Dial, TLS: cfg.TLS, Loopback: net.ParseIP(host).IsLoopback(), AnyTarget: true,
		Log: cfg.Log, Metrics: cfg.Metrics,
	}
}

func (t *AddressTransport) serve(secure *tls.Config) {
	mux := http.NewServeMux()
	mux.Handle(link.Path, t.link)
	t.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	listener := t.listener
	if secure != nil {
		secure = secure.Clone()
		secure.NextProtos = []string{"http/1.1"} // HTTP/2 cannot be upgraded
		listener = tls.NewListener(listener, secure)
	}
	ctx, stop := context.WithCancel(context.Background()) // until Shutdown
	t.stop = stop
	t.tasks.Go(func() { _ = t.link.Run(ctx) })          // fails only when called twice
	t.tasks.Go(func() { _ = t.server.Serve(listener) }) // ends with the listener
}

// Endpoint returns the URL under which others reach this transport.
func (t *AddressTransport) Endpoint() string { return t.endpoint.Load().(string) }

// Join returns an address for memberlist.Join that stands for an endpoint URL, where
// the member has a DNS name or sits behind a proxy with a path.
func (t *AddressTransport) Join(endpoint string) string {
	made := addressOf(muster.NodeID("join|" + endpoint)).String()
	t.book.enter(made, endpoint)
	return made
}

// FinalAdvertiseAddr returns the configured address, or the listener's.
func (t *AddressTransport) FinalAdvertiseAddr(host string, port int) (net.IP, int, error) {
	if host == "" {
		var number string
		host, number, _ = net.SplitHostPort(t.listener.Addr().String())
		port, _ = strconv.Atoi(number)
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() {
		return nil, 0, fmt.Errorf("advertise %q: want an IP address that others can reach", host)
	}
	if four := ip.To4(); four != nil {
		ip = four
	}
	t.endpoint.Store(t.scheme + "://" + net.JoinHostPort(ip.String(), strconv.Itoa(port)))
	return ip, port, nil
}

// WriteToAddress queues a packet. It never blocks and never dials. Packets to an
// address that was never met wait for a meeting.
func (t *AddressTransport) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	id, err := t.route(to.Addr, b)
	if id == "" {
		return time.Now(), err
	}
	at, err := t.Transport.WriteToAddress(b, memberlist.Address{Name: string(id)})
	if muster.CodeOf(err) == muster.CodeWrongTarget {
		t.book.forget(to.Addr, id) // somebody else answers there now
	}
	return at, err
}

// WriteTo queues a packet.
func (t *AddressTransport) WriteTo(b []byte, address string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: address})
}

// DialAddressTimeout opens a stream to the member at an address.
func (t *AddressTransport) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	start := time.Now()
	id := t.book.id(to.Addr)
	if id != "" {
		conn, err := t.Transport.DialAddressTimeout(memberlist.Address{Name: string(id)}, timeout)
		if muster.CodeOf(err) != muster.CodeWrongTarget {
			return conn, err
		}
		t.book.forget(to.Addr, id)
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	id, err := t.meet(ctx, to.Addr)
	if err != nil {
		return nil, err
	}
	return t.Transport.DialAddressTimeout(memberlist.Address{Name: string(id)}, timeout-time.Since(start))
}

// DialTimeout opens a stream to the member at an address.
func (t *AddressTransport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

// Shutdown closes the listener and all links and returns when everything has ended.
func (t *AddressTransport) Shutdown() error {
	t.book.close()
	_ = t.Transport.Shutdown() // never fails
	t.stop()
	err := t.server.Close()
	t.tasks.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the listener: %w", err)
	}
	return nil
}

// route returns who lives at an address. If that is not known yet the packet waits
// for a meeting, which begins now if it has not begun.
func (t *AddressTransport) route(address string, packet []byte) (muster.NodeID, error) {
	id, begin, err := t.book.route(address, packet)
	if begin {
		t.meetLater(address)
	}
	return id, err
}

func (t *AddressTransport) meetLater(address string) {
	t.book.ifOpen(func() {
		t.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(t.ctx, meetLimit)
			defer cancel()
			id, err := t.find(ctx, address)
			for _, packet := range t.book.settle(address, err) {
				_ = t.link.Send(id, packet) // memberlist was told long ago that it is on its way
			}
		})
	})
}

// find returns who lives at an address. Of two members that look for each other at
// the same time, as all do while a cluster starts, the one at the higher address
// waits for the other one's call: one link does for both.
func (t *AddressTransport) find(ctx context.Context, address string) (muster.NodeID, error) {
	if t.Endpoint() > t.scheme+"://"+address {
		if id := t.book.await(ctx, address, callWait); id != "" {
			return id, nil
		}
	}
	return t.meet(ctx, address)
}

// meet opens a link to an address and finds out who answers there.
func (t *AddressTransport) meet(ctx context.Context, address string) (muster.NodeID, error) {
	endpoint := t.book.endpoint(address)
	if endpoint == "" {
		endpoint = t.scheme + "://" + address
	}
	hello, err := t.link.Open(ctx, endpoint)
	if err != nil {
		return "", fmt.Errorf("meet the member at %s: %w", address, err)
	}
	t.book.met(address, hello.ID)
	if hello.Endpoint == "" {
		t.link.Learn(hello.ID, endpoint)
	}
	return hello.ID, nil
}

// met learns from every link that comes up, in either direction.
func (t *AddressTransport) met(hello link.Hello) {
	t.book.met(addressOf(hello.ID).String(), hello.ID) // what Packet.From says
	if u, err := url.Parse(hello.Endpoint); err == nil && u.Host != "" {
		t.book.met(u.Host, hello.ID)
		t.link.Learn(hello.ID, hello.Endpoint)
	}
}

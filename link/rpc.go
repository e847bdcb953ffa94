package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// Bounds of rpc.
const (
	maxRPCHeader = 16 << 10
	maxRPCBody   = 16 << 20
	maxRPCConns  = 32 // open connections to one peer
	rpcIdle      = 90 * time.Second
)

// peerKey is the context key of the calling peer.
type peerKey struct{}

// PeerFrom returns who is calling, inside the handler of an rpc. It is known from
// the connection, never from a header.
func PeerFrom(ctx context.Context) (Hello, bool) {
	h, ok := ctx.Value(peerKey{}).(Hello)
	return h, ok
}

// rpcServer serves HTTP/1.1 on incoming rpc links. It is also the net.Listener that
// the http.Server accepts them from.
type rpcServer struct {
	l     *Link
	srv   *http.Server
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newRPCServer(l *Link) *rpcServer {
	r := &rpcServer{l: l, conns: make(chan net.Conn), done: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	r.srv = &http.Server{
		Handler:           http.HandlerFunc(r.guard),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * rpcIdle,
		MaxHeaderBytes:    maxRPCHeader,
		ConnContext:       connContext,
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	return r
}

func (r *rpcServer) run() {
	if err := r.srv.Serve(r); err != nil && !errors.Is(err, http.ErrServerClosed) {
		r.l.log.Error("rpc server ended", "error", err)
	}
}

func (r *rpcServer) close() {
	r.once.Do(func() { close(r.done) })
	_ = r.srv.Close() // closes the connections; there is no listener that could fail
}

// deliver gives an established link to the server.
func (r *rpcServer) deliver(c *conn) {
	select {
	case r.conns <- newStream(c):
	case <-r.done:
		c.closeWith(errShutdown)
	}
}

// Accept implements net.Listener.
func (r *rpcServer) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (r *rpcServer) Close() error { return nil }

// Addr implements net.Listener.
func (r *rpcServer) Addr() net.Addr { return &net.UnixAddr{Name: "rpc", Net: "link"} }

// connContext makes the requests on a link know their peer and end with the link.
func connContext(ctx context.Context, nc net.Conn) context.Context {
	s, ok := nc.(*stream)
	if !ok {
		return ctx
	}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, peerKey{}, s.hello))
	context.AfterFunc(s.ctx, cancel)
	return ctx
}

// guard refuses what plain calls between nodes never need, above all what makes two
// HTTP parsers disagree about where a message ends.
func (r *rpcServer) guard(w http.ResponseWriter, req *http.Request) {
	if !r.l.enter() {
		clearText(w, http.StatusServiceUnavailable, muster.Errorf(muster.CodeDraining, "%s is shutting down", r.l.cfg.Self.Name))
		return
	}
	defer r.l.tasks.Done()
	if why := forbidden(req); why != "" {
		clearText(w, http.StatusBadRequest, muster.Errorf(muster.CodeBadRequest, "rpc: %s", why))
		return
	}
	req.Body = http.MaxBytesReader(w, req.Body, maxRPCBody)
	r.l.cfg.RPC.ServeHTTP(w, req)
}

func forbidden(req *http.Request) string {
	switch {
	case req.Method == http.MethodConnect:
		return "CONNECT is not allowed"
	case len(req.Header.Values("Upgrade")) > 0:
		return "Upgrade is not allowed"
	case len(req.TransferEncoding) > 0: // also together with Content-Length
		return "Transfer-Encoding is not allowed: send Content-Length"
	case len(req.Trailer) > 0 || req.Header.Get("Trailer") != "":
		return "trailers are not allowed"
	case req.ProtoMajor != 1 || req.ProtoMinor != 1:
		return "want HTTP/1.1"
	}
	return ""
}

// pooledTransport carries requests to one peer over pooled rpc links.
type pooledTransport struct {
	*http.Transport
	kid  string
	born time.Time
}

func newPooledTransport(kid string, dial func(context.Context) (net.Conn, error)) *pooledTransport {
	return &pooledTransport{kid: kid, born: time.Now(), Transport: &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression:     true,
		MaxConnsPerHost:        maxRPCConns,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        rpcIdle,
		MaxResponseHeaderBytes: maxRPCHeader,
	}}
}

// roundTrip sends a request whatever host its URL names.
func (t *pooledTransport) roundTrip(req *http.Request) (*http.Response, error) {
	r, u := *req, *req.URL
	u.Scheme, u.Host = "http", "peer"
	r.URL, r.Host = &u, ""
	return t.RoundTrip(&r)
}

// tripper is the http.RoundTripper to one node.
type tripper struct {
	l  *Link
	id muster.NodeID
}

// Transport returns the way to send rpc requests to a node whose route is known. The
// host of a request's URL is ignored. Connections are opened when needed, pooled,
// and renewed after 12 hours. A request body needs a known length.
func (l *Link) Transport(to muster.NodeID) http.RoundTripper { return tripper{l, to} }

// RoundTrip sends one request.
func (t tripper) RoundTrip(req *http.Request) (*http.Response, error) {
	p := t.l.peer(t.id)
	if p == nil {
		closeBody(req)
		return nil, muster.Errorf(muster.CodePeerUnreachable, "node %s: %w", t.id, errNoRoute)
	}
	resp, err := p.transport().roundTrip(req)
	if err != nil && req.Context().Err() == nil {
		return nil, unreachable("node "+string(t.id), err)
	}
	return resp, err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // a RoundTripper must, also on errors
	}
}

// transport returns the current pool. A new one begins when the pool is too old or
// our key has changed.
func (p *peer) transport() *pooledTransport {
	kid := ""
	if keys := p.l.cfg.Keys(); len(keys) > 0 {
		kid = keys[0].ID
	}
	p.mu.Lock()
	old := p.tripper
	if old == nil || old.kid != kid || time.Since(old.born) > rpcMaxAge {
		p.tripper = newPooledTransport(kid, func(ctx context.Context) (net.Conn, error) {
			s, err := p.l.openStream(ctx, p.id, ChannelRPC)
			if err != nil {
				return nil, err // not a nil *stream in an interface
			}
			return s, nil
		})
	}
	current := p.tripper
	p.mu.Unlock()
	if old != nil && old != current {
		old.CloseIdleConnections()
	}
	return current
}

// Meeting is an rpc link to whoever answered at an endpoint.
type Meeting struct {
	Hello Hello

	stream    *stream
	transport *pooledTransport
}

// Meet dials an endpoint URL. With an empty target anyone who holds the cookie may
// answer; otherwise it must be that node.
func (l *Link) Meet(ctx context.Context, endpoint string, target muster.NodeID) (*Meeting, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	c, err := l.dial(ctx, destination{endpoint: endpoint, target: target, channel: ChannelRPC})
	if err != nil {
		return nil, err
	}
	m := &Meeting{Hello: c.hello, stream: newStream(c)}
	first := make(chan net.Conn, 1) // holds the one connection until it is used
	first <- m.stream
	m.transport = newPooledTransport(c.kid, func(context.Context) (net.Conn, error) {
		select {
		case nc := <-first:
			return nc, nil
		default:
			return nil, muster.Errorf(muster.CodePeerUnreachable, "%s: the connection has ended", muster.Printable(endpoint))
		}
	})
	m.transport.MaxConnsPerHost = 1
	return m, nil
}

// RoundTrip sends a request over the meeting's one connection, one at a time.
func (m *Meeting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.transport.roundTrip(req)
	if err != nil && req.Context().Err() == nil {
		return nil, unreachable(m.Hello.Name, err)
	}
	return resp, err
}

// Close ends the meeting and the requests on it.
func (m *Meeting) Close() {
	_ = m.stream.Close() // never fails
	m.transport.CloseIdleConnections()
}

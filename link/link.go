package link

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/prometheus/client_golang/prometheus"
)

// Path is where the links of a node are served, below its path prefix.
const Path = "/cluster/v1/gossip"

// Channel says what a link is used for.
type Channel string

// The channels.
const (
	ChannelPacket Channel = "packet" // datagrams in both directions
	ChannelStream Channel = "stream" // a byte stream
	ChannelRPC    Channel = "rpc"    // HTTP/1.1
)

func (c Channel) protocol() string { return "muster." + string(c) + ".v1" }

// channelOf returns the channel of a WebSocket sub-protocol.
func channelOf(protocol string) (Channel, bool) {
	for _, c := range []Channel{ChannelPacket, ChannelStream, ChannelRPC} {
		if protocol == c.protocol() {
			return c, true
		}
	}
	return "", false
}

// Key is a link key derived from a cluster cookie. ID is public and names it.
type Key struct {
	ID  string   // 8 hexadecimal digits
	PSK [32]byte // secret
}

// String returns the public id only.
func (k Key) String() string { return k.ID }

// GoString returns the public id only.
func (k Key) GoString() string { return "link.Key{" + k.ID + "}" }

// LogValue returns the public id only.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.ID) }

// Self is the identity of the node that owns the link.
type Self struct {
	ID   muster.NodeID
	Key  ed25519.PrivateKey `json:"-"`
	Boot muster.Boot
	Name string
}

// String returns name and id: the private key stays out of logs.
func (s Self) String() string { return s.Name + " (" + string(s.ID) + ")" }

// GoString returns name and id.
func (s Self) GoString() string { return "link.Self{" + s.String() + "}" }

// LogValue returns name and id.
func (s Self) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Facts is what a node says about itself in its HELLO and what may change while it runs.
type Facts struct {
	Endpoint  string           // URL under which others reach it; empty = outbound only
	Cluster   muster.ClusterID // empty = not formed
	Formation string           // source of the cluster identity
	Expect    int              // --bootstrap-expect, 0 = unset
	Role      muster.Role
}

// Receiver takes what arrives on packet and stream channels. Its methods must not
// block. Packet owns data; Stream owns conn and closes it.
type Receiver interface {
	Packet(from muster.NodeID, data []byte)
	Stream(from muster.NodeID, conn net.Conn)
}

// Gate decides whether to talk to a node whose HELLO has verified. It is asked on
// both sides of every connection. nil means yes.
type Gate interface {
	Admit(hello Hello, channel Channel) *muster.Error
}

// Config holds what a Link needs. Self and Keys are required.
type Config struct {
	Self Self

	// Keys returns the accepted keys. The first one is used to dial.
	Keys func() []Key

	// Retired says since when a key that is not accepted any more is not. nil: it is
	// not known of any.
	Retired func(kid string) (since time.Time, known bool)

	// Facts returns what the next HELLO says. nil: an empty voter.
	Facts func() Facts

	// Gate is asked about every peer. nil: everyone with the cookie is welcome.
	Gate Gate

	// Receiver takes packets and streams. nil: they are dropped.
	Receiver Receiver

	// RPC serves the requests of peers. nil: 404.
	RPC http.Handler

	// OnUp is told of every link that came up, before anything arrives from it.
	// It must not block.
	OnUp func(Hello)

	// OnRefused is told what a peer that we dialled, and that Gate accepts, has against
	// us. It must not block.
	OnRefused func(by Hello, why *muster.Error)

	// OnAlarm is told when another process with our identity was met. It must not block.
	OnAlarm func(code muster.Code, text string)

	// Dial opens connections instead of a net.Dialer with the dial policy. It is
	// meant for in-memory networks: the policy is not enforced.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// TLS is the client side of https endpoints. nil: the system's roots, TLS 1.2 or newer.
	TLS *tls.Config

	// Roots returns the authorities to trust now, where they may change while the
	// node runs. nil: those of TLS.
	Roots func() *x509.CertPool

	// BindNames refuses peers whose TLS certificate does not carry their node name,
	// as a DNS name or common name, and peers without one. It holds on both sides.
	BindNames bool

	// AnyTarget accepts packet links that name no node: for transports whose members
	// know one another by address. See Open.
	AnyTarget bool

	// Loopback says that this node listens on loopback, so that it may dial loopback.
	Loopback bool

	// AllowedSpace narrows the addresses that may be dialled. Empty: all but the
	// ones that are never dialled.
	AllowedSpace []netip.Prefix

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

func (c Config) validate() error {
	var errs []error
	if len(c.Self.Key) != ed25519.PrivateKeySize {
		errs = append(errs, errors.New("link: Self.Key is missing"))
	} else if muster.NodeIDOf(c.Self.Key.Public().(ed25519.PublicKey)) != c.Self.ID {
		errs = append(errs, errors.New("link: Self.ID does not belong to Self.Key"))
	}
	if c.Keys == nil {
		errs = append(errs, errors.New("link: Keys is missing"))
	}
	if err := muster.CheckName(c.Self.Name); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Link holds all sealed connections of one node.
type Link struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	reg     *registry
	fresh   *unconfirmed
	fails   *failures
	seen    *seen
	back    *dialBacks
	slots   chan struct{} // one element per outgoing handshake under way
	bufs    sync.Pool
	rpc     *rpcServer

	started chan struct{} // closed by Run

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before, ended after
	peers map[muster.NodeID]*peer

	tasks sync.WaitGroup // Add only with mu held and ctx alive
}

// Limits of the link.
const (
	maxHandshakes   = 8 // outgoing handshakes under way
	slotLimit       = 500 * time.Millisecond
	maxUnconfirmed  = 64              // incoming connections without a verified HELLO
	maxPerPeer      = 64              // incoming stream or rpc connections of one peer
	helloLimit      = 2 * time.Second // from the request to the client's verified HELLO
	packetDialLimit = 2 * time.Second
	dialLimit       = 5 * time.Second // streams, rpc
	writeLimit      = 2 * time.Second
	pingAfter       = 20 * time.Second
	lostAfter       = 3 * time.Second  // unacknowledged bytes, packet links
	stuckAfter      = 15 * time.Second // same, other links: a reader may pause
	deadAfter       = 45 * time.Second
	maxIdleLinks    = 128             // packet links that may stay open unused
	reapAfter       = 2 * time.Minute // unused, while there are more than that
	farewellLimit   = 500 * time.Millisecond
	rpcMaxAge       = 12 * time.Hour
)

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Link, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Facts == nil {
		cfg.Facts = func() Facts { return Facts{Role: muster.RoleVoter} }
	}
	if cfg.RPC == nil {
		cfg.RPC = http.NotFoundHandler()
	}
	l := &Link{
		cfg: cfg, log: cfg.Log.With("component", "link"), metrics: newMetrics(),
		reg: newRegistry(), fresh: &unconfirmed{}, fails: &failures{}, seen: &seen{}, back: &dialBacks{},
		slots:   make(chan struct{}, maxHandshakes),
		started: make(chan struct{}),
		peers:   make(map[muster.NodeID]*peer),
	}
	l.rpc = newRPCServer(l)
	return l, l.metrics.register(cfg.Metrics, l)
}

// Run keeps the links until ctx ends, then closes all of them and returns when
// everything it started has ended. It may be called once.
func (l *Link) Run(ctx context.Context) error {
	l.mu.Lock()
	if l.ctx != nil {
		l.mu.Unlock()
		return errors.New("link: Run called twice")
	}
	l.ctx = ctx
	early := slices.Collect(maps.Values(l.peers))
	l.mu.Unlock()
	l.spawn(l.rpc.run)
	l.spawn(l.keepAlive)
	close(l.started)
	for _, p := range early {
		p.wake()
	}

	<-ctx.Done()
	l.mu.Lock() // from here on spawn and enter refuse
	peers := l.peers
	l.peers = make(map[muster.NodeID]*peer)
	l.mu.Unlock()
	l.fresh.closeAll()
	l.reg.closeAll(closeGoingAway)
	l.rpc.close()
	for _, p := range peers {
		p.stop()
	}
	l.tasks.Wait()
	l.reg.closeAll(closeGoingAway) // what registered during the first call
	return nil
}

// enter counts the calling goroutine as one that Run waits for, or reports that
// Run is not under way. A true result needs a call of l.tasks.Done.
func (l *Link) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil || l.ctx.Err() != nil {
		return false
	}
	l.tasks.Add(1)
	return true
}

// ended reports whether Run is over.
func (l *Link) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx != nil && l.ctx.Err() != nil
}

// spawn runs f in a goroutine that Run waits for, or reports that Run is not under way.
func (l *Link) spawn(f func()) bool {
	if !l.enter() {
		return false
	}
	go func() {
		defer l.tasks.Done()
		f()
	}()
	return true
}

// awaitRun waits until Run has been called.
func (l *Link) awaitRun(ctx context.Context) error {
	select {
	case <-l.started:
		return nil
	case <-ctx.Done():
		return muster.Errorf(muster.CodePeerUnreachable, "the link is not running: %w", ctx.Err())
	}
}

// alarm reports another process with our identity.
func (l *Link) alarm(err *muster.Error) {
	l.log.Debug("two processes have one identity", "code", err.Code, "text", err.Text)
	if l.cfg.OnAlarm != nil {
		l.cfg.OnAlarm(err.Code, err.Text)
	}
}

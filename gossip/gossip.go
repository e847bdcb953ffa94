package gossip

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
)

// leaveLimit bounds how long a good-bye may take to go out.
const leaveLimit = 2 * time.Second

var (
	errStopped = errors.New("gossip has ended")
	errRunning = errors.New("gossip was started before")
	errSelf    = errors.New("a node needs no exchange of state with itself")
	errNobody  = errors.New("no other member was named")
)

// Self is this run of this node.
type Self struct {
	ID   muster.NodeID
	Key  ed25519.PrivateKey `json:"-"`
	Boot muster.Boot
	Name string
}

// Link carries packets and streams to other members; *link.Link is one. Send and
// Learn return at once. Send returns nil for what was queued or dropped, and a
// bare *net.OpError while it knows the member to be out of reach.
type Link interface {
	Send(to muster.NodeID, packet []byte) error
	Stream(ctx context.Context, to muster.NodeID) (net.Conn, error)
	Learn(id muster.NodeID, endpoint string)
}

// Config holds what a Gossip needs. Self, Inbox, Link and Meta are required.
type Config struct {
	Self  Self
	Inbox *Inbox
	Link  Link

	// Meta returns what the node tells about itself now: endpoint, zone, version,
	// role, draining. The rest is filled in from Self.
	Meta func() Meta

	// Profile chooses the timing; empty: lan.
	Profile Profile

	// Digest returns a few bytes that travel with every exchange of state and, up to
	// 512 of them, with every answer to a probe, at
	// most 64 KiB; Observe receives those of others. Both may be nil, are called
	// by several goroutines, and must return at once.
	Digest  func() []byte
	Observe func([]byte)

	// OnEvent is told of every change of a member, in order, by one goroutine.
	// It must return at once. nil: nobody is told.
	OnEvent func(Event)

	// Expelled says why a node may not be a member, and false if it may. What others
	// tell of such a node is ignored, and it is shown as expelled. It must return at
	// once: memberlist asks under its lock. Call Reconsider when an answer changes.
	// nil: nobody is.
	Expelled func(muster.NodeID) (why string, expelled bool)

	Log     *slog.Logger          // nil: silent
	Metrics prometheus.Registerer // nil: none
}

// Gossip is this node's part in the membership protocol.
type Gossip struct {
	cfg      Config
	tuning   tuning
	log      *slog.Logger
	metrics  *metrics
	gate     *gate
	table    *table
	contacts *contacts
	hearing  *hearing
	meta     atomic.Pointer[[]byte] // what memberlist tells others about this node

	changed chan struct{}      // capacity 1: memberlist may have changed its mind
	refresh chan struct{}      // capacity 1: Meta may have changed
	settle  chan struct{}      // capacity 1: a Join has succeeded
	looks   chan chan struct{} // asks for a fresh view; the inner one is closed when it is there
	missed  chan muster.NodeID // probes without an answer; dropped when full, they are only hints
	heals   chan muster.NodeID // members to heal at once; dropped when full, the round comes anyway

	ended chan struct{} // closed when the loops have ended
	ready chan struct{} // closed when list is set
	list  *memberlist.Memberlist

	mu      sync.Mutex
	started bool
	closing bool
	calls   sync.WaitGroup // Join and Leave under way; grows only while closing is false
}

// New returns a Gossip that waits for Run.
func New(cfg Config) (*Gossip, error) {
	tuning, err := cfg.Profile.tuning()
	if err := errors.Join(err, cfg.check()); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Gossip{
		cfg:      cfg,
		tuning:   tuning,
		log:      log.With("component", "gossip"),
		changed:  make(chan struct{}, 1),
		refresh:  make(chan struct{}, 1),
		settle:   make(chan struct{}, 1),
		looks:    make(chan chan struct{}),
		missed:   make(chan muster.NodeID, 64),
		heals:    make(chan muster.NodeID, 64),
		ended:    make(chan struct{}),
		ready:    make(chan struct{}),
		contacts: newContacts(),
	}
	g.hearing = newHearing(tuning.probe)
	cfg.Inbox.hearing = g.hearing
	g.table = newTable(cfg.Self.ID, g.contacts)
	g.table.expelled = g.expelled
	g.metrics = newMetrics(g)
	g.gate = newGate(g.metrics)
	g.gate.expelled = g.expelled
	return g, g.metrics.register(cfg.Metrics)
}

func (c Config) check() error {
	var errs []error
	if len(c.Self.Key) != ed25519.PrivateKeySize || c.Self.ID != muster.NodeIDOf(publicKey(c.Self.Key)) {
		errs = append(errs, errors.New("the node id does not belong to the node key"))
	}
	if c.Inbox == nil || c.Link == nil || c.Meta == nil {
		errs = append(errs, errors.New("inbox, link and meta are required"))
	}
	return errors.Join(errs...)
}

// Run takes part in the cluster until ctx ends. Without a Leave before, the
// others will find this node dead. It can run once.
func (g *Gossip) Run(ctx context.Context) error {
	if err := g.begin(); err != nil {
		return err
	}
	transport := NewTransport(g.cfg.Self.ID, g.cfg.Link, g.cfg.Inbox)
	transport.contacts, transport.sentNews, transport.hearing = g.contacts, g.hint, g.hearing
	g.hearing.begin(time.Now())
	list, err := memberlist.Create(g.config(transport))
	if err != nil {
		_ = transport.Shutdown() // never fails
		return fmt.Errorf("start memberlist: %w", err)
	}
	g.list = list
	close(g.ready)
	return g.work(ctx, transport)
}

func (g *Gossip) begin() error {
	raw, err := g.encodeMeta()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.started {
		return errRunning
	}
	g.started = true
	g.meta.Store(&raw)
	return nil
}

// work runs the loops until ctx ends, and then ends memberlist. The transport
// goes first, so that nobody is left waiting for a peer.
func (g *Gossip) work(ctx context.Context, transport *Transport) error {
	var loops sync.WaitGroup
	loops.Go(func() { g.watch(ctx) })
	loops.Go(func() { g.heal(ctx) })
	loops.Go(func() { g.advertise(ctx) })
	<-ctx.Done()
	_ = transport.Shutdown() // never fails
	loops.Wait()
	close(g.ended)
	g.mu.Lock()
	g.closing = true
	g.mu.Unlock()
	g.calls.Wait()
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("stop memberlist: %w", err)
	}
	return nil
}

// enter registers a call that uses memberlist, once it runs. The call must end
// with g.calls.Done.
func (g *Gossip) enter(ctx context.Context) error {
	select {
	case <-g.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return errStopped
	}
	g.calls.Add(1)
	return nil
}

// Join exchanges the whole state with members whose endpoints the link knows, all
// at once, and returns nil as soon as one exchange has succeeded and Members
// shows the result. The others go on.
func (g *Gossip) Join(ctx context.Context, ids ...muster.NodeID) error {
	if err := g.enter(ctx); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	defer g.calls.Done()
	answers := make(chan error, len(ids))
	for _, id := range ids {
		g.calls.Go(func() { answers <- g.exchange(id) })
	}
	if err := firstSuccess(ctx, answers, len(ids)); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	raise(g.settle)
	g.look(ctx)
	return nil
}

func firstSuccess(ctx context.Context, answers <-chan error, n int) error {
	errs := []error{}
	for range n {
		select {
		case err := <-answers:
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return errors.Join(append(errs, ctx.Err())...)
		}
	}
	if len(errs) == 0 {
		return errNobody
	}
	return errors.Join(errs...)
}

// exchange does one push/pull with a member.
func (g *Gossip) exchange(id muster.NodeID) error {
	if id == g.cfg.Self.ID {
		return errSelf
	}
	// The form name/address keeps memberlist from resolving anything.
	_, err := g.list.Join([]string{string(id) + "/" + addressOf(id).String()})
	if err == nil {
		return nil
	}
	// memberlist flattens what the link said; the transport kept it.
	if cause := g.contacts.failure(id).err; cause != nil {
		err = cause
	}
	return fmt.Errorf("exchange state with node %s: %w", id.Short(), err)
}

// Leave says good-bye: the others list this node as left, not as dead. It returns
// when enough of them were told, after two seconds, or when ctx ends. Run goes on
// until its own context ends.
func (g *Gossip) Leave(ctx context.Context) error {
	if !g.running() {
		return nil
	}
	if err := g.enter(ctx); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	defer g.calls.Done()
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	answer := make(chan error, 1)
	g.calls.Go(func() { answer <- g.list.Leave(leaveLimit) })
	select {
	case err := <-answer:
		g.look(ctx)
		if err != nil {
			return fmt.Errorf("leave: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave: %w", ctx.Err())
	}
}

func (g *Gossip) running() bool {
	select {
	case <-g.ready:
		return true
	default:
		return false
	}
}

// Refresh tells the others what Meta returns now.
func (g *Gossip) Refresh() { raise(g.refresh) }

// Reconsider makes the list show now what Expelled answers, and asks members about
// whom else they know: what they told of a node while it was expelled was ignored.
func (g *Gossip) Reconsider() {
	g.hint()
	raise(g.settle)
}

// expelled asks the configuration; a node does not judge itself.
func (g *Gossip) expelled(id muster.NodeID) (string, bool) {
	if g.cfg.Expelled == nil || id == g.cfg.Self.ID {
		return "", false
	}
	return g.cfg.Expelled(id)
}

// Heal asks for an exchange of state with a member that is held dead, now rather
// than in its turn. It does nothing for others.
func (g *Gossip) Heal(id muster.NodeID) {
	select {
	case g.heals <- id:
	default:
	}
}

// Forget drops a dead or left member from the list. It comes back if it joins
// again.
func (g *Gossip) Forget(id muster.NodeID) {
	if g.table.forget(id) {
		g.contacts.note(id, nil)
		g.hearing.forget(id)
	}
}

// Members returns every member, this node and the dead and left ones too, sorted
// by name. Before Run it is empty.
func (g *Gossip) Members() []View { return g.table.list() }

// advertise tells the others when Meta changes.
func (g *Gossip) advertise(ctx context.Context) {
	for {
		select {
		case <-g.refresh:
			g.renewMeta(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gossip) renewMeta(ctx context.Context) {
	raw, err := g.encodeMeta()
	if err != nil {
		g.log.Error("node facts not advertised", "error", err)
		return
	}
	if string(raw) == string(*g.meta.Load()) {
		return
	}
	g.meta.Store(&raw)
	// The wait for the broadcast is of no use here, and its time-out no fault.
	_ = g.list.UpdateNode(time.Millisecond)
	g.announce(ctx)
}

func (g *Gossip) encodeMeta() ([]byte, error) {
	m := g.cfg.Meta()
	m.Boot, m.Name = g.cfg.Self.Boot, g.cfg.Self.Name
	return m.encode(g.cfg.Self.Key)
}

// random returns a source of its own for this run of this node.
func (g *Gossip) random() *rand.Rand {
	return rand.New(rand.NewPCG(g.cfg.Self.Boot.Random, g.cfg.Self.Boot.Counter))
}

// hint says that memberlist's view may have changed. It never blocks: memberlist
// calls it under its own locks.
func (g *Gossip) hint() { raise(g.changed) }

// raise sets a flag that a loop waits for.
func raise(flag chan<- struct{}) {
	select {
	case flag <- struct{}{}:
	default:
	}
}

func publicKey(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(key[ed25519.SeedSize:])
}

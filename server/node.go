package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/internal/certs"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/journal"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/store"
)

// Deadlines of the end of a node.
const (
	leaveTimeout    = 3 * time.Second
	shutdownTimeout = 2 * time.Second
)

// node is a running Server: the parts and what they need of each other.
type node struct {
	server   *Server
	cfg      Config
	log      *slog.Logger
	begun    time.Time
	lock     io.Closer
	listener net.Listener
	certs    *certs.Keeper
	bound    netip.AddrPort
	endpoint string

	state   *join.State
	self    link.Self
	link    *link.Link
	gossip  *gossip.Gossip
	seeker  *join.Seeker
	finder  *discovery.Poller // nil: no discovery
	roster  *roster
	facts   *factbook
	lookout *lookout
	damper  *damper
	keys    *keybook
	cookies *keyring
	graves  *graves
	journal *journal.Journal
	changed *signal
	logins  *auth.Logins
	leader  *leadership
	api     *mgmt.API

	shared  store.Store          // the database that was configured; nil: none
	core    atomic.Pointer[core] // nil until the cluster is known
	group   *group
	leaving atomic.Bool
	forget  atomic.Bool                  // leave for good
	ousted  atomic.Pointer[muster.Error] // why this node must go; nil: it need not
	accused atomic.Bool                  // a member calls it expelled, and that is being weighed
	stop    context.CancelFunc
}

// newNode opens what can be refused (data directory, port), then builds the parts.
func newNode(s *Server) (*node, error) {
	n := &node{
		server: s, cfg: s.cfg, log: s.cfg.Log, begun: time.Now(),
		changed: newSignal(), certs: certs.NewKeeper(s.cfg.TLS.files()),
	}
	n.keys = newKeybook(n.live)
	if err := n.open(); err != nil {
		n.close()
		return nil, err
	}
	if err := n.build(); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// open takes the data directory, the identity in it, and the port.
func (n *node) open() (err error) {
	if err := n.loadCertificates(); err != nil {
		return err
	}
	if n.cfg.OpenState != nil {
		n.state, err = n.cfg.OpenState()
	} else {
		n.state, err = n.openDataDir()
	}
	if err != nil {
		return err
	}
	n.self = n.state.Self()
	if err := n.listen(); err != nil {
		return err
	}
	n.endpoint, err = advertised(n.cfg.Advertise, port{n.bound, n.cfg.PathPrefix, n.cfg.TLS.served()}, n.cfg.JoinEndpoints)
	return errors.Join(err, reachableFrom(n.endpoint, n.cfg.JoinEndpoints))
}

func (n *node) openDataDir() (*join.State, error) {
	lock, err := lockDataDir(n.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	n.lock = lock
	return join.Open(n.cfg.DataDir, n.cfg.NodeName)
}

func (n *node) listen() (err error) {
	n.listener = n.cfg.Listener
	if n.listener == nil {
		n.listener, err = net.Listen("tcp", n.cfg.Bind)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return muster.Errorf(muster.CodeAddressInUse, "listen on %s: another process listens there", n.cfg.Bind)
	case errors.Is(err, os.ErrPermission):
		return muster.Errorf(muster.CodeBadConfig, "listen on %s: %w", n.cfg.Bind, err).WithFix("choose a port above 1023 in --mgmt-bind")
	case err != nil:
		return muster.Errorf(muster.CodeBadConfig, "listen on %s: %w", n.cfg.Bind, err).WithFix("--mgmt-bind wants HOST:PORT of this machine")
	}
	// A listener of the host program's own may have no IP address; then it must say
	// what to advertise.
	n.bound, _ = netip.ParseAddrPort(n.listener.Addr().String())
	return nil
}

func (n *node) close() {
	if n.journal != nil {
		_ = n.journal.Close() // it has said what it could not write
	}
	if n.listener != nil {
		_ = n.listener.Close() // may be closed by its server
	}
	if c := n.core.Load(); c != nil {
		c.close(n.log)
	} else if n.shared != nil {
		_ = n.shared.Close() // nothing was written
	}
	if n.lock != nil {
		_ = n.lock.Close() // releases the lock
	}
}

// build makes the parts, lower floors first. Each gets functions of parts that are
// made later: nothing is called before run.
func (n *node) build() error {
	if err := n.openJournal(); err != nil {
		return err
	}
	cookies, err := newKeyring(n)
	if err != nil {
		return err
	}
	n.cookies, n.logins = cookies, auth.NewLogins(cookies.now)
	n.facts, n.lookout = newFactbook(n), newLookout(n)
	n.damper = newDamper(n)
	n.graves = newGraves(n)
	n.roster = n.newRoster()
	if n.leader, err = newLeadership(n); err != nil {
		return err
	}
	inbox := gossip.NewInbox()
	shared, err := n.openShared()
	n.shared = shared
	return errors.Join(err, n.buildFinder(), n.buildSeeker(), n.buildLink(inbox), n.buildGossip(inbox), n.buildAPI())
}

// run starts the parts and blocks until the node has left.
func (n *node) run(ctx context.Context) error {
	defer n.close()
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	asked, ask := context.WithCancel(ctx)
	defer ask()
	n.stop = ask
	n.group = newGroup(inner)

	n.group.run("events", n.journal.Run)
	n.recordStart()
	n.serveHTTP()
	n.group.run("certificates", n.watchCertificates)
	n.group.run("link", n.link.Run)
	n.group.run("gossip", n.gossip.Run)
	n.group.run("discovery", n.discover)
	n.group.run("join", n.seeker.Run)
	n.group.run("member list", n.roster.run)
	n.group.run("member facts", n.facts.run)
	n.group.run("lookout", n.lookout.run)
	n.group.run("damper", n.damper.run)
	n.group.run("cookies", n.cookies.run)
	n.group.run("tombstones", n.graves.run)
	n.group.run("readiness", n.watchReadiness)
	n.group.run("reaping", n.reap)
	n.group.run("leader", n.leader.run)
	n.server.started.fire()

	select {
	case <-asked.Done():
		n.leave()
	case <-n.group.ctx.Done():
	}
	cause := context.Cause(n.group.ctx)
	stop()
	_ = n.group.wait(inner) // the cause is known
	n.record(slog.LevelInfo, "node stopped", muster.Event{Kind: muster.EventNodeStop, Subject: n.self.Name, Text: n.self.Name + " stopped"}, "node", n.self.Name)
	return cause
}

// recordStart makes the first event of this boot.
func (n *node) recordStart() {
	text := fmt.Sprintf("%s started, boot %d, version %s", n.self.Name, n.self.Boot.Counter, cmp.Or(n.cfg.Version, "unknown"))
	n.record(slog.LevelInfo, "node started", muster.Event{Kind: muster.EventNodeStart, Subject: n.self.Name, Text: text},
		"node", n.self.Name, "node_id", n.self.ID, "address", n.listener.Addr().String(), "endpoint", n.endpoint, "boot", n.self.Boot.Counter)
}

// leave tells everybody before the parts are stopped: not ready first, then the
// drain delay, the durable list, gossip.
func (n *node) leave() {
	n.leaving.Store(true)
	n.changed.fire()
	n.gossip.Refresh()
	n.log.Info("leaving", "drain_delay", n.cfg.DrainDelay)
	if n.cfg.DrainDelay > 0 {
		<-time.After(n.cfg.DrainDelay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := n.leader.keeper.StepDown(ctx, muster.LeaderLease); err != nil {
		n.log.Warn("the lease of the leader was not handed over; it ends by itself", "error", err)
	}
	if err := n.roster.leave(ctx); err != nil {
		n.log.Warn("the member list does not know that this node left", "error", err)
	}
	if err := n.gossip.Leave(ctx); err != nil {
		n.log.Warn("not every member knows that this node left", "error", err)
	}
}

// serveHTTP serves the port. The API ends its streams when it is told to drain.
func (n *node) serveHTTP() {
	var handler http.Handler = n.api
	n.server.handler.Store(&handler)
	srv := mgmt.NewHTTPServer(handler)
	srv.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
	srv.RegisterOnShutdown(n.api.Drain)
	n.group.run("http", func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			shutDown(ctx, srv)
		}()
		err := srv.Serve(n.secured(n.listener))
		stop()
		<-ended // what is being answered is answered before the node has stopped
		if !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}

// shutDown lets the server finish what it is answering once ctx ends.
func shutDown(ctx context.Context, srv *http.Server) {
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if srv.Shutdown(end) != nil {
		_ = srv.Close() // whoever is left has had his time
	}
}

// watchReadiness closes Ready at the first time that every condition holds.
func (n *node) watchReadiness(ctx context.Context) error {
	for {
		changed := n.changed.Changed()
		if ready(n.Conditions()) {
			n.log.InfoContext(ctx, "node ready", "node", n.self.Name)
			n.server.ready.fire()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(time.Second):
		}
	}
}

func ready(conditions []muster.Condition) bool {
	for _, c := range conditions {
		if !c.OK {
			return false
		}
	}
	return true
}

func (n *node) loginCode() string {
	return n.logins.Code(auth.Claims{Subject: "terminal", Role: auth.RoleAdmin}).Reveal()
}

package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// core is the part of a node that exists once its cluster is known.
type core struct {
	store   store.Store
	mirror  replica.Mirror // nil when the store is on this disk
	replica *replica.Replica
	backend http.Handler // this node's store for others
}

func (c *core) close(log *slog.Logger) {
	err := c.store.Close()
	if c.mirror != nil {
		err = errors.Join(err, c.mirror.Close())
	}
	if err != nil {
		log.Warn("store not closed cleanly", "error", err)
	}
}

// joined is called by the seeker whenever it knows the cluster: at start from the
// data directory, after forming, after joining. The first call builds the core.
func (n *node) joined(ctx context.Context, a join.Answer) error {
	n.learn(a.Members)
	if n.core.Load() == nil {
		c, err := n.newCore(ctx, a.Cluster)
		if err != nil {
			return err
		}
		n.core.Store(c)
		n.group.run("replica", c.replica.Run)
		n.log.InfoContext(ctx, "cluster known", "cluster_id", a.Cluster.ID, "store", a.Cluster.Store.Kind)
	}
	if len(n.roster.list()) == 0 {
		if err := n.roster.set(a.Members); err != nil {
			return err
		}
	}
	n.roster.poke()
	n.changed.fire()
	return nil
}

// learn gives the link the ways to members that were named by somebody trusted.
func (n *node) learn(members []store.Member) {
	for _, m := range members {
		if m.ID != n.self.ID && m.Endpoint != "" && !n.graves.has(m.ID) {
			n.link.Learn(m.ID, m.Endpoint)
		}
	}
}

func (n *node) newCore(ctx context.Context, cluster join.Cluster) (*core, error) {
	st, err := n.openStore(ctx, cluster)
	if err != nil {
		return nil, err
	}
	c := &core{store: st}
	if !n.isHome(cluster) {
		if c.mirror, err = n.openMirror(); err != nil {
			return nil, errors.Join(err, st.Close())
		}
	}
	c.replica, err = replica.New(n.replicaConfig(c))
	if err != nil {
		c.close(n.log)
		return nil, err
	}
	c.backend = peer.Handler(c.replica.Backend())
	return c, nil
}

func (n *node) replicaConfig(c *core) replica.Config {
	cfg := replica.Config{
		Self:     replica.Self{ID: n.self.ID, Sign: n.sign},
		Verify:   n.keys.verify,
		Cluster:  func() muster.ClusterID { return n.state.Cluster().ID },
		Store:    c.store,
		Mirror:   c.mirror,
		Peers:    peers{n},
		Caller:   caller,
		OnChange: n.configChanged,
		Clock:    n.journal.Clock().Tick,
		Now:      n.cfg.Now,
		OnState:  n.storeChanged,
		Log:      n.log, Metrics: n.cfg.Metrics,
	}
	if c.store == n.shared {
		cfg.Fallback = n.peerStore(muster.CodeStoreUnavailable, n.peersWithStore)
	}
	return cfg
}

// openStore returns this node's way to the store of its cluster.
func (n *node) openStore(ctx context.Context, c join.Cluster) (store.Store, error) {
	kind := c.Store.Kind
	switch {
	case n.shared != nil:
		if kind != store.KindPostgres {
			return nil, mismatch("the cluster keeps its configuration in %s, this node was given a database", kind)
		}
		return n.shared, nil
	case kind == store.KindPostgres:
		return n.peerStore(muster.CodeStoreUnavailable, n.peersWithStore), nil
	case n.isHome(c):
		return n.openHome(ctx, c.ID)
	case n.cfg.Store == StoreSQLite:
		return nil, mismatch("the cluster's config home is node %s, this node was told to use its own SQLite", c.Store.Home.Short())
	}
	return n.peerStore(muster.CodeConfigHomeDown, func() []peer.Target { return n.target(c.Store.Home) }), nil
}

// isHome reports whether this node's disk is the store of the cluster.
func (n *node) isHome(c join.Cluster) bool {
	return n.shared == nil && c.Store.Kind == store.KindSQLite && c.Store.Home == n.self.ID
}

func mismatch(format string, args ...any) error {
	return muster.Errorf(muster.CodeStoreMismatch, format, args...)
}

// openHome opens the store on this disk and makes sure that it holds the cluster.
func (n *node) openHome(ctx context.Context, id muster.ClusterID) (store.Store, error) {
	st, err := n.ownStore()
	if err != nil {
		return nil, err
	}
	held, err := st.Form(ctx, id)
	if err == nil && held.ID != id {
		err = mismatch("the store on disk belongs to cluster %s, this node to %s", held.ID, id)
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

func (n *node) peerStore(down muster.Code, targets func() []peer.Target) store.Store {
	return peer.New(peer.Config{Targets: targets, Down: down, Home: n.homeName, Log: n.log})
}

// homeName names the config home for people.
func (n *node) homeName() string {
	home := n.state.Cluster().Store.Home
	if home == n.self.ID {
		return n.self.Name
	}
	for _, m := range n.roster.list() {
		if m.ID == home {
			return m.Name
		}
	}
	return home.Short()
}

func (n *node) target(id muster.NodeID) []peer.Target {
	return []peer.Target{{ID: id, Transport: n.transport(id)}}
}

// peersWithStore returns the live members, any of which may reach the database.
func (n *node) peersWithStore() (list []peer.Target) {
	for _, id := range n.live() {
		list = append(list, n.target(id)...)
	}
	return list
}

// configChanged is told of every change that this node serves.
func (n *node) configChanged(served replica.Served) {
	if slices.ContainsFunc(served.Changes, func(c muster.Change) bool { return c.Kind == auth.DenyKind }) {
		n.api.Recheck()
	}
	n.graves.changedBy(served.Changes)
	for _, c := range served.Changes {
		if c.Chain == (muster.Hash{}) {
			continue // the first copy of what was there before: no news
		}
		verb := "written"
		if c.Op == muster.OpDelete {
			verb = "deleted"
		}
		n.record(slog.LevelDebug, "configuration changed", muster.Event{
			Kind: muster.EventConfigChange, Subject: c.Kind + "/" + c.Name, Rev: c.Rev, At: c.At, Clock: served.At,
			Text: fmt.Sprintf("%s/%s %s by %s at revision %d", c.Kind, c.Name, verb, c.Actor, c.Rev),
		}, "key", c.Kind+"/"+c.Name, "rev", c.Rev)
	}
	n.changed.fire()
}

func (n *node) storeChanged(s replica.Status) {
	e := muster.Event{Kind: muster.EventStoreState, Subject: string(s.StoreKind), To: string(s.StoreState), Text: "the config store is " + string(s.StoreState)}
	if s.LastError != nil {
		e.Text += ": " + muster.Printable(s.LastError.Error())
		e.Code = muster.CodeOf(s.LastError)
	}
	n.record(slog.LevelDebug, "config store changed state", e, "state", e.To) // the replica says so in its own words
	n.changed.fire()
}

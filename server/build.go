package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/web"
)

func (n *node) newRoster() *roster {
	return &roster{
		table: n.memberTable, self: n.row, save: n.saveOthers, log: n.log,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), fired: n.changed.fire, alive: n.live, gone: n.goesForGood, read: n.strays, rows: n.state.Peers(),
	}
}

// saveOthers keeps the members for the next start, without this node itself.
func (n *node) saveOthers() error {
	return n.state.SetPeers(slices.DeleteFunc(n.rows(), func(m store.Member) bool { return m.ID == n.self.ID }))
}

// goesForGood reports whether this node has no row in the durable list any more.
func (n *node) goesForGood() bool { return n.forget.Load() || n.ousted.Load() != nil }

// memberTable returns the durable list, or nil before the cluster is known.
func (n *node) memberTable() memberTable {
	if c := n.core.Load(); c != nil {
		return c.store
	}
	return nil
}

func (n *node) buildSeeker() (err error) {
	cfg := join.Config{
		State: n.state, Meet: n.meet, Class: link.Class, PeerFrom: link.PeerFrom,
		Endpoint: n.endpoint, Role: n.cfg.Role, Zone: n.cfg.Zone, Version: n.cfg.Version,
		ClusterName: n.cfg.ClusterName, Store: store.KindSQLite, StoreFixed: n.cfg.Store == StoreSQLite,
		JoinEndpoints: n.cfg.JoinEndpoints, JoinNodeID: n.cfg.JoinNodeID,
		Expect: n.cfg.BootstrapExpect, Formation: n.cfg.Formation,
		Members: n.rows, Live: n.live, Holder: n.holder, Draining: n.leaving.Load, Expelled: n.graves.refusal,
		Joined: n.joined, Gossip: func(ctx context.Context, ids ...muster.NodeID) error { return n.gossip.Join(ctx, ids...) },
		Admitted: n.admitted, OnAlarm: n.alarm,
		Log: n.log, Metrics: n.cfg.Metrics,
	}
	if n.shared != nil {
		cfg.Registry, cfg.Store, cfg.StoreFixed = n.shared, store.KindPostgres, true
	}
	for _, source := range n.cfg.Discovery {
		if arbiter, ok := source.(join.Arbiter); ok && cfg.Arbiter == nil {
			cfg.Arbiter, cfg.KIDs = arbiter, func() []string { return n.cookies.now().KIDs() }
		}
	}
	cfg.Listed = n.listed()
	if n.finder != nil {
		cfg.Discovered, cfg.Settled = n.discovered, n.finder.Settled
	}
	n.seeker, err = join.New(cfg)
	return err
}

// listed counts the nodes of the longest fixed list among the discovery methods.
func (n *node) listed() (most int) {
	for _, source := range n.cfg.Discovery {
		if list, ok := source.(interface{ Len() int }); ok {
			most = max(most, list.Len())
		}
	}
	return most
}

// meet dials an endpoint for the seeker. The link is made after the seeker.
func (n *node) meet(ctx context.Context, endpoint string, target muster.NodeID) (join.Meeting, error) {
	return join.MeetOver(n.link)(ctx, endpoint, target)
}

func (n *node) buildLink(inbox *gossip.Inbox) (err error) {
	n.link, err = link.New(link.Config{
		Self: n.self, Keys: n.cookies.linkKeys, Retired: n.cookies.retired, Facts: n.seeker.Facts, Gate: doorman{n},
		Receiver: inbox, RPC: n.rpc(), OnUp: n.linkUp, OnRefused: n.refusedBy, OnAlarm: n.seeker.Policy().Sighted,
		TLS: n.certs.Client(n.cfg.TLS.ServerName), Roots: n.certs.Roots, BindNames: n.cfg.TLS.ClientAuth == ClientAuthRequireName,
		Dial: n.cfg.Dial, Loopback: n.bound.Addr().IsLoopback(), AllowedSpace: n.cfg.AllowedSpace,
		Log: n.log, Metrics: n.cfg.Metrics,
	})
	return err
}

func (n *node) buildGossip(inbox *gossip.Inbox) (err error) {
	n.gossip, err = gossip.New(gossip.Config{
		Self:  gossip.Self{ID: n.self.ID, Key: n.self.Key, Boot: n.self.Boot, Name: n.self.Name},
		Inbox: inbox, Link: n.link, Meta: n.meta, Profile: gossip.Profile(n.cfg.Profile),
		Digest: n.digest, Observe: n.observe, OnEvent: n.memberChanged, Expelled: n.graves.why,
		Log: n.log, Metrics: n.cfg.Metrics,
	})
	return err
}

// meta is what this node tells all others through gossip.
func (n *node) meta() gossip.Meta {
	return gossip.Meta{
		Endpoint: n.endpoint, Zone: n.cfg.Zone, Version: n.cfg.Version,
		Role: n.cfg.Role, Draining: n.isDraining(),
	}
}

func (n *node) buildAPI() (err error) {
	n.cfg.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.api, err = mgmt.New(mgmt.Config{
		NodeID: n.self.ID, Node: n, Config: n, Events: n.journal, ClusterEvents: n.clusterEvents, Auth: newVerifier(n),
		Expulsion: n.graves, Spread: n, Keys: n.memberKeys, Logins: n.logins, UI: web.Handler(), Link: n.link,
		Metrics:    promhttp.HandlerFor(n.cfg.Metrics, promhttp.HandlerOpts{}),
		PathPrefix: n.cfg.PathPrefix, Anonymous: n.cfg.AuthAnonymous, MetricsPublic: n.cfg.MetricsPublic,
		Insecure: n.cfg.Insecure, Loopback: n.bound.Addr().IsLoopback(), AllowedHosts: n.allowedHosts(),
		AllowedNetworks: n.cfg.AllowedNetworks, TrustedProxies: n.cfg.TrustedProxies,
		Version: n.cfg.Version, Log: n.log, Registry: n.cfg.Metrics,
	})
	return errors.Join(err, n.registerTLS())
}

// allowedHosts are the names that callers may use: those that were given and the
// one that is advertised.
func (n *node) allowedHosts() []string {
	hosts := slices.Clone(n.cfg.AllowedHosts)
	if u, err := url.Parse(n.endpoint); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}

// linkUp is told of every link whose HELLO has verified.
func (n *node) linkUp(h link.Hello) {
	if n.graves.has(h.ID) { // expelled during the handshake, after its links were dropped
		n.link.Drop(h.ID)
		return
	}
	n.keys.add(h.ID, h.PublicKey)
	n.gossip.Heal(h.ID)
}

// admitted is told of a node that this one let in.
func (n *node) admitted(m store.Member) {
	text := fmt.Sprintf("%s joined from %s", m.Name, m.Endpoint)
	n.record(slog.LevelInfo, "node joined", muster.Event{Kind: muster.EventJoin, Subject: m.Name, Text: text}, "member", m.Name, "endpoint", m.Endpoint)
	n.learn([]store.Member{m})
}

func (n *node) alarm(code muster.Code, text string) {
	e := muster.Event{Kind: muster.EventClusterAlarm, Code: code, Text: text}
	n.record(slog.LevelError, "cluster alarm", e, "code", code, "text", text)
	n.changed.fire()
}

// memberChanged is told of every change of a member, in order.
func (n *node) memberChanged(e gossip.Event) {
	if shown, ok := n.damper.see(e); ok {
		n.showMember(shown)
	}
	n.facts.of(e.Member) // asks for what is not known
	n.roster.poke()
	n.changed.fire()
}

// showMember tells whoever watches of a change of a member.
func (n *node) showMember(e gossip.Event) {
	text := memberText(e)
	n.tellTakeover(e)
	kind := muster.EventMemberState
	if e.Updated {
		kind = muster.EventMemberUpdate
	}
	level, phrase, dropped := n.memberLine(e)
	attrs := []any{"member", e.Member.Name, "member_id", e.Member.ID, "reason", e.Member.Reason}
	if dropped > 0 {
		attrs = append(attrs, "not_logged", dropped)
	}
	n.record(level, phrase, muster.Event{Kind: kind, Subject: e.Member.Name, From: string(e.From), To: string(e.To), Text: text}, attrs...)
	n.changed.fire()
}

// memberText says in words what has changed of a member.
func memberText(e gossip.Event) string {
	text := fmt.Sprintf("%s is %s", e.Member.Name, e.To)
	switch {
	case e.From != "" && e.From != e.To:
		text = fmt.Sprintf("%s: %s -> %s", e.Member.Name, e.From, e.To)
	case e.Updated && e.Member.Draining:
		return e.Member.Name + " takes no new work"
	case e.Updated:
		return fmt.Sprintf("%s is %s, at %s, boot %d", e.Member.Name, e.To, cmp.Or(e.Member.Endpoint, "no address"), e.Member.Boot.Counter)
	}
	if e.Member.Reason != "" {
		text += " (" + e.Member.Reason + ")"
	}
	return text
}

// tellTakeover tells of a new member that has the name of one that is gone.
func (n *node) tellTakeover(e gossip.Event) {
	if e.From != "" || e.To != muster.StateAlive {
		return
	}
	for _, v := range n.gossip.Members() {
		if v.Name != e.Member.Name || v.ID == e.Member.ID || !v.State.Gone() {
			continue
		}
		text := fmt.Sprintf("node %s takes the name %s over from node %s, which is %s", e.Member.ID.Short(), v.Name, v.ID.Short(), v.State)
		n.record(slog.LevelWarn, "name taken over",
			muster.Event{Kind: muster.EventNameTakeover, Subject: v.Name, From: string(v.ID), To: string(e.Member.ID), Text: text},
			"member", v.Name, "from", v.ID, "to", e.Member.ID, "state", v.State)
	}
}

// memberLine says how a change is logged, and how many lines of its class were kept
// at debug level since the last one: one in ten seconds is enough for people.
func (n *node) memberLine(e gossip.Event) (level slog.Level, phrase string, dropped int) {
	level, phrase = memberPhrase(e)
	if level == slog.LevelDebug {
		return level, phrase, 0
	}
	dropped, due := n.damper.mayLog(e.Member.ID, e.To)
	if !due {
		level = slog.LevelDebug
	}
	return level, phrase, dropped
}

// memberPhrase uses the words that operators of other systems search for.
func memberPhrase(e gossip.Event) (slog.Level, string) {
	switch {
	case e.Updated || e.Member.Self || e.From == e.To:
		return slog.LevelDebug, "node updated"
	case e.To == muster.StateSuspect:
		return slog.LevelWarn, "node marked as suspect"
	case e.To == muster.StateDead:
		return slog.LevelWarn, "node marked as dead"
	case e.To == muster.StateLeft:
		return slog.LevelInfo, "node left"
	}
	return slog.LevelInfo, "node is alive"
}

// rows shows everybody who belongs to the cluster to the seeker: whom gossip knows,
// this node included, and whom only the durable list names. Who was expelled does not.
func (n *node) rows() (list []store.Member) {
	for _, v := range n.gossip.Members() {
		list = append(list, store.Member{
			ID: v.ID, Name: v.Name, Endpoint: v.Endpoint, Boot: v.Boot, Role: v.Role,
			Version: v.Version, Zone: v.Zone, State: v.State,
		})
	}
	for _, row := range n.roster.list() {
		if !slices.ContainsFunc(list, func(m store.Member) bool { return m.ID == row.ID }) {
			list = append(list, row)
		}
	}
	return slices.DeleteFunc(list, func(m store.Member) bool { return n.graves.has(m.ID) })
}

// holder finds the live member with a name.
func (n *node) holder(name string) (join.Holder, bool) {
	views := n.gossip.Members()
	i := slices.IndexFunc(views, func(v gossip.View) bool { return v.Name == name && !v.State.Gone() })
	if i < 0 {
		return join.Holder{}, false
	}
	return join.Holder{ID: views[i].ID, Endpoint: views[i].Endpoint, State: views[i].State}, true
}

// The node is what its own HTTP surface asks.
var (
	_ mgmt.Node        = (*node)(nil)
	_ mgmt.ConfigStore = (*node)(nil)
	_ mgmt.Spread      = (*node)(nil)
	_ http.Handler     = (*mgmt.API)(nil)
)

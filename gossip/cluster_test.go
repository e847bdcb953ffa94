package gossip_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/internal/testnet"
)

// cluster is a set of nodes on a network in memory. Packets may be lost and come
// late; streams go over testnet.
type cluster struct {
	t       *testing.T
	net     *testnet.Network
	profile gossip.Profile
	nodes   []*node

	mu      sync.Mutex
	rng     *rand.Rand
	loss    float64
	hosts   map[string]*node // endpoint host to node; absent: killed
	blocked map[[2]string]bool
}

type node struct {
	c         *cluster
	name      string
	host      string
	self      gossip.Self
	inbox     *gossip.Inbox
	g         *gossip.Gossip
	registry  *prometheus.Registry
	cancel    context.CancelFunc
	done      chan error
	slowest   time.Duration // of Send
	listener  net.Listener
	meta      gossip.Meta
	mu        sync.Mutex
	routes    map[muster.NodeID]string
	events    []gossip.Event
	observed  map[string]bool
	digest    string
	dialError error
	expelled  map[muster.NodeID]bool
}

// simulate runs f with a cluster in a bubble and ends every node after it.
func simulate(t *testing.T, seed uint64, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			t: t, net: testnet.New(seed), rng: rand.New(rand.NewPCG(seed, 1)),
			hosts: map[string]*node{}, blocked: map[[2]string]bool{},
		}
		c.net.Delay(500*time.Microsecond, 500*time.Microsecond)
		defer c.stop()
		f(t, c)
	})
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.kill()
	}
	time.Sleep(time.Minute) // memberlist's last timers
}

// start adds n nodes that join the first one.
func (c *cluster) start(n int) []*node {
	c.t.Helper()
	for i := range n {
		c.add(fmt.Sprintf("n%02d", i), fmt.Sprintf("n%02d", i), 1).join(c.nodes[0])
	}
	return c.nodes
}

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func selfOf(name string, boot uint64) gossip.Self {
	key := keyOf(name)
	return gossip.Self{
		ID: muster.NodeIDOf(key.Public().(ed25519.PublicKey)), Key: key, Name: name,
		Boot: muster.Boot{Counter: boot, Random: boot * 7919},
	}
}

// add starts a node on a host.
func (c *cluster) add(name, host string, boot uint64) *node {
	c.t.Helper()
	return c.run(selfOf(name, boot), host)
}

func (c *cluster) run(self gossip.Self, host string) *node {
	c.t.Helper()
	n := &node{
		c: c, name: self.Name, host: host, self: self, inbox: gossip.NewInbox(),
		registry: prometheus.NewRegistry(), done: make(chan error, 1),
		routes: map[muster.NodeID]string{}, observed: map[string]bool{},
		digest: "digest of " + self.Name,
		meta:   gossip.Meta{Endpoint: "http://" + host + ":9113", Zone: "z1", Version: "v0.1.0", Role: muster.RoleVoter},
	}
	g, err := gossip.New(gossip.Config{
		Self: n.self, Inbox: n.inbox, Link: n, Meta: n.facts, Profile: c.profile,
		Digest: n.say, Observe: n.observe,
		OnEvent: n.record, Metrics: n.registry, Expelled: n.hasExpelled,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.g = g
	n.listen()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.done <- g.Run(ctx) }()
	c.mu.Lock()
	c.hosts[host] = n
	c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return n
}

func (n *node) hasExpelled(id muster.NodeID) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "for the test", n.expelled[id]
}

// expel makes n hold another node expelled, or not any more, and cut its route.
func (n *node) expel(other *node, expelled bool) {
	n.mu.Lock()
	if n.expelled == nil {
		n.expelled = map[muster.NodeID]bool{}
	}
	n.expelled[other.self.ID] = expelled
	if expelled {
		delete(n.routes, other.self.ID)
	}
	n.mu.Unlock()
	n.g.Reconsider()
}

func (n *node) facts() gossip.Meta {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.meta
}

func (n *node) observe(digest []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.observed[string(digest)] = true
}

func (n *node) record(e gossip.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

// join makes n join another node, unless it is the same.
func (n *node) join(other *node) {
	n.c.t.Helper()
	if n == other {
		return
	}
	n.Learn(other.self.ID, other.facts().Endpoint)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.g.Join(ctx, other.self.ID); err != nil {
		n.c.t.Fatalf("%s joins %s: %v", n.name, other.name, err)
	}
}

// kill ends a node without a good-bye.
func (n *node) kill() {
	n.c.mu.Lock()
	if n.c.hosts[n.host] == n {
		delete(n.c.hosts, n.host)
		n.c.net.Kill(n.host)
		n.c.net.Restart(n.host)
	}
	n.c.mu.Unlock()
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	start := time.Now()
	if err := <-n.done; err != nil {
		n.c.t.Errorf("%s: run ended with %v", n.name, err)
	}
	if took := time.Since(start); took > time.Second {
		n.c.t.Errorf("%s: run ended %v after its context", n.name, took)
	}
}

func (c *cluster) setBlocked(blocked bool, a, b []*node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range a {
		for _, y := range b {
			c.blocked[[2]string{x.host, y.host}] = blocked
			c.blocked[[2]string{y.host, x.host}] = blocked
			if blocked {
				c.net.Cut(x.host, y.host)
			} else {
				c.net.Mend(x.host, y.host)
			}
		}
	}
}

func (n *node) host0(id muster.NodeID) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, err := url.Parse(n.routes[id])
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Learn implements gossip.Link.
func (n *node) Learn(id muster.NodeID, endpoint string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routes[id] = endpoint
}

// Send implements gossip.Link.
func (n *node) Send(to muster.NodeID, packet []byte) error {
	host := n.host0(to)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	path := [2]string{n.host, host}
	switch {
	case host == "" || n.c.blocked[path] || n.c.rng.Float64() < n.c.loss:
		return nil
	case n.c.hosts[host] == nil:
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	data := bytes.Clone(packet)
	delay := 500*time.Microsecond + time.Duration(n.c.rng.Int64N(int64(time.Millisecond)))
	time.AfterFunc(delay, func() { n.c.deliver(path, n.self.ID, to, data) })
	return nil
}

func (c *cluster) deliver(path [2]string, from, to muster.NodeID, data []byte) {
	c.mu.Lock()
	target := c.hosts[path[1]]
	lost := target == nil || c.blocked[path] || target.self.ID != to
	c.mu.Unlock()
	if !lost {
		target.inbox.Packet(from, data)
	}
}

// Stream implements gossip.Link.
func (n *node) Stream(ctx context.Context, to muster.NodeID) (net.Conn, error) {
	n.mu.Lock()
	err := n.dialError
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	host := n.host0(to)
	if host == "" {
		return nil, errors.New("no route")
	}
	conn, err := n.c.net.Dial(ctx, n.host, host+":9113")
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, string(n.self.ID)); err != nil {
		return nil, err
	}
	return conn, nil
}

func (n *node) listen() {
	n.c.t.Helper()
	l, err := n.c.net.Listen(n.host + ":9113")
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.listener = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go n.receive(conn)
		}
	}()
}

func (n *node) receive(conn net.Conn) {
	id := make([]byte, 36)
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(conn, id); err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	n.inbox.Stream(muster.NodeID(id), conn)
}

// view returns how n sees other.
func (n *node) view(other *node) gossip.View {
	for _, v := range n.g.Members() {
		if v.ID == other.self.ID {
			return v
		}
	}
	return gossip.View{}
}

// sees reports whether every one of nodes holds all of others to be in state.
func sees(nodes, others []*node, state muster.State) func() bool {
	return func() bool {
		for _, n := range nodes {
			for _, o := range others {
				if n.view(o).State != state {
					return false
				}
			}
		}
		return true
	}
}

// within waits for a condition in virtual time and returns how long it took.
func (c *cluster) within(limit time.Duration, what string, ok func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			c.t.Fatalf("after %v: not %s\n%s", limit, what, c.dump())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

func (c *cluster) dump() string {
	var b strings.Builder
	for _, n := range c.nodes {
		fmt.Fprintf(&b, "%s:", n.name)
		for _, v := range n.g.Members() {
			fmt.Fprintf(&b, " %s=%s(%s)", v.Name, v.State, v.Reason)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// transitions returns the events of n about other that entered a state.
func (n *node) transitions(other *node, to muster.State) []gossip.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []gossip.Event
	for _, e := range n.events {
		if e.Member.ID == other.self.ID && e.To == to && e.From != to {
			found = append(found, e)
		}
	}
	return found
}

func (n *node) say() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return []byte(n.digest)
}

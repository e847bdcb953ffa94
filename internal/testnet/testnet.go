// Package testnet is a network in memory, for tests of whole clusters in one
// process. Hosts have names; connections between them are buffered, bounded and
// have working deadlines; cables can be cut in one or both directions, slowed
// down or made lossy, and hosts killed and restarted.
//
// Everything waits on channels and timers only, so it runs in virtual time
// inside testing/synctest. The package starts no goroutines.
//
//	n := testnet.New(1)
//	l, _ := n.Listen("a:80")
//	c, _ := n.Dial(ctx, "b", "a:80")
//	n.Cut("a", "b") // c stalls, new dials hang
//	n.Mend("a", "b") // c goes on where it was
package testnet

import (
	"math/rand/v2"
	"sync"
	"time"
)

// path is one direction of the cable between two hosts.
type path struct{ from, to string }

// outage is the state of a path that was blocked at least once.
type outage struct {
	blocked      bool
	began, ended time.Time
}

// Network is a set of hosts and the cables between them. Every pair of hosts is
// connected until blocked.
type Network struct {
	mu sync.Mutex // never held while waiting; guards everything, conns and listeners too

	rng       *rand.Rand
	delay     time.Duration
	jitter    time.Duration
	port      int // last ephemeral port
	down      map[string]bool
	names     map[string]bool
	outages   map[path]*outage
	qualities map[path]Quality
	sent      map[string]int64 // bytes by sending host
	listeners map[string]*listener
	conns     map[*conn]struct{}
	changed   signal // raised when a path or host changes, for dials under way
}

// New returns a network without delays. The seed decides the jitter.
func New(seed uint64) *Network {
	return &Network{
		rng:       rand.New(rand.NewPCG(seed, 0x7e57)),
		port:      49151,
		down:      map[string]bool{},
		names:     map[string]bool{},
		outages:   map[path]*outage{},
		qualities: map[path]Quality{},
		sent:      map[string]int64{},
		listeners: map[string]*listener{},
		conns:     map[*conn]struct{}{},
	}
}

// Delay sets the one-way delay of all cables, plus 0 to jitter at random. Order
// within a connection is kept.
func (n *Network) Delay(delay, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.jitter = delay, jitter
}

// Block cuts one direction: nothing that from sends reaches to. Established
// connections stall, dials hang.
func (n *Network) Block(from, to string) { n.setBlocked(true, path{from, to}) }

// Unblock ends a Block. What was under way arrives.
func (n *Network) Unblock(from, to string) { n.setBlocked(false, path{from, to}) }

// Cut blocks both directions between two hosts.
func (n *Network) Cut(a, b string) { n.setBlocked(true, path{a, b}, path{b, a}) }

// Mend ends a Cut.
func (n *Network) Mend(a, b string) { n.setBlocked(false, path{a, b}, path{b, a}) }

// Partition cuts every cable between hosts of different groups.
func (n *Network) Partition(groups ...[]string) {
	for i, group := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range group {
				for _, b := range other {
					n.Cut(a, b)
				}
			}
		}
	}
}

// Isolate cuts all cables of a host to the hosts known so far.
func (n *Network) Isolate(host string) {
	for _, other := range n.others(host) {
		n.Cut(host, other)
	}
}

// MendAll ends every Block, Cut, Partition and Isolate.
func (n *Network) MendAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p, o := range n.outages {
		n.setLocked(p, o, false)
	}
	n.wakeLocked()
}

// Kill takes a host down: its listeners and connections end at once, its peers'
// connections are reset, dials to it are refused.
func (n *Network) Kill(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[host] = true
	for _, l := range n.listeners {
		if l.addr.host == host {
			l.closeLocked()
		}
	}
	for c := range n.conns {
		if c.local.host == host {
			c.abortLocked()
		}
	}
	n.wakeLocked()
}

// Restart takes a killed host up again, without its old listeners.
func (n *Network) Restart(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.down, host)
	n.wakeLocked()
}

func (n *Network) others(host string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for name := range n.names {
		if name != host {
			names = append(names, name)
		}
	}
	return names
}

func (n *Network) setBlocked(blocked bool, paths ...path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range paths {
		o := n.outages[p]
		if o == nil {
			o = &outage{}
			n.outages[p] = o
		}
		n.setLocked(p, o, blocked)
	}
	n.wakeLocked()
}

func (n *Network) setLocked(p path, o *outage, blocked bool) {
	n.names[p.from], n.names[p.to] = true, true
	switch {
	case blocked && !o.blocked:
		o.blocked, o.began = true, time.Now()
	case !blocked && o.blocked:
		o.blocked, o.ended = false, time.Now()
	}
}

// wakeLocked lets everything that waits look again.
func (n *Network) wakeLocked() {
	n.changed.raise()
	for c := range n.conns {
		c.in.changed.raise()
		c.out.changed.raise()
	}
}

func (n *Network) blockedLocked(p path) bool {
	o := n.outages[p]
	return o != nil && o.blocked
}

// arrivalLocked says when something due at a time arrives on a path, given its
// outages; ok is false while it cannot arrive.
func (n *Network) arrivalLocked(p path, due time.Time) (at time.Time, ok bool) {
	o := n.outages[p]
	switch {
	case o == nil || due.Before(o.began):
		return due, true
	case o.blocked:
		return due, false
	case due.Before(o.ended):
		return o.ended.Add(n.delay), true
	}
	return due, true
}

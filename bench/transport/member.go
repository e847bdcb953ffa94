package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster/gossip"
)

// member is one member of a cluster; it implements memberlist's delegates.
type member struct {
	list     *memberlist.Memberlist
	endpoint endpoint
	ip       string
	name     string
	queue    memberlist.TransmitLimitedQueue

	mu      sync.Mutex
	alive   map[string]bool
	deaths  map[string]time.Time
	arrived map[uint64]time.Time // messages by number
}

var errTooMany = errors.New("the certificate has no more addresses")

// startMember starts a member that nobody knows yet.
func startMember(c contender, n *network, i int) (*member, error) {
	if i >= maxMembers {
		return nil, errTooMany
	}
	e, err := c.start(n.at(memberIP(i)))
	if err != nil {
		return nil, err
	}
	m := &member{
		endpoint: e, ip: memberIP(i), name: fmt.Sprintf("m%02d", i),
		alive: map[string]bool{}, deaths: map[string]time.Time{}, arrived: map[uint64]time.Time{},
	}
	cfg := memberlist.DefaultLANConfig()
	if err := gossip.ProfileLAN.Apply(cfg); err != nil {
		return nil, err
	}
	if c.name != nameNative && c.name != namePost {
		cfg.UDPBufferSize = 16 << 10 // no datagrams that have to fit a frame
	}
	cfg.Name, cfg.Transport, cfg.LogOutput = m.name, e, io.Discard
	cfg.Delegate, cfg.Events = m, m
	m.queue = memberlist.TransmitLimitedQueue{RetransmitMult: cfg.RetransmitMult, NumNodes: m.size}
	if m.list, err = memberlist.Create(cfg); err != nil {
		return nil, errors.Join(err, e.Shutdown())
	}
	return m, nil
}

func (m *member) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(1, len(m.alive))
}

// sees reports whether a member is alive for m.
func (m *member) sees(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alive[name]
}

// death returns when m found a member dead.
func (m *member) death(name string) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, dead := m.deaths[name]
	return at, dead
}

// message returns when a message arrived.
func (m *member) message(n uint64) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.arrived[n]
	return at, ok
}

// NotifyJoin notes a member.
func (m *member) NotifyJoin(n *memberlist.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive[n.Name] = true
	delete(m.deaths, n.Name)
}

// NotifyLeave notes a death.
func (m *member) NotifyLeave(n *memberlist.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.alive, n.Name)
	m.deaths[n.Name] = time.Now()
}

// NotifyUpdate does nothing.
func (m *member) NotifyUpdate(*memberlist.Node) {}

// NodeMeta returns nothing.
func (m *member) NodeMeta(int) []byte { return nil }

// LocalState returns nothing.
func (m *member) LocalState(bool) []byte { return nil }

// MergeRemoteState does nothing.
func (m *member) MergeRemoteState([]byte, bool) {}

// GetBroadcasts returns what is to be passed on.
func (m *member) GetBroadcasts(overhead, limit int) [][]byte {
	return m.queue.GetBroadcasts(overhead, limit)
}

// NotifyMsg notes a message. One that came by gossip is passed on, the first time.
func (m *member) NotifyMsg(b []byte) {
	if len(b) != 9 {
		return
	}
	n := binary.BigEndian.Uint64(b[1:])
	m.mu.Lock()
	_, known := m.arrived[n]
	if !known {
		m.arrived[n] = time.Now()
	}
	m.mu.Unlock()
	if !known && b[0] == kindGossip {
		m.queue.QueueBroadcast(rumour(append([]byte(nil), b...)))
	}
}

const (
	kindGossip byte = iota
	kindDirect
)

func encode(kind byte, n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, n) }

// rumour is a message that is passed on.
type rumour []byte

// Invalidates returns false: no message replaces another one.
func (rumour) Invalidates(memberlist.Broadcast) bool { return false }

// Message returns the bytes.
func (r rumour) Message() []byte { return r }

// Finished does nothing.
func (rumour) Finished() {}

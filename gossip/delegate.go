package gossip

import (
	"errors"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
)

// maxDigest bounds the bytes that ride on an exchange of state.
const maxDigest = 64 << 10

// maxAck bounds the bytes that ride on the answer to a ping.
const maxAck = 512

// delegate is what memberlist calls back, partly under its own locks: everything
// here raises a flag or stores a number, and returns.
type delegate struct{ g *Gossip }

// NodeMeta returns what this node tells about itself.
func (d *delegate) NodeMeta(int) []byte { return *d.g.meta.Load() }

// NotifyMsg drops messages of users: there are none.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts returns nothing: there are no messages of users.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState returns the digest that travels with an exchange of state.
func (d *delegate) LocalState(bool) []byte {
	if d.g.cfg.Digest == nil {
		return nil
	}
	if digest := d.g.cfg.Digest(); len(digest) <= maxDigest {
		return digest
	}
	return nil
}

// MergeRemoteState hands on the digest of a peer.
func (d *delegate) MergeRemoteState(digest []byte, _ bool) {
	if d.g.cfg.Observe != nil && len(digest) <= maxDigest {
		d.g.cfg.Observe(digest)
	}
}

// NotifyJoin raises the flag.
func (d *delegate) NotifyJoin(*memberlist.Node) { d.g.hint() }

// NotifyLeave raises the flag.
func (d *delegate) NotifyLeave(*memberlist.Node) { d.g.hint() }

// NotifyUpdate raises the flag.
func (d *delegate) NotifyUpdate(*memberlist.Node) { d.g.hint() }

// AckPayload returns a small digest, so that a quiet cluster knows within a few
// probe intervals where everybody stands.
func (d *delegate) AckPayload() []byte {
	if digest := d.LocalState(false); len(digest) <= maxAck {
		return digest
	}
	return nil
}

// NotifyPingComplete stores the time that an answer took and hands on the digest
// that came with it.
func (d *delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, digest []byte) {
	id := muster.NodeID(n.Name)
	d.MergeRemoteState(digest, false)
	d.g.table.answered(id, rtt)
	d.g.contacts.note(id, nil)
	d.g.hearing.answered(id, time.Now())
}

// probeFailed is asked whether to skip the second opinion over a stream after a
// probe got no answer. Never; but that is how one learns of the failed probe.
func (d *delegate) probeFailed(name string) bool {
	d.g.metrics.probeFailures.Inc()
	if id := muster.NodeID(name); !d.g.refuses(id) {
		d.g.hearing.missed(id, time.Now())
	}
	select {
	case d.g.missed <- muster.NodeID(name):
	default:
	}
	return false
}

// gate decides which members memberlist may take in: those whose address and meta
// belong to their id. memberlist calls it under its lock, one call at a time.
type gate struct {
	metrics  *metrics
	known    map[string]string // id to meta that was verified; the same one comes often
	expelled func(muster.NodeID) (string, bool)
}

// maxKnown bounds the memory of the gate; past it, it starts anew.
const maxKnown = 4096

var (
	errForeignKey     = errors.New("meta is signed by the key of another node")
	errForeignAddress = errors.New("address does not belong to the node id")
	errExpelled       = errors.New("the node was expelled")
)

func newGate(m *metrics) *gate {
	return &gate{metrics: m, known: map[string]string{}, expelled: func(muster.NodeID) (string, bool) { return "", false }}
}

// NotifyAlive returns an error for what is not genuine.
func (g *gate) NotifyAlive(n *memberlist.Node) error {
	if n.Port != port || !addressOf(muster.NodeID(n.Name)).ip.Equal(n.Addr) {
		return g.refuse("address", errForeignAddress)
	}
	if _, expelled := g.expelled(muster.NodeID(n.Name)); expelled {
		return g.refuse("expelled", errExpelled)
	}
	if known, ok := g.known[n.Name]; ok && known == string(n.Meta) {
		return nil
	}
	m, err := DecodeMeta(n.Meta)
	if err != nil {
		return g.refuse("meta", err)
	}
	if string(muster.NodeIDOf(m.PublicKey)) != n.Name {
		return g.refuse("key", errForeignKey)
	}
	if len(g.known) >= maxKnown {
		clear(g.known)
	}
	g.known[n.Name] = string(n.Meta)
	return nil
}

func (g *gate) refuse(reason string, err error) error {
	g.metrics.refused.WithLabelValues(reason).Inc()
	return err
}

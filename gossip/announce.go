package gossip

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/musterhq/muster"
)

// maxAnnounced is the size of cluster up to which a change of this node's facts is sent
// to every member directly, besides being gossiped. Beyond it the sender's burst would
// cost more than the rounds of gossip that it saves.
const maxAnnounced = 64

// announce tells all members at once what this node says about itself now: that it
// drains, or that its endpoint has changed. It is the message that memberlist gossips,
// so that whoever gets it twice, or not at all, is no worse off.
func (g *Gossip) announce(ctx context.Context) {
	members := append(g.table.in(muster.StateAlive), g.table.in(muster.StateSuspect)...)
	if len(members) > maxAnnounced {
		return
	}
	records, err := g.snapshot(ctx, &bytes.Buffer{})
	if err != nil {
		return // gossip tells them
	}
	for _, r := range records {
		if r.id != g.cfg.Self.ID {
			continue
		}
		packet := r.announcement()
		for _, id := range members {
			_ = g.cfg.Link.Send(id, packet) // same
		}
	}
}

// announcement encodes the message with which memberlist says that a member is alive.
func (r record) announcement() []byte {
	b := []byte{packetAlive, 0x86} // a map of six
	text := func(s []byte) {
		b = append(binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(s))), s...)
	}
	number := func(key string, n uint64) {
		text([]byte(key))
		b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	field := func(key string, value []byte) {
		text([]byte(key))
		text(value)
	}
	number("Incarnation", r.incarnation)
	field("Node", []byte(r.id))
	field("Addr", addressOf(r.id).ip)
	number("Port", port)
	field("Meta", r.meta)
	field("Vsn", r.vsn)
	return b
}

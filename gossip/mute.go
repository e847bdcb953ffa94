package gossip

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/musterhq/muster"
)

// The types of memberlist's messages that accuse.
const (
	packetSuspect = 3
	packetDead    = 5
)

// without drops from a packet the parts that drop picks, and returns what is left: the
// packet itself if nothing was picked, nil if nothing is left.
func without(packet []byte, drop func(part []byte) bool) []byte {
	body, sum := packet, len(packet) > 5 && packet[0] == packetChecksum
	if sum {
		body = packet[5:]
	}
	left, changed := body, false
	switch {
	case len(body) > 1 && body[0] == packetCompound:
		left, changed = thinned(body, drop)
	case drop(body):
		return nil
	}
	switch {
	case !changed:
		return packet
	case !sum || left == nil:
		return left
	}
	head := binary.BigEndian.AppendUint32([]byte{packetChecksum}, crc32.ChecksumIEEE(left))
	return append(head, left...)
}

// thinned drops parts of a compound packet.
func thinned(compound []byte, drop func([]byte) bool) (left []byte, changed bool) {
	parts, ok := partsOf(compound)
	if !ok {
		return compound, false
	}
	kept := parts[:0:0]
	for _, p := range parts {
		if !drop(p) {
			kept = append(kept, p)
		}
	}
	switch len(kept) {
	case len(parts):
		return compound, false
	case 0:
		return nil, true
	}
	left = []byte{packetCompound, byte(len(kept))}
	for _, p := range kept {
		left = binary.BigEndian.AppendUint16(left, uint16(len(p)))
	}
	for _, p := range kept {
		left = append(left, p...)
	}
	return left, true
}

// partsOf splits a compound packet: its type, their number u8, the length u16 of each,
// the parts.
func partsOf(compound []byte) (parts [][]byte, ok bool) {
	b := compound[1:]
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return nil, false
	}
	n := int(b[0])
	lengths, rest := b[1:1+2*n], b[1+2*n:]
	for i := range n {
		size := int(binary.BigEndian.Uint16(lengths[2*i:]))
		if size > len(rest) {
			return nil, false
		}
		parts, rest = append(parts, rest[:size]), rest[size:]
	}
	return parts, true
}

// first returns the type of the first message in a packet: what is asked or answered
// comes before what rides along.
func first(packet []byte) (kind byte, ok bool) {
	if len(packet) > 5 && packet[0] == packetChecksum {
		packet = packet[5:]
	}
	if len(packet) > 1 && packet[0] == packetCompound {
		parts, whole := partsOf(packet)
		if !whole || len(parts) == 0 {
			return 0, false
		}
		packet = parts[0]
	}
	if len(packet) == 0 {
		return 0, false
	}
	return packet[0], true
}

// answers reports whether a packet is an answer to a probe. That another member found
// nobody, a nack, is one too: it heard the question.
func answers(packet []byte) bool {
	kind, ok := first(packet)
	return ok && (kind == packetAck || kind == packetNack)
}

func asks(packet []byte) bool {
	kind, ok := first(packet)
	return ok && kind == packetPing
}

// accusation reads who is blamed by whom.
func accusation(part []byte) (of, by muster.NodeID, ok bool) {
	if len(part) == 0 || part[0] != packetSuspect && part[0] != packetDead {
		return "", "", false
	}
	r := &msgpack{rest: part[1:]}
	err := r.fields(func(key string) error {
		if key != "Node" && key != "From" {
			return r.skip()
		}
		text, err := r.bytes()
		if key == "Node" {
			of = muster.NodeID(text)
		} else {
			by = muster.NodeID(text)
		}
		return err
	})
	return of, by, err == nil
}

// calm takes this node's own accusations out of a packet while it does not hear enough.
// A good-bye, which memberlist writes as accusing oneself, stays.
func (t *Transport) calm(packet []byte) []byte {
	if t.hearing == nil {
		return packet
	}
	now := time.Now()
	return without(packet, func(part []byte) bool {
		of, by, ok := accusation(part)
		return ok && by == t.self && of != t.self && !t.hearing.mayTell(of, part[0] == packetDead, now)
	})
}

// calmExchange makes alive of suspect and dead in the state that goes out with an
// exchange, in place. Who knows better is not moved by it: of two claims of one
// incarnation the worse one wins. What is said of the peer itself stays: it alone can
// refute it, and a node that holds everybody dead probes nobody and hears no answer
// before somebody does.
func calmExchange(message []byte, peer muster.NodeID) {
	if len(message) == 0 || message[0] != packetPushPull {
		return
	}
	r := &msgpack{rest: message[1:]}
	nodes := uint64(0)
	err := r.fields(func(key string) error {
		if key != "Nodes" {
			return r.skip()
		}
		n, err := r.uint()
		nodes = n
		return err
	})
	for ; err == nil && nodes > 0; nodes-- {
		err = calmNode(r, peer)
	}
}

// calmNode reads one node of a state and calms what is said of it.
func calmNode(r *msgpack, peer muster.NodeID) error {
	var name, state []byte
	err := r.fields(func(key string) (err error) {
		switch key {
		case "Name":
			name, err = r.bytes()
		case "State":
			at := r.rest
			n, bad := r.uint()
			if s := stateOf(n); bad == nil && at[0] < 0x80 && (s == muster.StateSuspect || s == muster.StateDead) {
				state = at[:1]
			}
			err = bad
		default:
			err = r.skip()
		}
		return err
	})
	if err == nil && len(state) > 0 && muster.NodeID(name) != peer {
		state[0] = 0
	}
	return err
}

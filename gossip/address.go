package gossip

import (
	"crypto/sha256"
	"net"
	"strconv"

	"github.com/musterhq/muster"
)

// port is the made-up port of every member.
const port = 1

// address is the made-up memberlist address of a member: an IPv6 unique local
// address from the hash of its id. It is never dialled.
type address struct{ ip net.IP }

func addressOf(id muster.NodeID) address {
	sum := sha256.Sum256([]byte("muster-gossip-address-1|" + id))
	ip := make(net.IP, net.IPv6len)
	ip[0] = 0xfd
	copy(ip[1:], sum[:])
	return address{ip}
}

// String returns the form that memberlist parses.
func (a address) String() string { return net.JoinHostPort(a.ip.String(), strconv.Itoa(port)) }

// source is the sender of a packet or the other end of a stream. The address is
// worked out only when somebody asks, which is rare.
type source struct{ id muster.NodeID }

// Network returns "muster".
func (source) Network() string { return "muster" }

// String returns the sender's made-up address.
func (s source) String() string { return addressOf(s.id).String() }

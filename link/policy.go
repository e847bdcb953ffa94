package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/musterhq/muster"
)

// policy says which addresses may be dialled. It judges the resolved address of
// every connection attempt, whatever source named it: a join endpoint, discovery
// or another member.
type policy struct {
	loopback bool
	allowed  []netip.Prefix
}

// metadata are the addresses of cloud metadata services that are not link-local.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"),   // AWS
		netip.MustParseAddr("fd20:ce::254"),    // Google
		netip.MustParseAddr("fd00:42::42"),     // Scaleway
		netip.MustParseAddr("100.100.100.200"), // Alibaba
		netip.MustParseAddr("168.63.129.16"),   // Azure
		netip.MustParseAddr("192.0.0.192"),     // Oracle
	}
}

// check returns nil when ip may be dialled.
func (p policy) check(ip netip.Addr) error {
	ip = plainAddr(ip)
	why := ""
	switch {
	case ip.IsUnspecified() || ip.Is4() && ip.As4()[0] == 0:
		why = "it is unspecified"
	case ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast():
		why = "it is link-local"
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		why = "it is multicast or broadcast"
	case slices.Contains(metadata(), ip):
		why = "it is a cloud metadata service"
	case ip.IsLoopback() && !p.loopback:
		why = "it is loopback and this node is not"
	case len(p.allowed) > 0 && !slices.ContainsFunc(p.allowed, func(n netip.Prefix) bool { return n.Contains(ip) }):
		why = "it is not in allowed address space"
	default:
		return nil
	}
	return muster.Errorf(muster.CodeAddressNotAllowed, "address %s may not be dialled: %s", ip, why)
}

// plainAddr strips the zone and unwraps the IPv4 addresses that IPv6 can carry:
// mapped, behind NAT64 (RFC 6052, RFC 8215), in 6to4 (RFC 3056), and in the form that
// RFC 4291 calls compatible.
func plainAddr(ip netip.Addr) netip.Addr {
	ip = ip.WithZone("").Unmap()
	if !ip.Is6() || ip.IsUnspecified() || ip.IsLoopback() {
		return ip
	}
	b := ip.As16()
	if b[0] == 0x20 && b[1] == 0x02 {
		return netip.AddrFrom4([4]byte(b[2:]))
	}
	for _, prefix := range []string{"64:ff9b::/96", "64:ff9b:1::/48", "::/96"} {
		if netip.MustParsePrefix(prefix).Contains(ip) {
			return netip.AddrFrom4([4]byte(b[12:]))
		}
	}
	return ip
}

// control is the hook of a net.Dialer: it runs after name resolution, before connecting.
func (p policy) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial policy: %w", err)
	}
	return p.check(ap.Addr())
}

// connect opens the TCP connection of a link.
func (l *Link) connect(ctx context.Context, address string) (net.Conn, error) {
	if l.cfg.Dial != nil {
		return l.cfg.Dial(ctx, "tcp", address)
	}
	d := net.Dialer{
		KeepAlive: 15 * time.Second,
		Control:   policy{l.cfg.Loopback, l.cfg.AllowedSpace}.control,
	}
	return d.DialContext(ctx, "tcp", address)
}

// tuneSocket makes the kernel notice a vanished peer, where it is a kernel socket.
// The same timeout ends a connection whose reader has stopped reading, so that links
// with a flow of bytes get more.
func tuneSocket(nc net.Conn, channel Channel) {
	for t, ok := nc.(interface{ NetConn() net.Conn }); ok; t, ok = nc.(interface{ NetConn() net.Conn }) { // *tls.Conn
		nc = t.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		limit := stuckAfter
		if channel == ChannelPacket {
			limit = lostAfter
		}
		setUserTimeout(tcp, limit)
	}
}

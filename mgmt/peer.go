package mgmt

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/musterhq/muster"
)

// clientAddr returns the address of the caller: that of the connection, or, if a
// trusted proxy holds the other end, the nearest hop that is not one of them.
func (a *API) clientAddr(r *http.Request) netip.Addr {
	addr := remoteAddr(r)
	if !a.trusted(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return addr
		}
		if addr = next.Unmap(); !a.trusted(addr) {
			return addr
		}
	}
	return addr
}

func remoteAddr(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}

func (a *API) trusted(addr netip.Addr) bool { return within(a.cfg.TrustedProxies, addr) }

// networkAllowed reports whether the caller is in a network that is answered. A
// caller whose address is not known is in none.
func (a *API) networkAllowed(r *http.Request) bool {
	return len(a.cfg.AllowedNetworks) == 0 || within(a.cfg.AllowedNetworks, a.clientAddr(r))
}

// foreignNetwork counts and logs a caller that is not answered, and is the answer.
func (a *API) foreignNetwork(r *http.Request) error {
	addr := a.clientAddr(r)
	a.metrics.refused(muster.CodeNetworkNotAllowed)
	if _, log := a.failures.take(addr); log {
		a.log.Warn("caller outside the allowed networks", "address", addr.String(), "path", muster.Printable(r.URL.Path))
	}
	return muster.Errorf(muster.CodeNetworkNotAllowed, "this node does not answer %s", addr)
}

func within(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// encrypted reports whether the caller's side of the connection is TLS.
func (a *API) encrypted(r *http.Request) bool {
	return r.TLS != nil || a.trusted(remoteAddr(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
}

package mgmt

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
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

func (a *API) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(a.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// encrypted reports whether the caller's side of the connection is TLS.
func (a *API) encrypted(r *http.Request) bool {
	return r.TLS != nil || a.trusted(remoteAddr(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
}

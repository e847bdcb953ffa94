package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/go-sockaddr/template"

	"github.com/musterhq/muster"
)

// advertiseNone makes a node outbound-only: it calls others, nobody calls it.
const advertiseNone = "none"

// advertised works out the endpoint URL that this node tells others: the given
// value (URL, host:port, host, or a go-sockaddr template), else the bound IP if
// it is a specific one, else the source address of the route to a join endpoint,
// else a private address of this machine. "none" yields "".
func advertised(given string, at port, joins []string) (string, error) {
	if given == advertiseNone {
		return "", nil
	}
	if given != "" {
		return at.given(given)
	}
	ip := at.bound.Addr()
	if ip.IsUnspecified() {
		var err error
		if ip, err = routeTo(joins); err != nil {
			if ip, err = privateAddress(); err != nil {
				return "", err
			}
		}
	}
	return at.endpoint(netip.AddrPortFrom(ip, at.bound.Port()).String()), nil
}

// port is the one port of a node.
type port struct {
	bound  netip.AddrPort
	prefix string // of every path
	secure bool   // TLS is served
}

func (p port) scheme() string {
	if p.secure {
		return "https"
	}
	return "http"
}

func (p port) endpoint(hostport string) string { return p.scheme() + "://" + hostport + p.prefix }

func (p port) given(given string) (string, error) {
	if strings.Contains(given, "{{") {
		out, err := template.Parse(given)
		if err != nil || strings.TrimSpace(out) == "" {
			return "", muster.Errorf(muster.CodeAdvertise, "--mgmt-advertise %q yields no address (%v)", given, err)
		}
		given = strings.TrimSpace(out)
	}
	if !strings.Contains(given, "://") {
		if _, _, err := net.SplitHostPort(given); err != nil {
			given = net.JoinHostPort(strings.Trim(given, "[]"), strconv.Itoa(int(p.bound.Port())))
		}
		given = p.endpoint(given)
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", muster.Errorf(muster.CodeAdvertise, "--mgmt-advertise %q is neither a URL nor host:port", muster.Printable(given))
	}
	if p.secure && u.Scheme == "http" {
		return "", muster.Errorf(muster.CodeAdvertise, "--mgmt-advertise %s says http, and the port speaks TLS", muster.Printable(given)).
			WithFix("write https://")
	}
	return strings.TrimSuffix(u.String(), "/"), usable(u.Hostname(), p.bound.Addr())
}

// usable refuses addresses that other nodes could not dial. Other names than
// localhost pass: the accepting node dials them back and says what it found.
func usable(host string, bound netip.Addr) error {
	ip, err := netip.ParseAddr(host)
	if strings.TrimSuffix(strings.ToLower(host), ".") == "localhost" {
		ip, err = netip.IPv6Loopback(), nil
	}
	if err != nil || !local(ip) || ip.IsLoopback() && bound.IsLoopback() {
		return nil
	}
	return muster.Errorf(muster.CodeAdvertise, "other nodes cannot use the advertised address %s", host).
		WithFix("advertise one that they can reach with --mgmt-advertise; this machine has %s", candidates())
}

// local reports whether an address means nothing on other machines.
func local(ip netip.Addr) bool {
	return ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || ip.IsLoopback()
}

// reachableFrom refuses to join a node on another machine with an address that only
// this machine can use.
func reachableFrom(endpoint string, joins []string) error {
	u, err := url.Parse(endpoint)
	if err != nil || !onLoopback(u.Hostname()) {
		return nil
	}
	for _, join := range joins {
		there, err := url.Parse(join)
		if err != nil {
			continue
		}
		if ip, err := netip.ParseAddr(there.Hostname()); err != nil || ip.IsLoopback() {
			continue // what a name stands for is found out when it is called
		}
		return muster.Errorf(muster.CodeAdvertise, "the join endpoint %s is on another machine, and the advertised address %s can be used on this one only",
			muster.Printable(join), endpoint).
			WithFix("bind to an address of this machine, as in --mgmt-bind 0.0.0.0:%s, or give one with --mgmt-advertise; it has %s", orDefault(u.Port(), "9113"), candidates())
	}
	return nil
}

func onLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

// routeTo returns the source address that this machine would use towards the
// first join endpoint. No packet is sent.
func routeTo(joins []string) (netip.Addr, error) {
	for _, join := range joins {
		u, err := url.Parse(join)
		if err != nil {
			continue
		}
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "udp", net.JoinHostPort(u.Hostname(), "9"))
		if err != nil {
			continue
		}
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		_ = conn.Close() // nothing was sent
		if ok && !local.AddrPort().Addr().IsLoopback() {
			return local.AddrPort().Addr().Unmap(), nil
		}
	}
	return netip.Addr{}, muster.Errorf(muster.CodeAdvertise, "no join endpoint has a route")
}

// privateAddress returns a private address of this machine, IPv4 first: that is
// what the other machines most likely have too.
func privateAddress() (netip.Addr, error) {
	for _, t := range []string{`{{ GetPrivateInterfaces | include "type" "IPv4" | attr "address" }}`, `{{ GetPrivateIP }}`} {
		out, err := template.Parse(t)
		if err != nil {
			continue
		}
		if ip, err := netip.ParseAddr(strings.TrimSpace(out)); err == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, muster.Errorf(muster.CodeAdvertise, "no private address to advertise; candidates: %s", candidates())
}

func candidates() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Sprintf("unknown (%v)", err)
	}
	var list []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !local(p.Addr()) {
			list = append(list, p.Addr().String())
		}
	}
	if len(list) == 0 {
		return "none but loopback"
	}
	return strings.Join(list, ", ")
}

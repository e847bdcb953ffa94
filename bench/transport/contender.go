package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/link"
)

// place is where an endpoint runs.
type place struct {
	ip   string
	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: plainly
	wrap func(net.Listener) net.Listener                                      // nil: not at all
	net  *network                                                             // nil: nothing can be cut
}

// endpoint is one end of a transport.
type endpoint struct {
	memberlist.NodeAwareTransport
	address string // host:port
}

// end shuts down. memberlist's own transport waits until somebody has taken what
// has arrived.
func (e endpoint) end() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.Shutdown() // nobody depends on it any more
	}()
	for {
		select {
		case <-e.PacketCh():
		case <-done:
			return
		}
	}
}

// contender is one of the transports that are compared.
type contender struct {
	name  string
	start func(place) (endpoint, error)
}

const (
	nameNative = "native"
	namePost   = "post"
	nameSealed = "sealed"
	nameTLS    = "sealed+tls"
)

// contenders returns all of them; the first one is what the others are compared with.
func contenders() ([]contender, error) {
	cookie, err := auth.ParseCookie([]byte(auth.NewCookie().Reveal()))
	if err != nil {
		return nil, err
	}
	keys := []link.Key{{ID: cookie.KID(), PSK: cookie.LinkPSK()}}
	secure, err := selfSigned()
	if err != nil {
		return nil, err
	}
	return []contender{
		{nameNative, startNative},
		{namePost, startPost},
		{nameSealed, func(p place) (endpoint, error) { return startSealed(p, keys, nil) }},
		{nameTLS, func(p place) (endpoint, error) { return startSealed(p, keys, secure) }},
	}, nil
}

func startNative(p place) (endpoint, error) {
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{p.ip}, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return endpoint{}, fmt.Errorf("start memberlist's transport: %w", err)
	}
	address := net.JoinHostPort(p.ip, strconv.Itoa(t.GetAutoBindPort()))
	if p.net == nil {
		return endpoint{t, address}, nil
	}
	return endpoint{&severable{t, p}, address}, nil
}

func startSealed(p place, keys []link.Key, secure *tls.Config) (endpoint, error) {
	listener, err := p.listen()
	if err != nil {
		return endpoint{}, err
	}
	t, err := gossip.ListenTransport(gossip.TransportConfig{
		Listener: listener, Keys: keys, TLS: secure, Dial: p.dial,
	})
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{t, listener.Addr().String()}, nil
}

func (p place) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(p.ip, "0"))
	if err != nil || p.wrap == nil {
		return listener, err
	}
	return p.wrap(listener), nil
}

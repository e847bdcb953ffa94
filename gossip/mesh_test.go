package gossip_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/internal/testnet"
	"github.com/musterhq/muster/link"
)

// Handshakes are what a starting cluster spends its time on: no pair may need two.
func TestMembersThatMeetAtOnceShakeHandsOnce(t *testing.T) {
	t.Parallel()
	const members = 12
	synctest.Test(t, func(t *testing.T) {
		network := testnet.New(1)
		network.Delay(time.Millisecond, time.Millisecond)
		registry := prometheus.NewRegistry()
		var all []*gossip.AddressTransport
		for i := range members {
			all = append(all, listenOn(t, network, fmt.Sprintf("10.0.0.%d", i+1), registry))
		}
		for _, from := range all {
			for _, to := range all {
				if from != to {
					sendTo(t, from, to)
				}
			}
		}
		for _, m := range all {
			for range members - 1 {
				arrive(t, m)
			}
		}
		if got, want := dialled(t, registry), members*(members-1)/2; got != want {
			t.Errorf("%d members made %d handshakes, want %d", members, got, want)
		}
		for _, m := range all {
			_ = m.Shutdown() // ends the bubble's goroutines
		}
	})
}

// listenOn starts a transport on a host; all share the counters of a registry.
func listenOn(t *testing.T, network *testnet.Network, host string, registry *prometheus.Registry) *gossip.AddressTransport {
	t.Helper()
	listener, err := network.Listen(host + ":9113")
	if err != nil {
		t.Fatal(err)
	}
	transport, err := gossip.ListenTransport(gossip.TransportConfig{
		Listener: listener, Keys: []link.Key{{ID: "00000001", PSK: [32]byte{1}}},
		Dial:    func(ctx context.Context, _, to string) (net.Conn, error) { return network.Dial(ctx, host, to) },
		Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"host": host}, registry),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := transport.FinalAdvertiseAddr(host, 9113); err != nil {
		t.Fatal(err)
	}
	return transport
}

func sendTo(t *testing.T, from, to *gossip.AddressTransport) {
	t.Helper()
	ip, port, err := to.FinalAdvertiseAddr("", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.WriteTo([]byte("hello"), (&net.TCPAddr{IP: ip, Port: port}).String()); err != nil {
		t.Fatal(err)
	}
}

// dialled returns how many handshakes were begun.
func dialled(t *testing.T, registry *prometheus.Registry) (n int) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "muster_link_handshakes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "direction" && l.GetValue() == "out" {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

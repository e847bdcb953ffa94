package gossip_test

import (
	"context"
	"crypto/ed25519"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// The two benchmarks send packets of 1 KiB one way with 64 under way, one over the
// sealed link and one over memberlist's own UDP transport. Run both in one go:
//
//	go test -run - -bench 'LinkPackets|MemberlistNative' -benchmem ./gossip
const (
	benchPacket = 1 << 10
	benchWindow = 64
)

func BenchmarkLinkPackets(b *testing.B) {
	arrived := make(chan struct{}, 4*benchWindow)
	to := startBenchLink(b, arrived)
	from := startBenchLink(b, nil)
	from.Learn(to.self.ID, to.url)
	measurePackets(b, arrived, func(p []byte) error { return from.Send(to.self.ID, p) })
}

func BenchmarkMemberlistNative(b *testing.B) {
	to, from := startNative(b), startNative(b)
	arrived := make(chan struct{}, 4*benchWindow)
	done := make(chan struct{})
	b.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-to.PacketCh():
				countPackets(arrived).Packet("", nil)
			case <-done:
				return
			}
		}
	}()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(to.GetAutoBindPort()))
	measurePackets(b, arrived, func(p []byte) error {
		_, err := from.WriteTo(p, address)
		return err
	})
}

// measurePackets sends b.N packets and keeps benchWindow of them under way. A packet
// that does not arrive within 100 ms counts as lost and its place is used again.
func measurePackets(b *testing.B, arrived <-chan struct{}, send func([]byte) error) {
	b.Helper()
	p, lost := make([]byte, benchPacket), 0
	wait := func(limit time.Duration) bool {
		select {
		case <-arrived:
			return true
		default:
		}
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-arrived:
			return true
		case <-timer.C:
			return false
		}
	}
	if err := send(p); err != nil || !wait(5*time.Second) { // opens the connection
		b.Fatalf("the first packet did not arrive: %v", err)
	}
	b.SetBytes(benchPacket)
	b.ReportAllocs()
	b.ResetTimer()
	underWay := 0
	for range b.N {
		for underWay >= benchWindow {
			if !wait(100 * time.Millisecond) {
				lost += underWay
				underWay = 0
				break
			}
			underWay--
		}
		if err := send(p); err != nil {
			b.Fatal(err)
		}
		underWay++
	}
	for underWay > 0 && wait(100*time.Millisecond) {
		underWay--
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N-lost)/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric(float64(lost+underWay), "lost")
}

type benchLink struct {
	*link.Link
	self link.Self
	url  string
}

// countPackets signals each packet. It never blocks, as a Receiver must not.
type countPackets chan struct{}

func (c countPackets) Packet(muster.NodeID, []byte) {
	select {
	case c <- struct{}{}:
	default: // a straggler that has been counted as lost
	}
}

func (c countPackets) Stream(_ muster.NodeID, nc net.Conn) { _ = nc.Close() }

func startBenchLink(b *testing.B, arrived chan struct{}) benchLink {
	b.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	self := link.Self{ID: muster.NodeIDOf(pub), Key: key, Name: "bench", Boot: muster.Boot{Counter: 1, Random: 1}}
	cfg := link.Config{
		Self: self, Loopback: true,
		Keys: func() []link.Key { return []link.Key{{ID: "00000000"}} },
	}
	if arrived != nil {
		cfg.Receiver = countPackets(arrived)
	}
	l, err := link.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(link.Path, l)
	srv := httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-ended
		srv.Close()
	})
	return benchLink{l, self, srv.URL}
}

func startNative(b *testing.B) *memberlist.NetTransport {
	b.Helper()
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{"127.0.0.1"}, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = t.Shutdown() })
	return t
}

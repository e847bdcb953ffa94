package gossip_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/link"
)

func listen(t *testing.T, address string, psk byte) *gossip.AddressTransport {
	t.Helper()
	transport, err := gossip.ListenTransport(gossip.TransportConfig{
		Listen: address, Keys: []link.Key{{ID: "0000000" + string('0'+rune(psk)), PSK: [32]byte{psk}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Shutdown() })
	return transport
}

// advertised returns what memberlist would advertise.
func advertised(t *testing.T, transport *gossip.AddressTransport) string {
	t.Helper()
	ip, port, err := transport.FinalAdvertiseAddr("", 0)
	if err != nil {
		t.Fatal(err)
	}
	return (&net.TCPAddr{IP: ip, Port: port}).String()
}

func arrive(t *testing.T, transport *gossip.AddressTransport) *memberlist.Packet {
	t.Helper()
	select {
	case p := <-transport.PacketCh():
		return p
	case <-time.After(10 * time.Second):
		t.Fatal("no packet within 10 s")
		return nil
	}
}

func TestAddressTransportCarriesPacketsBothWays(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "127.0.0.1:0", 1), listen(t, "127.0.0.1:0", 1)
	if _, err := a.WriteTo([]byte("ping"), advertised(t, b)); err != nil {
		t.Fatal(err)
	}
	got := arrive(t, b)
	if string(got.Buf) != "ping" {
		t.Errorf("arrived %q", got.Buf)
	}
	if _, err := b.WriteTo([]byte("pong"), got.From.String()); err != nil {
		t.Fatal(err)
	}
	if got := arrive(t, a); string(got.Buf) != "pong" {
		t.Errorf("came back %q", got.Buf)
	}
}

func TestAddressTransportOpensStreamsByURL(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "127.0.0.1:0", 1), listen(t, "127.0.0.1:0", 1)
	conn, err := a.DialTimeout(a.Join(b.Endpoint()), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = conn.Write([]byte("hello")) // what arrives tells
		_ = conn.Close()
	}()
	select {
	case in := <-b.StreamCh():
		if got, err := io.ReadAll(in); string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
		_ = in.Close()
	case <-time.After(10 * time.Second):
		t.Fatal("no stream within 10 s")
	}
}

// TestUnreachableAddressIsABareOpError: memberlist looks for the type with an
// assertion, and suspects nobody for any other.
func TestUnreachableAddressIsABareOpError(t *testing.T) {
	t.Parallel()
	gone := listen(t, "127.0.0.1:0", 1)
	address := advertised(t, gone)
	if err := gone.Shutdown(); err != nil {
		t.Fatal(err)
	}
	a := listen(t, "127.0.0.1:0", 1)
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := a.WriteTo([]byte("ping"), address)
		if op, ok := err.(*net.OpError); ok && op.Op == "dial" && op.Net == "tcp" { //nolint:errorlint // as memberlist does it
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("memberlist is told %T %v", err, err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAddressTransportRefusesOtherCookie(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "127.0.0.1:0", 1), listen(t, "127.0.0.1:0", 2)
	_, err := a.DialTimeout(advertised(t, b), 10*time.Second)
	if code := muster.CodeOf(err); code != muster.CodeCookieMismatch {
		t.Errorf("code %q: %v", code, err)
	}
}

func TestSuccessorAtSameAddressIsMetAnew(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "127.0.0.1:0", 1), listen(t, "127.0.0.1:0", 1)
	address := advertised(t, b)
	if _, err := a.WriteTo([]byte("one"), address); err != nil {
		t.Fatal(err)
	}
	arrive(t, b)
	if err := b.Shutdown(); err != nil {
		t.Fatal(err)
	}
	successor := listen(t, address, 1)
	deadline := time.Now().Add(10 * time.Second)
	for len(successor.PacketCh()) == 0 {
		_, err := a.WriteTo([]byte("two"), address)
		if _, bare := err.(*net.OpError); err != nil && !bare { //nolint:errorlint // as memberlist does it
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing reaches the successor")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestListenTransportSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := gossip.ListenTransport(gossip.TransportConfig{}); muster.CodeOf(err) != muster.CodeCookieMissing {
		t.Errorf("without a key: %v", err)
	}
	everywhere := listen(t, "0.0.0.0:0", 1)
	if _, _, err := everywhere.FinalAdvertiseAddr("", 0); err == nil {
		t.Error("advertises 0.0.0.0")
	}
	if ip, port, err := everywhere.FinalAdvertiseAddr("192.0.2.1", 9113); err != nil || everywhere.Endpoint() != "http://192.0.2.1:9113" {
		t.Errorf("advertises %v:%d (%s), %v", ip, port, everywhere.Endpoint(), err)
	}
	if err := everywhere.Shutdown(); err != nil {
		t.Error(err)
	}
	if _, err := everywhere.WriteTo([]byte("late"), "192.0.2.2:1"); !errors.As(err, new(*net.OpError)) {
		t.Errorf("after shutdown: %v", err)
	}
}

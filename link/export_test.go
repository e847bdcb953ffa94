package link

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/musterhq/muster"
)

// Names for the tests in package link_test.
var (
	ParseHead   = func(b []byte) (length, size int, err error) { h, n, err := parseHead(b); return h.length, n, err }
	ParseNoise  = parseNoise
	CutFrame    = cutFrame
	CutRecord   = cutRecord
	AppendHead  = appendFrameHead
	CheckHello  = func(b, signed []byte) error { _, err := decodeHello(b, signed); return err }
	EncodeHello = encodeHello
	SignedBytes = signedBytes
	ReadRefusal = decodeRefusal
	AcceptKey   = acceptKey
)

// Limits for the tests.
const (
	MaxRecord       = maxRecord
	MaxPayload      = maxPayload
	MaxQueuePackets = maxQueuePackets
	MaxUnconfirmed  = maxUnconfirmed
)

// CheckAddress is the dial policy.
func CheckAddress(loopback bool, allowed []netip.Prefix, ip netip.Addr) error {
	return policy{loopback, allowed}.check(ip)
}

// Socket is the bare WebSocket codec.
type Socket struct{ s *socket }

// NewSocket makes a codec on a connection.
func NewSocket(nc net.Conn, br *bufio.Reader, client bool) Socket {
	return Socket{&socket{
		nc: nc, br: br, client: client, max: maxMessage,
		take:    func(n int) []byte { return make([]byte, n) },
		control: func(byte, []byte) error { return nil },
	}}
}

// Next reads a message.
func (s Socket) Next() ([]byte, error) { return s.s.next() }

// Send writes a binary message.
func (s Socket) Send(b []byte) error {
	_, err := s.s.nc.Write(appendFrame(nil, opBinary, s.s.client, b))
	return err
}

// OpenRaw opens an rpc link and returns its bytes.
func (l *Link) OpenRaw(ctx context.Context, to muster.NodeID) (net.Conn, error) {
	return l.openStream(ctx, to, ChannelRPC)
}

// Forger holds the cookie of a cluster and lies about who it is.
type Forger struct {
	L      *Link
	Hello  func(honest []byte) []byte // what it says instead
	Append []byte                     // frames that it sends right behind
}

// Dial performs a client's handshake with a forged HELLO and returns the answer.
func (f Forger) Dial(ctx context.Context, endpoint string, target muster.NodeID, channel Channel) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	h := handshake{channel: channel, key: f.L.cfg.Keys()[0], target: target}
	s, err := f.L.upgradeClient(nc, u, h)
	if err != nil {
		return err
	}
	if _, err := s.readRecord(); err != nil {
		return err
	}
	hello, err := encodeHello(f.L.cfg.Self, f.L.cfg.Facts(), signedBytes(roleClient, channel, s.binding))
	if err != nil {
		return err
	}
	hello = f.Hello(hello)
	out := append(appendFrameHead(nil, frameHello, len(hello)), hello...)
	if err := s.write(append(out, f.Append...)); err != nil {
		return err
	}
	return readVerdict(&conn{session: s})
}

// ServeForged answers links on nc with the HELLO that forge makes of the honest one.
func ServeForged(l *Link, forge func([]byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, status, why := l.checkUpgrade(r)
		if why != nil {
			w.WriteHeader(status)
			return
		}
		nc, _, err := hijack(w)
		if err != nil {
			return
		}
		defer nc.Close()
		s := l.newSession(nc, bufio.NewReader(nc), up.channel, false)
		m2, first, second, _ := up.noise.WriteMessage(nil, nil)
		s.setKeys(up.noise, first, second)
		hello, _ := encodeHello(l.cfg.Self, l.cfg.Facts(), signedBytes(roleServer, up.channel, s.binding))
		hello = forge(hello)
		out := []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " +
			up.accept + "\r\nSec-WebSocket-Protocol: " + up.channel.protocol() + "\r\n\r\n")
		out = appendFrame(out, opBinary, false, m2)
		out, _ = s.appendRecord(out, appendFrameHead(nil, frameHello, len(hello)), hello)
		_, _ = nc.Write(out)
		_, _ = s.readRecord()
	})
}

// Sign makes a signature as a HELLO carries it.
func Sign(key ed25519.PrivateKey, role string, channel Channel, binding []byte) []byte {
	return ed25519.Sign(key, signedBytes(role, channel, binding))
}

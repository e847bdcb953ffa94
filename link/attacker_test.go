package link_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flynn/noise"
	"github.com/musterhq/muster/link"
)

// wire is a peer made by hand: it shares no code with the product, so that it can
// say whatever it likes. It is one end of one
// connection, the client unless it says otherwise.
type wire struct {
	t       testing.TB
	nc      net.Conn
	br      *bufio.Reader
	out, in *noise.CipherState
	binding []byte
	hello   []byte // of the other side
	serving bool   // it is the server of its connection: frames go out unmasked and come masked
}

// open connects to a node and sends nothing yet.
func open(t testing.TB, url string) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t: t, nc: nc, br: bufio.NewReader(nc)}
}

// noiseOf starts one side of the handshake.
func noiseOf(t testing.TB, client bool, key link.Key, channel string) *noise.HandshakeState {
	t.Helper()
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256),
		Pattern:     noise.HandshakeNN, Initiator: client,
		Prologue: []byte("muster-link\x00\x01" + channel), PresharedKey: key.PSK[:],
	})
	if err != nil {
		t.Fatal(err)
	}
	return hs
}

// firstMessage returns the value of a Muster-Noise header with this opening.
func firstMessage(t testing.TB, hs *noise.HandshakeState, key link.Key, opening string) string {
	t.Helper()
	m1, _, _, err := hs.WriteMessage(nil, []byte(opening))
	if err != nil {
		t.Fatal(err)
	}
	return "v=1;k=" + key.ID + ";m=" + base64.RawURLEncoding.EncodeToString(m1)
}

func openingOf(channel string, target any) string {
	return fmt.Sprintf(`{"role":"client","channel":%q,"target":%q}`, channel, target)
}

// request is an upgrade as it should be, with further header lines.
func request(channel, header string, more ...string) string {
	lines := append([]string{
		"GET " + link.Path + " HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: muster." + channel + ".v1", "Muster-Noise: " + header,
	}, more...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// write sends bytes as they are.
func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		w.t.Logf("write: %v", err) // the node may have had enough
	}
}

// answer reads the response to a request.
func (w *wire) answer() *http.Response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.br, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// knock shakes hands as far as the server's HELLO, and verifies nothing.
func knock(t testing.TB, url, channel string, target any) *wire {
	t.Helper()
	w := open(t, url)
	w.shake(channel, openingOf(channel, target))
	return w
}

// shake sends a request with an opening and reads on to the server's HELLO.
func (w *wire) shake(channel, opening string) {
	w.t.Helper()
	key := keyOf("secret")
	hs := noiseOf(w.t, true, key, channel)
	w.write([]byte(request(channel, firstMessage(w.t, hs, key, opening))))
	if resp := w.answer(); resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("answer %s, want 101", resp.Status)
	}
	_, m2 := w.message()
	_, first, second, err := hs.ReadMessage(nil, m2)
	if err != nil {
		w.t.Fatal(err)
	}
	w.out, w.in, w.binding = first, second, hs.ChannelBinding()
	kind, hello := w.frame()
	if kind != 16 {
		w.t.Fatalf("the server's first frame is of type %d, want its hello", kind)
	}
	w.hello = hello
}

// introduce sends an honest HELLO and expects to be accepted.
func (w *wire) introduce(channel string, self link.Self, edits ...func(map[string]any)) {
	w.t.Helper()
	w.record(frameOf(16, helloOf(self, channel, w.binding, edits...)))
	if kind, body := w.frame(); kind != 17 {
		w.t.Fatalf("verdict %d %s, want accept", kind, body)
	}
}

// enter shakes hands as an honest node.
func enter(t testing.TB, n *node, channel string, self link.Self) *wire {
	t.Helper()
	w := knock(t, n.url, channel, n.self.ID)
	w.introduce(channel, self)
	return w
}

// enterVirtual is enter on a network in memory.
func enterVirtual(t testing.TB, nw *network, n *node, self link.Self) *wire {
	t.Helper()
	nc, err := nw.dial(t.Context(), "tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, nc: nc, br: bufio.NewReader(nc)}
	w.shake("packet", openingOf("packet", n.self.ID))
	w.introduce("packet", self)
	return w
}

// helloOf is an honest client's HELLO; edits may make it another.
func helloOf(self link.Self, channel string, binding []byte, edits ...func(map[string]any)) []byte {
	m := map[string]any{
		"id": self.ID, "key": []byte(self.Key.Public().(ed25519.PublicKey)), "boot": self.Boot, "name": self.Name,
		"versions": []int{1, 1}, "role": "voter",
		"sig": ed25519.Sign(self.Key, append([]byte("muster-link-1\x00client\x00"+channel+"\x00"), binding...)),
	}
	for _, edit := range edits {
		edit(m)
	}
	b, _ := json.Marshal(m)
	return b
}

func frameOf(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// webFrame is a WebSocket frame with any first byte, masked or not.
func webFrame(first byte, masked bool, payload []byte) []byte {
	b := []byte{first, byte(min(len(payload), 126))}
	if len(payload) >= 126 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	key := []byte{1, 2, 3, 4}
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// record seals frames into one record and sends it.
func (w *wire) record(frames []byte) {
	w.t.Helper()
	sealed, err := w.out.Encrypt(nil, nil, frames)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(webFrame(0x82, !w.serving, sealed))
}

// next reads one WebSocket frame of the server.
func (w *wire) next() (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(w.br, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[1] & 0x7F)
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(w.br, long[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	}
	var key [4]byte
	if w.serving {
		if _, err := io.ReadFull(w.br, key[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(w.br, payload)
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return head[0] & 0x0F, payload, err
}

// message reads on to a binary frame or a close.
func (w *wire) message() (op byte, payload []byte) {
	w.t.Helper()
	for {
		op, payload, err := w.next()
		if err != nil {
			w.t.Fatalf("no message: %v", err)
		}
		if op == 2 || op == 8 {
			return op, payload
		}
	}
}

// frame reads one record with one frame.
func (w *wire) frame() (kind byte, body []byte) {
	w.t.Helper()
	op, sealed := w.message()
	if op != 2 {
		w.t.Fatalf("closed with %x, want a record", sealed)
	}
	plain, err := w.in.Decrypt(nil, nil, sealed)
	if err != nil || len(plain) < 4 {
		w.t.Fatalf("record of %d bytes: %v", len(plain), err)
	}
	return plain[0], plain[4:]
}

// ending reads to the end of the connection and returns the close code, 0 if there was none.
func (w *wire) ending() int {
	w.t.Helper()
	code := 0
	for {
		op, payload, err := w.next()
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			w.t.Fatal("the connection was not closed")
		}
		if err != nil {
			return code
		}
		if op == 8 && len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
	}
}

// data sends bytes on a stream or rpc channel.
func (w *wire) data(text string) { w.record(frameOf(5, []byte(text))) }

// reply reads an rpc answer from data frames.
func (w *wire) reply() *http.Response {
	w.t.Helper()
	pr, pw := io.Pipe()
	w.t.Cleanup(func() { _ = pr.Close() })
	go func() {
		for {
			op, sealed, err := w.next()
			if err != nil || op == 8 {
				_ = pw.CloseWithError(io.EOF)
				return
			}
			if op != 2 {
				continue
			}
			plain, err := w.in.Decrypt(nil, nil, sealed)
			if err != nil {
				_ = pw.CloseWithError(err)
				return
			}
			if _, err := io.Copy(pw, bytes.NewReader(plain[4:])); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(pr), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// untouched fails if anything outside the connection has happened at a node.
func untouched(t testing.TB, n *node) {
	t.Helper()
	if ups, links, packets, streams, alarms := len(n.ups), len(n.Links()), len(n.in.packets), len(n.in.streams), n.seenAlarms(); ups+links+packets+streams+len(alarms) != 0 {
		t.Errorf("effects: %d ups, %d links, %d packets, %d streams, alarms %v", ups, links, packets, streams, alarms)
	}
}

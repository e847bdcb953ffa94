package link_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/musterhq/muster/link"
)

// answerer is the other end of a wire: a hand-made node that is dialled.
type answerer struct {
	*wire
	opening struct{ Channel, Target, Token string }
}

// answerTo serves one connection as an honest node would, up to the accept.
func answerTo(t testing.TB, nc net.Conn, self link.Self, endpoint string) *answerer {
	t.Helper()
	a := &answerer{wire: &wire{t: t, nc: nc, br: bufio.NewReader(nc), serving: true}}
	req, err := http.ReadRequest(a.br)
	if err != nil {
		t.Errorf("no request: %v", err)
		return nil
	}
	channel := strings.TrimSuffix(strings.TrimPrefix(req.Header.Get("Sec-WebSocket-Protocol"), "muster."), ".v1")
	_, text, _ := strings.Cut(req.Header.Get("Muster-Noise"), ";m=")
	m1, _ := base64.RawURLEncoding.DecodeString(text)
	hs := noiseOf(t, false, keyOf("secret"), channel)
	payload, _, _, err := hs.ReadMessage(nil, m1)
	if err != nil || json.Unmarshal(payload, &a.opening) != nil {
		t.Errorf("message 1: %v", err)
		return nil
	}
	m2, first, second, _ := hs.WriteMessage(nil, nil)
	a.in, a.out, a.binding = first, second, hs.ChannelBinding()
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	a.write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\nSec-WebSocket-Protocol: muster." + channel + ".v1\r\n\r\n"))
	a.write(webFrame(0x82, false, m2))
	signed := append([]byte("muster-link-1\x00server\x00"+channel+"\x00"), a.binding...)
	a.record(frameOf(16, helloOf(self, channel, nil, func(m map[string]any) {
		m["sig"] = ed25519.Sign(self.Key, signed)
		if endpoint != "" {
			m["endpoint"] = endpoint
		}
	})))
	a.hello = a.frameBody(16)
	a.record(frameOf(17, nil))
	return a
}

// frameBody reads a frame of one type.
func (a *answerer) frameBody(want byte) []byte {
	a.t.Helper()
	kind, body := a.frame()
	if kind != want {
		a.t.Errorf("frame %d %s, want type %d", kind, body, want)
	}
	return body
}

// serveAt makes a hand-made node that passes every connection on to serve.
func serveAt(t *testing.T, self link.Self, serve func(*answerer)) (url string) {
	t.Helper()
	ready := make(chan struct{})
	url = listen(t, func(nc net.Conn) {
		<-ready
		if a := answerTo(t, nc, self, url); a != nil {
			serve(a)
		}
	})
	close(ready)
	return url
}

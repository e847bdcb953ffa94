package link

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/flynn/noise"
	"github.com/musterhq/muster"
)

// handshake is what one side knows of a connection before the HELLOs.
type handshake struct {
	channel Channel
	key     Key
	target  muster.NodeID // the node that the client wants; empty = whoever answers
	token   string        // of a dial-back; empty = it comes of its own accord
	noise   *noise.HandshakeState
}

// upgrade is a request for a link whose headers and first message are in order.
type upgrade struct {
	handshake
	accept string // Sec-WebSocket-Accept
}

// ServeHTTP answers a request for a link. Mount it at Path, without middleware that
// buffers, times out or compresses.
func (l *Link) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	_ = l.awaitRun(ctx) // a node that starts: enter decides
	if !l.enter() {
		clearText(w, http.StatusServiceUnavailable, muster.Errorf(muster.CodeDraining, "this node is starting or shutting down"))
		return
	}
	defer l.tasks.Done()
	up, status, err := l.checkUpgrade(r)
	if err != nil {
		l.refuseUpgrade(w, r, status, err)
		return
	}
	nc, ahead, herr := hijack(w)
	if herr != nil {
		clearText(w, http.StatusBadRequest, muster.Errorf(muster.CodeBadRequest, "links need HTTP/1.1"))
		return
	}
	tuneSocket(nc, up.channel)
	br := bufio.NewReaderSize(nc, 4096)
	if len(ahead) > 0 {
		br = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(ahead), nc), 4096)
	}
	s := l.newSession(nc, br, up.channel, false)
	if !l.spawn(func() { l.accept(s, up) }) { // not here: the server's buffers are free when we return
		s.closeWith(errShutdown)
	}
}

// hijack takes the connection over, with the bytes that were read ahead.
func hijack(w http.ResponseWriter) (net.Conn, []byte, error) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	ahead, _ := rw.Reader.Peek(rw.Reader.Buffered()) // never more than is buffered
	_ = nc.SetDeadline(time.Time{})                  // the server's own deadlines still run
	return nc, bytes.Clone(ahead), nil
}

// checkUpgrade returns the request's opening or what to answer instead.
func (l *Link) checkUpgrade(r *http.Request) (upgrade, int, *muster.Error) {
	if len(r.Header.Values("Origin")) > 0 { // an empty one, too: no node sends it
		return upgrade{}, http.StatusForbidden, muster.Errorf(muster.CodeCrossSite, "links are for nodes, not for browsers")
	}
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return upgrade{}, http.StatusUpgradeRequired, muster.Errorf(muster.CodeUpgradeStripped,
			"this is the link between muster nodes and the request came without Upgrade: websocket; a proxy between us removed it")
	}
	channel, err := checkHeaders(r)
	if err != nil {
		return upgrade{}, http.StatusBadRequest, muster.Errorf(muster.CodeBadRequest, "%w", err)
	}
	kid, m1, err := parseNoise(r.Header.Values("Muster-Noise"))
	if err != nil {
		return upgrade{}, http.StatusBadRequest, muster.Errorf(muster.CodeBadRequest, "Muster-Noise: %w", err)
	}
	return l.checkOpening(upgrade{
		handshake: handshake{channel: channel, key: Key{ID: kid}},
		accept:    acceptKey(r.Header.Get("Sec-WebSocket-Key")),
	}, m1)
}

// checkOpening opens message 1 with the key it names.
func (l *Link) checkOpening(up upgrade, m1 []byte) (upgrade, int, *muster.Error) {
	keys := l.cfg.Keys()
	mismatch := muster.Errorf(muster.CodeCookieMismatch, "a muster node that accepts %s, not %s: cookie rotated, or another cluster",
		kids(keys), up.key.ID)
	key, ok := findKey(keys, up.key.ID)
	if since, retired := l.retired(up.key.ID); !ok && retired {
		return upgrade{}, http.StatusUnauthorized, muster.Errorf(muster.CodeCookieRetired,
			"the cookie %s was dropped at %s; accepted are %s", up.key.ID, since.UTC().Format(time.RFC3339), kids(keys))
	}
	if !ok {
		return upgrade{}, http.StatusUnauthorized, mismatch
	}
	up.key = key
	var err error
	if up.noise, err = newHandshake(false, up.channel, key); err != nil {
		return upgrade{}, http.StatusServiceUnavailable, muster.Errorf(muster.CodeInternal, "%w", err)
	}
	o, err := readOpening(up.noise, m1)
	if err != nil {
		return upgrade{}, http.StatusUnauthorized, mismatch
	}
	if o.Role != roleClient || o.Channel != up.channel || o.Target == "" && !l.answersFor(o.Channel) {
		return upgrade{}, http.StatusBadRequest, muster.Errorf(muster.CodeBadRequest, "message 1 does not fit the request")
	}
	if !l.seen.first(up.noise.PeerEphemeral(), time.Now()) {
		return upgrade{}, http.StatusBadRequest, muster.Errorf(muster.CodeBadRequest, "message 1 was seen before")
	}
	up.target, up.token = muster.NodeID(o.Target), o.Token
	return up, 0, nil
}

// answersFor reports whether a link of a channel need not name the node it wants.
func (l *Link) answersFor(c Channel) bool {
	return c == ChannelRPC || c == ChannelPacket && l.cfg.AnyTarget
}

func (l *Link) retired(kid string) (time.Time, bool) {
	if l.cfg.Retired == nil {
		return time.Time{}, false
	}
	return l.cfg.Retired(kid)
}

func findKey(keys []Key, kid string) (Key, bool) {
	for _, k := range keys {
		if k.ID == kid {
			return k, true
		}
	}
	return Key{}, false
}

// kids lists key ids as [a, b].
func kids(keys []Key) string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	return "[" + strings.Join(ids, ", ") + "]"
}

// checkHeaders checks the WebSocket headers and returns the channel.
func checkHeaders(r *http.Request) (Channel, error) {
	channel, known := channelOf(r.Header.Get("Sec-WebSocket-Protocol"))
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor != 1:
		return "", errors.New("want GET over HTTP/1.1")
	case r.ContentLength != 0:
		return "", errors.New("the request has a body")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return "", errors.New("want Sec-WebSocket-Version: 13")
	case err != nil || len(key) != 16:
		return "", errors.New("Sec-WebSocket-Key is malformed")
	case !known:
		return "", errors.New("Sec-WebSocket-Protocol is none of muster.packet.v1, muster.stream.v1, muster.rpc.v1")
	}
	return channel, nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// maxNoiseHeader bounds the Muster-Noise header.
const maxNoiseHeader = 512

// parseNoise reads the value of the one Muster-Noise header.
func parseNoise(values []string) (kid string, m1 []byte, err error) {
	if len(values) != 1 || len(values[0]) > maxNoiseHeader {
		return "", nil, fmt.Errorf("want one header of at most %d bytes", maxNoiseHeader)
	}
	fields := strings.Split(values[0], ";")
	if len(fields) != 3 || fields[0] != "v=1" {
		return "", nil, errors.New("want v=1;k=KEYID;m=MESSAGE")
	}
	kid, isKID := strings.CutPrefix(fields[1], "k=")
	text, isM := strings.CutPrefix(fields[2], "m=")
	if !isKID || !isM || !isKeyID(kid) {
		return "", nil, errors.New("want v=1;k=KEYID;m=MESSAGE")
	}
	m1, err = base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(m1) < 48 {
		return "", nil, errors.New("the message is malformed")
	}
	return kid, m1, nil
}

func isKeyID(s string) bool {
	return len(s) == 8 && strings.Trim(s, "0123456789abcdef") == ""
}

// accept finishes the handshake on a hijacked connection and serves the channel.
func (l *Link) accept(s *session, up upgrade) {
	done, ok := l.fresh.add(s)
	if !ok {
		s.closeWith(errShutdown)
		return
	}
	c, err := l.greetClient(s, up)
	done()
	if err != nil {
		l.metrics.refused(up.channel, true, err)
		l.log.Debug("incoming link ended before it was up", "remote", s.nc.RemoteAddr().String(), "error", err)
		s.closeWith(err)
		return
	}
	if err := l.welcome(c, up); err != nil {
		l.metrics.refused(up.channel, true, err)
		l.log.Info("refused an incoming link", "peer", c.hello.ID, "name", c.hello.Name, "channel", c.channel, "error", err)
		s.closeWith(err)
		return
	}
	switch {
	case c.token == "":
		l.serve(c)
	case !l.back.deliver(c):
		c.closeWith(errDropped)
	}
}

// greetClient sends the answer with message 2 and our HELLO, and verifies the client's.
func (l *Link) greetClient(s *session, up upgrade) (*conn, error) {
	_ = s.nc.SetDeadline(time.Now().Add(helloLimit)) // a closed connection shows at once
	m2, first, second, err := up.noise.WriteMessage(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("write message 2: %w", err)
	}
	s.setKeys(up.noise, first, second)
	out := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", up.accept, up.channel.protocol())
	out = appendFrame(out, opBinary, false, m2)
	hello, err := encodeHello(l.cfg.Self, l.cfg.Facts(), signedBytes(roleServer, up.channel, s.binding))
	if err != nil {
		return nil, err
	}
	if out, err = s.appendRecord(out, appendFrameHead(nil, frameHello, len(hello)), hello); err != nil {
		return nil, err
	}
	if err := s.locked(func() error { return s.flush(out) }); err != nil {
		return nil, err
	}
	return l.readClientHello(s, up)
}

// readClientHello reads the client's first record: its HELLO, and a REFUSE if it
// does not want us after all.
func (l *Link) readClientHello(s *session, up upgrade) (*conn, error) {
	rec, err := s.readRecord()
	if err != nil {
		return nil, err
	}
	kind, body, rest, err := cutFrame(rec)
	if err != nil || kind != frameHello {
		return nil, errors.New("the first record is no hello")
	}
	hello, err := decodeHello(body, signedBytes(roleClient, up.channel, s.binding))
	if err != nil {
		return nil, err
	}
	c := l.newConn(s, hello, up.handshake)
	if kind, body, _, err := cutFrame(rest); err == nil && kind == frameRefuse {
		refused := decodeRefusal(body)
		_ = l.admit(c, "", c.remote) // our gate and our alarms see the peer too; it is no target of ours
		return nil, refused
	}
	return c, nil
}

// welcome asks the gate and tells the client.
func (l *Link) welcome(c *conn, up upgrade) error {
	_ = c.nc.SetDeadline(time.Now().Add(2 * helloLimit)) // a closed connection shows at once
	if up.target != "" && up.target != l.cfg.Self.ID {
		err := muster.Errorf(muster.CodeWrongTarget, "this is %s (%s), not %s", l.cfg.Self.Name, l.cfg.Self.ID, muster.Printable(string(up.target)))
		return l.refuse(c, err)
	}
	where := c.hello.Endpoint
	if where == "" {
		where = c.remote
	}
	if err := l.admit(c, "", where); err != nil {
		return l.refuse(c, err)
	}
	if err := c.write(appendFrameHead(nil, frameAccept, 0)); err != nil {
		return err
	}
	return l.establish(c)
}

// refuse tells the peer why not.
func (l *Link) refuse(c *conn, why *muster.Error) error {
	body, err := encodeRefusal(why)
	if err != nil {
		return err
	}
	_ = c.write(append(appendFrameHead(nil, frameRefuse, len(body)), body...)) // why is what counts
	return why
}

// serve hands an established incoming link to its channel.
func (l *Link) serve(c *conn) {
	switch c.channel {
	case ChannelPacket:
		l.servePackets(c)
	case ChannelStream:
		l.deliverStream(c)
	case ChannelRPC:
		l.rpc.deliver(c)
	}
}

package link

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// destination is what to dial.
type destination struct {
	endpoint string
	target   muster.NodeID // empty = whoever answers
	channel  Channel
	token    string // of a dial-back that we were asked for
}

// attempt is one try to open a link.
type attempt struct {
	destination
	url   *url.URL
	key   Key
	begun time.Time
}

// dial opens a link. The result has been admitted by both sides. Every error is a
// *muster.Error.
func (l *Link) dial(ctx context.Context, to destination) (*conn, error) {
	c, err := l.dialOnce(ctx, to)
	if err != nil {
		why := unreachable(to.endpoint, err)
		l.metrics.refused(to.channel, false, why)
		l.log.Debug("could not open a link", "endpoint", to.endpoint, "channel", to.channel, "error", why)
		return nil, why
	}
	return c, nil
}

func (l *Link) dialOnce(ctx context.Context, to destination) (*conn, error) {
	u, err := parseEndpoint(to.endpoint)
	if err != nil {
		return nil, err
	}
	keys := l.cfg.Keys()
	if len(keys) == 0 {
		return nil, muster.Errorf(muster.CodeCookieMissing, "this node has no cookie")
	}
	if err := l.awaitRun(ctx); err != nil {
		return nil, err
	}
	if !l.enter() {
		return nil, muster.Errorf(muster.CodePeerUnreachable, "%s: %w", to.endpoint, errShutdown)
	}
	defer l.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	begun := time.Now()
	nc, err := l.connect(ctx, hostPort(u))
	if err != nil {
		return nil, err
	}
	tuneSocket(nc, to.channel)
	return l.handshakeWithin(ctx, nc, attempt{to, u, keys[0], begun})
}

// hostPort returns the address to dial for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// slot waits for its turn to shake hands. The slots keep a node that meets many
// others at once from computing for all of them at the same time; a peer that does
// not answer holds one for a short time only.
func (l *Link) slot(ctx context.Context) (func(), error) {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := sync.OnceFunc(func() { <-l.slots })
	timer := time.AfterFunc(slotLimit, release)
	return func() {
		timer.Stop()
		release()
	}, nil
}

// handshakeWithin takes nc over: it becomes the returned link or is closed.
func (l *Link) handshakeWithin(ctx context.Context, nc net.Conn, a attempt) (*conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() }) // unblocks whatever is under way
	defer stop()
	release, err := l.slot(ctx)
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("wait for other handshakes: %w", err)
	}
	defer release()
	c, err := l.clientHandshake(ctx, nc, a)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if _, told := errors.AsType[*muster.Error](err); !told && err != nil && ctx.Err() != nil {
		err = fmt.Errorf("handshake: %w", ctx.Err()) // says more than "use of closed connection"
	}
	if err != nil {
		_ = nc.Close()
		if c != nil {
			c.closeWith(err)
		}
		return nil, err
	}
	return c, nil
}

func (l *Link) clientHandshake(ctx context.Context, nc net.Conn, a attempt) (*conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline) // a closed connection shows at once
	}
	if a.url.Scheme == "https" {
		secure := tls.Client(nc, l.tlsConfig(a.url.Hostname()))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc = secure
	}
	h := handshake{channel: a.channel, key: a.key, target: a.target, token: a.token, begun: a.begun}
	s, err := l.upgradeClient(nc, a.url, h)
	if err != nil {
		return nil, err
	}
	c, err := l.meetServer(s, h, a.endpoint)
	if err != nil {
		s.closeWith(err)
		return nil, err
	}
	return c, l.establish(c)
}

func (l *Link) tlsConfig(host string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.cfg.TLS != nil {
		c = l.cfg.TLS.Clone()
	}
	if l.cfg.Roots != nil {
		c.RootCAs = l.cfg.Roots()
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	c.NextProtos = []string{"http/1.1"} // HTTP/2 cannot be upgraded
	return c
}

// upgradeClient sends the request with message 1 and reads the answer with message 2.
func (l *Link) upgradeClient(nc net.Conn, u *url.URL, h handshake) (*session, error) {
	hs, err := newHandshake(true, h.channel, h.key)
	if err != nil {
		return nil, err
	}
	m1, err := writeOpening(hs, opening{
		Role: roleClient, Channel: h.channel, Cluster: string(l.cfg.Facts().Cluster), Target: string(h.target), Token: h.token,
	})
	if err != nil {
		return nil, err
	}
	wsKey := newWebSocketKey()
	if _, err := nc.Write(request(u, h, wsKey, m1)); err != nil {
		return nil, lastWord(nc, err)
	}
	br, err := readAnswer(nc, u, h, wsKey)
	if err != nil {
		return nil, err
	}
	s := l.newSession(nc, br, h.channel, true)
	m2, err := s.next()
	if err != nil {
		return nil, notHTTP(u, err)
	}
	_, first, second, err := hs.ReadMessage(nil, m2)
	s.release()
	if err != nil {
		return nil, muster.Errorf(muster.CodeNotMuster, "%s answered without knowing the cookie", muster.Printable(u.String()))
	}
	s.setKeys(hs, first, second)
	return s, nil
}

// lastWord returns what the other side said before it closed the connection under
// a write: a TLS server refuses certificates after the client's handshake is over.
func lastWord(nc net.Conn, err error) error {
	if _, secure := nc.(*tls.Conn); !secure {
		return err
	}
	_ = nc.SetReadDeadline(time.Now().Add(slotLimit))
	if _, said := nc.Read(make([]byte, 1)); isTLS(said) {
		return said
	}
	return err
}

// readAnswer reads the answer's header. The result has what was read ahead.
func readAnswer(nc net.Conn, u *url.URL, h handshake, wsKey string) (*bufio.Reader, error) {
	watched := &patient{Reader: nc}
	limited := &io.LimitedReader{R: watched, N: 16 << 10} // of the header
	br := bufio.NewReaderSize(limited, 4096)
	resp, err := http.ReadResponse(br, nil)
	if err != nil && watched.err != nil {
		err = watched.err // half a line is no proof of another protocol
	}
	if err != nil {
		return nil, notHTTP(u, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, answerError(muster.Printable(u.String()), resp, h.key)
	}
	if resp.Header.Get("Sec-WebSocket-Accept") != acceptKey(wsKey) || resp.Header.Get("Sec-WebSocket-Protocol") != h.channel.protocol() {
		return nil, muster.Errorf(muster.CodeNotMuster, "%s speaks WebSocket, but not as a muster node does", muster.Printable(u.String()))
	}
	limited.N = math.MaxInt64
	return br, nil
}

// patient remembers that we ran out of patience: a parser that was cut off in the
// middle of a line complains about the line.
type patient struct {
	io.Reader

	err error
}

// Read reads.
func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if isTimeout(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		p.err = err
	}
	return n, err
}

// notHTTP tells an answer that makes no sense from none at all.
func notHTTP(u *url.URL, err error) error {
	var ne net.Error
	if errors.As(err, &ne) || isEOF(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return fmt.Errorf("connection ended during the handshake: %w", err)
	}
	return muster.Errorf(muster.CodeNotMuster, "%s answers, but not in HTTP", muster.Printable(u.String()))
}

func newWebSocketKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// request makes the upgrade request. The path is fixed below the endpoint's own.
func request(u *url.URL, h handshake, wsKey string, m1 []byte) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: muster\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\nMuster-Noise: v=1;k=%s;m=%s\r\n\r\n",
		strings.TrimRight(u.EscapedPath(), "/")+Path, u.Host, wsKey, h.channel.protocol(),
		h.key.ID, base64.RawURLEncoding.EncodeToString(m1))
}

// meetServer verifies the answerer's HELLO, sends ours and waits for its verdict.
func (l *Link) meetServer(s *session, h handshake, endpoint string) (*conn, error) {
	rec, err := s.readRecord()
	if err != nil {
		return nil, err
	}
	kind, body, _, err := cutFrame(rec)
	if err != nil || kind != frameHello {
		return nil, muster.Errorf(muster.CodeNotMuster, "%s: the first record is no hello", endpoint)
	}
	hello, err := decodeHello(body, signedBytes(roleServer, h.channel, s.binding))
	if err != nil {
		return nil, muster.Errorf(muster.CodeNotMuster, "%s: %w", endpoint, err)
	}
	c := l.newConn(s, hello, h)
	refused := l.admit(c, h.target, endpoint)
	if err := l.sendHello(c, refused); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, asOurs(refused, endpoint)
	}
	err = readVerdict(c)
	if refused, ok := errors.AsType[*muster.Error](err); ok {
		l.refusedBy(c.hello, refused)
	}
	return c, err
}

// asOurs keeps a caller from taking what we have against a peer for what the peer
// has against us.
func asOurs(refused *muster.Error, endpoint string) *muster.Error {
	if refused.Code != muster.CodeExpelled {
		return refused
	}
	return muster.Errorf(muster.CodeForbidden, "%s: this node does not talk to it: %s", endpoint, refused.Text).
		WithFix("take the address off the join endpoints, or readmit the node: muster node readmit NODE_ID")
}

func (l *Link) refusedBy(peer Hello, why *muster.Error) {
	if why.Code == muster.CodeClone {
		l.alarm(why)
	}
	if l.cfg.OnRefused != nil {
		l.cfg.OnRefused(peer, why)
	}
}

// sendHello sends our HELLO, so that the other side knows who came even when we
// refuse it.
func (l *Link) sendHello(c *conn, refused *muster.Error) error {
	hello, err := encodeHello(l.cfg.Self, l.cfg.Facts(), signedBytes(roleClient, c.channel, c.binding))
	if err != nil {
		return err
	}
	out := append(appendFrameHead(nil, frameHello, len(hello)), hello...)
	if refused != nil {
		body, err := encodeRefusal(refused)
		if err != nil {
			return err
		}
		out = append(appendFrameHead(out, frameRefuse, len(body)), body...)
	}
	return c.write(out)
}

// readVerdict waits for ACCEPT or REFUSE.
func readVerdict(c *conn) error {
	rec, err := c.readRecord()
	if err != nil {
		return fmt.Errorf("connection ended before the verdict: %w", err)
	}
	for {
		kind, body, rest, err := cutFrame(rec)
		switch {
		case err != nil:
			return fmt.Errorf("verdict: %w", err)
		case kind == frameAccept:
			return nil
		case kind == frameRefuse:
			return decodeRefusal(body)
		}
		rec = rest
	}
}

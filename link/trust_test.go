package link_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// tape records what goes over the connections of a node, and may alter what it sends.
type tape struct {
	mu        sync.Mutex
	sent, got []byte
	alter     func(offset int, b []byte) // of what a connection sends
}

func (tp *tape) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	return &tapedConn{Conn: nc, tape: tp}, err
}

func (tp *tape) use(c *link.Config) { c.Dial = tp.dial }

func (tp *tape) bytes() (sent, got []byte) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return bytes.Clone(tp.sent), bytes.Clone(tp.got)
}

type tapedConn struct {
	net.Conn
	tape   *tape
	offset int // of what was sent
}

func (c *tapedConn) Write(b []byte) (int, error) {
	c.tape.mu.Lock()
	b = bytes.Clone(b)
	if c.tape.alter != nil {
		c.tape.alter(c.offset, b)
	}
	c.offset += len(b)
	c.tape.sent = append(c.tape.sent, b...)
	c.tape.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tape.mu.Lock()
	defer c.tape.mu.Unlock()
	c.tape.got = append(c.tape.got, b[:n]...)
	return n, err
}

// withCookie gives a node another cookie.
func withCookie(cookie string) func(*link.Config) {
	return func(c *link.Config) { c.Keys = func() []link.Key { return []link.Key{keyOf(cookie)} } }
}

func TestAnotherCookieIsRefusedWithBothKeyIDs(t *testing.T) {
	t.Parallel()
	member, stranger := start(t, newSelf(t, "member")), start(t, newSelf(t, "stranger"), withCookie("other"))
	_, err := stranger.Meet(t.Context(), member.url, "")
	wantCode(t, err, muster.CodeCookieMismatch)
	for _, part := range []string{member.url, keyOf("secret").ID, keyOf("other").ID} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
	if got := link.Class(err); got != "other-node" {
		t.Errorf("class %q, want other-node", got)
	}
	if n := len(member.ups) + len(stranger.ups); n != 0 {
		t.Errorf("%d links came up", n)
	}
}

func TestAPretendedKeyIDIsRefused(t *testing.T) {
	t.Parallel()
	member := start(t, newSelf(t, "member"))
	stranger := start(t, newSelf(t, "stranger"), func(c *link.Config) {
		k := keyOf("other")
		k.ID = keyOf("secret").ID
		c.Keys = func() []link.Key { return []link.Key{k} }
	})
	_, err := stranger.Meet(t.Context(), member.url, "")
	wantCode(t, err, muster.CodeCookieMismatch)
}

func TestASecondAcceptedCookieWorks(t *testing.T) {
	t.Parallel()
	member := start(t, newSelf(t, "member"), func(c *link.Config) {
		c.Keys = func() []link.Key { return []link.Key{keyOf("secret"), keyOf("next")} }
	})
	ahead := start(t, newSelf(t, "ahead"), withCookie("next"))
	m, err := ahead.Meet(t.Context(), member.url, member.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func TestTheWireShowsNoSecretAndNoPayload(t *testing.T) {
	t.Parallel()
	rec := &tape{}
	a, b := start(t, newSelf(t, "a-named-node"), rec.use), start(t, newSelf(t, "b-named-node"))
	a.Learn(b.self.ID, b.url)
	canary := strings.Repeat("canary", 50)
	if err := a.Send(b.self.ID, []byte(canary)); err != nil {
		t.Fatal(err)
	}
	receive(t, "packet", b.in.packets)
	_ = b.Send(a.self.ID, []byte(canary))
	receive(t, "packet", a.in.packets)
	post(t, a.Transport(b.self.ID), "/canary", strings.NewReader(canary))
	stream, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(stream, canary)
	in := receive(t, "stream", b.in.streams)
	if _, err := io.ReadFull(in, make([]byte, len(canary))); err != nil {
		t.Fatal(err)
	}
	psk := keyOf("secret").PSK
	sent, got := rec.bytes()
	for _, all := range [][]byte{sent, got} {
		for _, secret := range []string{"secret", string(psk[:]), "canary", string(a.self.ID), "a-named-node", "b-named-node"} {
			if bytes.Contains(all, []byte(secret)) {
				t.Errorf("%q is on the wire", secret)
			}
		}
	}
}

// TestOneFlippedBitIsRefused flips one bit at a time of what the client sends after
// the request line and Host header: nothing altered ever arrives.
func TestOneFlippedBitIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	self := newSelf(t, "a")
	send := func(alter func(int, []byte)) (total, noise, body int) {
		rec := &tape{alter: alter}
		a := start(t, self, rec.use)
		defer a.stop()
		a.Learn(b.self.ID, b.url)
		_ = a.Send(b.self.ID, []byte("payload")) // what arrives counts
		deadline := time.After(100 * time.Millisecond)
		if alter == nil {
			deadline = time.After(10 * time.Second)
		}
		select {
		case p := <-b.in.packets:
			if alter != nil || p.data != "payload" {
				t.Errorf("an altered packet arrived: %q", p.data)
			}
		case <-deadline:
			if alter == nil {
				t.Fatal("the unaltered packet did not arrive")
			}
		}
		sent, _ := rec.bytes()
		return len(sent), bytes.Index(sent, []byte(";m=")) + 3, bytes.Index(sent, []byte("\r\n\r\n")) + 4
	}
	total, noise, body := send(nil)
	var offsets []int
	for at := noise; at < body-4; at += 37 {
		offsets = append(offsets, at)
	}
	for at := body; at < total; at += 61 {
		offsets = append(offsets, at)
	}
	offsets = append(offsets, total-1)
	for _, at := range offsets {
		send(func(offset int, p []byte) {
			if i := at - offset; i >= 0 && i < len(p) {
				p[i] ^= 1
			}
		})
	}
}

func TestAReplayedHandshakeHasNoEffect(t *testing.T) {
	t.Parallel()
	rec := &tape{}
	a, b := start(t, newSelf(t, "a"), rec.use), start(t, newSelf(t, "b"))
	a.Learn(b.self.ID, b.url)
	_ = a.Send(b.self.ID, []byte("once"))
	receive(t, "packet", b.in.packets)
	sent, _ := rec.bytes()
	a.stop()
	eventually(t, "the link is gone", func() bool { return len(b.Links()) == 0 })
	before := len(b.ups)

	resp := replay(t, b.url, sent)
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("replay to the same process: %s, want 400", resp.Status)
	}
	reborn := start(t, b.self) // knows nothing of what the first boot has seen
	resp = replay(t, reborn.url, sent)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("replay to a fresh process: %s, want 101 and no more", resp.Status)
	}
	if n := len(b.ups) - before + len(reborn.ups) + len(b.Links()) + len(reborn.Links()) + len(reborn.in.packets); n != 0 {
		t.Errorf("the replay had %d effects", n)
	}
}

// replay sends recorded bytes and waits for the end of the connection.
func replay(t *testing.T, url string, sent []byte) *http.Response {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write(sent); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, br); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection was not closed: %v", err)
	}
	return resp
}

// edit changes fields of a HELLO.
func edit(change func(map[string]any)) func([]byte) []byte {
	return func(honest []byte) []byte {
		var m map[string]any
		_ = json.Unmarshal(honest, &m)
		change(m)
		b, _ := json.Marshal(m)
		return b
	}
}

func TestAForgedHelloHasNoEffect(t *testing.T) {
	t.Parallel()
	victim := newSelf(t, "victim")
	forger := start(t, newSelf(t, "forger"))
	packetBehind := append(link.AppendHead(nil, 1, 3), "ill"...)
	cases := map[string]func(map[string]any){
		"another node's id":     func(m map[string]any) { m["id"] = victim.ID },
		"another node's key":    func(m map[string]any) { m["id"] = victim.ID; m["key"] = []byte(victim.Key[32:]) },
		"no signature":          func(m map[string]any) { delete(m, "sig") },
		"signature of a server": func(m map[string]any) { m["sig"] = link.Sign(forger.self.Key, "server", "packet", nil) },
		"a bad name":            func(m map[string]any) { m["name"] = "a\u202eb" },
		"a bad endpoint":        func(m map[string]any) { m["endpoint"] = "javascript:alert(1)" },
		"an unknown role":       func(m map[string]any) { m["role"] = "king" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, newSelf(t, "b"))
			f := link.Forger{L: forger.Link, Hello: edit(change), Append: packetBehind}
			if err := f.Dial(t.Context(), b.url, b.self.ID, link.ChannelPacket); err == nil {
				t.Error("the forged hello was accepted")
			}
			if n := len(b.ups) + len(b.Links()) + len(b.in.packets); n != 0 {
				t.Errorf("the forged hello had %d effects", n)
			}
		})
	}
	b := start(t, newSelf(t, "b"))
	honest := link.Forger{L: forger.Link, Hello: func(h []byte) []byte { return h }}
	if err := honest.Dial(t.Context(), b.url, b.self.ID, link.ChannelPacket); err != nil {
		t.Errorf("an honest hello: %v", err) // or the cases above prove nothing
	}
}

func TestAForgedAnswerHasNoEffect(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	forger := start(t, newSelf(t, "forger"))
	srv := httptest.NewServer(link.ServeForged(forger.Link, edit(func(m map[string]any) {
		m["id"], m["key"] = b.self.ID, []byte(b.self.Key[32:])
	})))
	defer srv.Close()
	_, err := a.Meet(t.Context(), srv.URL, b.self.ID)
	wantCode(t, err, muster.CodeNotMuster)
	if n := len(a.ups) + len(a.Links()); n != 0 {
		t.Errorf("the forged answer had %d effects", n)
	}
}

func TestWrongTargetIsRefused(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	other := newSelf(t, "other").ID
	_, err := a.Meet(t.Context(), b.url, other)
	wantCode(t, err, muster.CodeWrongTarget)
	if got := link.Class(err); got != "other-node" {
		t.Errorf("class %q, want other-node", got)
	}
	a.Learn(other, b.url)
	_ = a.Send(other, []byte("x"))
	eventually(t, "the attempt has failed", func() bool { _, err, _ := a.State(other); return err != nil })
	_, err, _ = a.State(other)
	wantCode(t, err, muster.CodeWrongTarget)
	if n := len(a.ups) + len(b.ups) + len(b.in.packets); n != 0 {
		t.Errorf("%d effects", n)
	}
}

func TestOneselfIsRecognised(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	_, err := a.Meet(t.Context(), a.url, "")
	wantCode(t, err, muster.CodeSelf)
	if got := a.seenAlarms(); len(got) != 0 {
		t.Errorf("alarms %v", got)
	}
}

func TestACloneRaisesTheAlarmOnBothSides(t *testing.T) {
	t.Parallel()
	self := newSelf(t, "a")
	a := start(t, self)
	self.Boot.Random++
	clone := start(t, self)
	_, err := a.Meet(t.Context(), clone.url, "")
	wantCode(t, err, muster.CodeClone)
	for name, n := range map[string]*node{"dialler": a, "answerer": clone} {
		eventually(t, "alarm at the "+name, func() bool {
			alarms := n.seenAlarms()
			return len(alarms) == 1 && alarms[0] == muster.CodeClone
		})
	}
}

func TestASecondBootIsACloneWhileTheFirstAnswers(t *testing.T) {
	t.Parallel()
	first, b := pair(t)
	_ = first.Send(b.self.ID, []byte("x"))
	receive(t, "packet", b.in.packets)
	self := first.self
	self.Boot = muster.Boot{Counter: 2, Random: self.Boot.Random + 1}
	second := start(t, self)
	_, err := second.Meet(t.Context(), b.url, "")
	wantCode(t, err, muster.CodeClone)
	if got := b.seenAlarms(); len(got) != 1 || got[0] != muster.CodeClone {
		t.Errorf("alarms at the witness: %v", got)
	}
	if got := second.seenAlarms(); len(got) != 1 || got[0] != muster.CodeClone {
		t.Errorf("alarms at the second boot: %v", got)
	}
	if up, _, _ := b.State(self.ID); !up {
		t.Error("the first boot lost its link")
	}
}

// gate refuses everyone with a fixed answer.
type gate struct{ answer *muster.Error }

func (g gate) Admit(link.Hello, link.Channel) *muster.Error { return g.answer }

func TestTheGatesAnswerReachesTheOtherSide(t *testing.T) {
	t.Parallel()
	no := muster.Errorf(muster.CodeNameInUse, "b is held by node 1234").WithFix("choose another name")
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"), func(c *link.Config) { c.Gate = gate{no} })
	_, err := a.Meet(t.Context(), b.url, "")
	wantCode(t, err, muster.CodeNameInUse)
	if e, _ := err.(*muster.Error); e.Text != no.Text || e.Advice() != "choose another name" {
		t.Errorf("got %+v", e)
	}
	_, err = b.Meet(t.Context(), a.url, "") // b's own gate is asked when b dials, too
	wantCode(t, err, muster.CodeNameInUse)
	if n := len(a.ups) + len(b.ups) + len(a.Links()) + len(b.Links()); n != 0 {
		t.Errorf("%d effects of refused links", n)
	}
}

func TestRefusedHandshakesLeaveNoGoroutine(t *testing.T) { //nolint:paralleltest // counts goroutines
	member, stranger := start(t, newSelf(t, "member")), start(t, newSelf(t, "stranger"), withCookie("other"))
	closed := start(t, newSelf(t, "closed"), func(c *link.Config) {
		c.Gate = gate{muster.Errorf(muster.CodeDraining, "not now")}
	})
	friend := start(t, newSelf(t, "friend"))
	baseline := 0
	for i := range 101 {
		if i == 1 { // by now everything has started that stays
			baseline = runtime.NumGoroutine()
		}
		if _, err := stranger.Meet(t.Context(), member.url, ""); err == nil {
			t.Fatal("a stranger was accepted")
		}
		_, err := friend.Meet(t.Context(), closed.url, "")
		wantCode(t, err, muster.CodeDraining)
	}
	eventually(t, "goroutines are back at the baseline", func() bool { return runtime.NumGoroutine() <= baseline })
}

func TestUnconfirmedHandshakesAreBoundedAndEvicted(t *testing.T) {
	t.Parallel()
	rec := &tape{}
	a, b := start(t, newSelf(t, "a"), rec.use), start(t, newSelf(t, "b"))
	requests := make([][]byte, link.MaxUnconfirmed+1)
	for range requests { // recorded requests, to be replayed to another process
		m, err := a.Meet(t.Context(), b.url, "")
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	sent, _ := rec.bytes()
	for i := range requests {
		at := bytes.Index(sent, []byte("GET "))
		end := at + bytes.Index(sent[at:], []byte("\r\n\r\n")) + 4
		requests[i], sent = sent[at:end], sent[end:]
	}
	reborn := start(t, b.self)
	conns := make([]net.Conn, len(requests))
	for i, req := range requests {
		nc, err := net.Dial("tcp", strings.TrimPrefix(reborn.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = nc.Write(req)
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns[i] = nc
	}
	start := time.Now()
	_, _ = io.Copy(io.Discard, conns[0])
	if took := time.Since(start); took > time.Second {
		t.Errorf("the oldest was closed after %v, want at once", took)
	}
	for _, nc := range conns[1:] { // the 2 s limit ends the rest
		_, _ = io.Copy(io.Discard, nc)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("unconfirmed handshakes lived %v, want 2 s", took)
	}
	m, err := a.Meet(t.Context(), reborn.url, "")
	if err != nil {
		t.Fatalf("a member after the flood: %v", err)
	}
	m.Close()
}

func TestClearTextAnswers(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	good := func() http.Header {
		return http.Header{
			"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Protocol": {"muster.rpc.v1"},
			"Muster-Noise": {"v=1;k=" + keyOf("secret").ID + ";m=" + strings.Repeat("A", 64)},
		}
	}
	cases := []struct {
		name   string
		change func(http.Header)
		status int
		code   muster.Code
	}{
		{"a browser", func(h http.Header) { h.Set("Origin", "http://evil") }, 403, muster.CodeCrossSite},
		{"no upgrade", func(h http.Header) { h.Del("Upgrade"); h.Del("Connection") }, 426, muster.CodeUpgradeStripped},
		{"no noise", func(h http.Header) { h.Del("Muster-Noise") }, 400, muster.CodeBadRequest},
		{"two noise headers", func(h http.Header) { h.Add("Muster-Noise", h.Get("Muster-Noise")) }, 400, muster.CodeBadRequest},
		{"another version", func(h http.Header) { h.Set("Sec-WebSocket-Version", "8") }, 400, muster.CodeBadRequest},
		{"another protocol", func(h http.Header) { h.Set("Sec-WebSocket-Protocol", "chat") }, 400, muster.CodeBadRequest},
		{"an unknown key", func(h http.Header) { h.Set("Muster-Noise", "v=1;k=00000000;m="+strings.Repeat("A", 64)) }, 401, muster.CodeCookieMismatch},
		{"a wrong message", func(http.Header) {}, 401, muster.CodeCookieMismatch},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+link.Path, nil)
			req.Header = good()
			c.change(req.Header)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var p struct {
				Code     muster.Code `json:"code"`
				Detail   string      `json:"detail"`
				Fix      string      `json:"fix"`
				Accepted []string    `json:"accepted_kids"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || p.Code != c.code || p.Detail == "" || p.Fix == "" {
				t.Errorf("got %s %+v, want %d %s with detail and fix", resp.Status, p, c.status, c.code)
			}
			if c.status == 426 && !strings.Contains(p.Fix, "proxy_set_header Upgrade $http_upgrade") {
				t.Errorf("the fix does not name the nginx lines: %q", p.Fix)
			}
			if c.status == 401 && fmt.Sprint(p.Accepted) != "["+keyOf("secret").ID+"]" {
				t.Errorf("accepted key ids %v", p.Accepted)
			}
		})
	}
}

func TestForeignAnswersAreNamed(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	answer := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Location", "http://example.com/")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	cases := []struct {
		name    string
		handler http.Handler
		code    muster.Code
		class   string
	}{
		{"not found", http.NotFoundHandler(), muster.CodeNotMuster, "not-muster"},
		{"a web page", answer(200, "text/html", "<html>"), muster.CodeNotMuster, "not-muster"},
		{"another API's 401", answer(401, "application/json", `{"code":"cookie-mismatch"}`), muster.CodeNotMuster, "not-muster"},
		{"a redirect", answer(302, "text/html", ""), muster.CodeNotMuster, "not-muster"},
		{"a proxy without a backend", answer(502, "text/html", ""), muster.CodePeerUnreachable, "refused"},
		{"a proxy that strips", stripUpgrade(start(t, newSelf(t, "b")).Link), muster.CodeUpgradeStripped, "not-muster"},
		{"a node that ends", answer(503, "application/problem+json", `{"code":"draining","detail":"b is draining"}`), muster.CodeDraining, "other-node"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(c.handler)
			defer srv.Close()
			_, err := a.Meet(t.Context(), srv.URL, "")
			wantCode(t, err, c.code)
			if got := link.Class(err); got != c.class {
				t.Errorf("class %q, want %q", got, c.class)
			}
			if !strings.Contains(err.Error(), strings.TrimPrefix(srv.URL, "http://")) {
				t.Errorf("%q does not name the endpoint", err)
			}
		})
	}
}

func stripUpgrade(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Upgrade")
		r.Header.Del("Connection")
		next.ServeHTTP(w, r)
	})
}

func TestEndpointsThatDoNotAnswerAreClassed(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	tlsURL, _ := serveTLS(t, start(t, newSelf(t, "b")))
	cases := []struct {
		name, endpoint string
		code           muster.Code
		class          string
	}{
		{"closed port", "http://" + closed.Addr().String(), muster.CodePeerUnreachable, "refused"},
		{"http to a TLS port", "http" + strings.TrimPrefix(tlsURL, "https"), muster.CodeNotMuster, "not-muster"},
		{"https to a plain port", "https" + strings.TrimPrefix(a.url, "http"), muster.CodeTLSNotServed, "tls"},
		{"link-local", "http://169.254.169.254:80", muster.CodeAddressNotAllowed, "refused"},
		{"unspecified", "http://0.0.0.0:9113", muster.CodeAddressNotAllowed, "refused"},
		{"no scheme", "10.0.0.1:9113", muster.CodeBadConfig, "refused"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := a.Meet(t.Context(), c.endpoint, "")
			wantCode(t, err, c.code)
			if got := link.Class(err); got != c.class {
				t.Errorf("class %q (%v), want %q", got, err, c.class)
			}
		})
	}
}

func TestAFailedLookupIsClassedAsDNS(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"), func(c *link.Config) {
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "n1", IsNotFound: true}}
		}
	})
	_, err := a.Meet(t.Context(), "http://n1:9113", "")
	wantCode(t, err, muster.CodePeerUnreachable)
	if got := link.Class(err); got != "dns" {
		t.Errorf("class %q, want dns", got)
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	self, key := newSelf(t, "a"), keyOf("secret")
	var buf bytes.Buffer
	slog.New(slog.NewTextHandler(&buf, nil)).Info("test", "self", self, "key", key)
	shown := buf.String() + fmt.Sprintf("%v %+v %#v %s %v %+v %#v", self, self, self, self, key, key, key)
	for _, secret := range [][]byte{self.Key.Seed(), key.PSK[:]} {
		for _, form := range []string{string(secret), fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint(secret), "[]"), fmt.Sprintf("%#v", secret)[7:]} {
			if strings.Contains(shown, form) {
				t.Errorf("a secret is shown: %s", shown)
			}
		}
	}
}

package link_test

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// TestTheHandMadePeerIsUnderstood keeps the attacks below from proving nothing.

func TestTheHandMadePeerIsUnderstood(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	w := enter(t, b, "packet", self)
	w.record(append(append(frameOf(99, []byte("of a later version")), frameOf(1, []byte("one"))...), frameOf(4, nil)...))
	w.record(frameOf(1, []byte("two")))
	for _, want := range []string{"one", "two"} { // types 99 and 4 are skipped
		if p := receive(t, "packet", b.in.packets); p.data != want || p.from != self.ID {
			t.Errorf("received %q from %s, want %q", p.data, p.from, want)
		}
	}
	r := enter(t, b, "rpc", self)
	r.record(append(frameOf(200, []byte("skipped")), frameOf(5, []byte("GET /x HTTP/1.1\r\nHost: peer\r\n\r\n"))...))
	if resp := r.reply(); resp.StatusCode != http.StatusOK {
		t.Errorf("rpc: %s", resp.Status)
	}
}

// TestNoEffectBeforeTheHello is PROTOCOL's first rule: the holder of the cookie who

// has proved no identity changes nothing, whatever he sends.

func TestNoEffectBeforeTheHello(t *testing.T) {
	t.Parallel()
	b, honest := start(t, newSelf(t, "b")), newSelf(t, "honest")
	member := enter(t, b, "packet", honest)
	receive(t, "up", b.ups)
	mallory := newSelf(t, "mallory")
	packet := frameOf(1, []byte("ill"))
	cases := map[string]func(w *wire) []byte{
		"a packet instead of the hello":  func(*wire) []byte { return packet },
		"data instead of the hello":      func(*wire) []byte { return frameOf(5, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) },
		"an accept instead of the hello": func(*wire) []byte { return frameOf(17, nil) },
		"a refusal instead of the hello": func(*wire) []byte { return frameOf(18, []byte(`{"code":"clone","text":"x"}`)) },
		"an empty record":                func(*wire) []byte { return nil },
		"a cut frame":                    func(*wire) []byte { return []byte{16, 0xFF, 0xFF, 0xFF} },
		"nothing but braces":             func(*wire) []byte { return frameOf(16, []byte("{}")) },
		"a member's id with another key": func(w *wire) []byte { return forged(w, mallory, func(m map[string]any) { m["id"] = honest.ID }) },
		"a member's id and key, my signature": func(w *wire) []byte {
			return forged(w, mallory, func(m map[string]any) { m["id"], m["key"] = honest.ID, []byte(honest.Key[32:]) })
		},
		"a signature of another connection": func(w *wire) []byte {
			return append(frameOf(16, helloOf(mallory, "packet", make([]byte, 32))), packet...)
		},
		"a signature for another channel": func(w *wire) []byte {
			return append(frameOf(16, helloOf(mallory, "rpc", w.binding)), packet...)
		},
		"the signature of a server": func(w *wire) []byte {
			signed := append([]byte("muster-link-1\x00server\x00packet\x00"), w.binding...)
			return forged(w, mallory, func(m map[string]any) { m["sig"] = ed25519.Sign(mallory.Key, signed) })
		},
		"the server's own hello": func(w *wire) []byte { return append(frameOf(16, w.hello), packet...) },
		"a key of another size":  func(w *wire) []byte { return forged(w, mallory, func(m map[string]any) { m["key"] = []byte{1} }) },
		"a name with a newline":  func(w *wire) []byte { return forged(w, mallory, func(m map[string]any) { m["name"] = "a\nb" }) },
		"an empty version range": func(w *wire) []byte {
			return forged(w, mallory, func(m map[string]any) { m["versions"] = []int{2, 1} })
		},
		"a cluster id that is none": func(w *wire) []byte {
			return forged(w, mallory, func(m map[string]any) { m["cluster"] = "../../etc" })
		},
	}
	for name, frames := range cases {
		w := knock(t, b.url, "packet", b.self.ID)
		w.record(frames(w))
		w.record(packet)
		w.ending()
		if links := b.Links(); len(links) != 1 || len(b.ups)+len(b.in.packets)+len(b.in.streams)+len(b.seenAlarms()) != 0 {
			t.Errorf("%s had an effect: links %v", name, links)
		}
	}
	member.record(frameOf(1, []byte("still here")))
	if p := receive(t, "packet of the member", b.in.packets); p.from != honest.ID {
		t.Errorf("packet from %s", p.from)
	}
}

// forged is a HELLO of self with edits, and a packet right behind it.

func forged(w *wire, self link.Self, edit func(map[string]any)) []byte {
	return append(frameOf(16, helloOf(self, "packet", w.binding, edit)), frameOf(1, []byte("ill"))...)
}

func TestASealedRefusalHasNoEffect(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	self2 := self
	self2.ID, self2.Key = b.self.ID, b.self.Key
	cases := []struct {
		name   string
		target muster.NodeID
		self   link.Self
		edit   func(map[string]any)
		code   muster.Code
	}{
		{"a target that is not we", newSelf(t, "other").ID, self, func(map[string]any) {}, muster.CodeWrongTarget},
		{"versions to come", b.self.ID, self, func(m map[string]any) { m["versions"] = []int{2, 9} }, muster.CodeVersionRange},
		{"versions long gone", b.self.ID, self, func(m map[string]any) { m["versions"] = []int{0, 0} }, muster.CodeVersionRange},
	}
	for _, c := range cases {
		for _, channel := range []string{"packet", "stream", "rpc"} {
			w := knock(t, b.url, channel, c.target)
			w.record(frameOf(16, helloOf(c.self, channel, w.binding, c.edit)))
			kind, body := w.frame()
			var r struct{ Code muster.Code }
			if err := json.Unmarshal(body, &r); err != nil || kind != 18 || r.Code != c.code {
				t.Errorf("%s on %s: frame %d %s, want refusal %s", c.name, channel, kind, body, c.code)
			}
			w.record(frameOf(1, []byte("ill")))
			w.ending()
		}
	}
	untouched(t, b)
}

// TestAnOverlappingVersionRangeIsAccepted keeps the refusals above honest.

func TestAnOverlappingVersionRangeIsAccepted(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	w := knock(t, b.url, "packet", b.self.ID)
	w.record(frameOf(16, helloOf(self, "packet", w.binding, func(m map[string]any) { m["versions"] = []int{0, 200} })))
	if kind, body := w.frame(); kind != 17 {
		t.Errorf("verdict %d %s, want accept", kind, body)
	}
}

func TestOnlyJoiningNeedsNoTarget(t *testing.T) {
	t.Parallel()
	b, key := start(t, newSelf(t, "b")), keyOf("secret")
	for channel, want := range map[string]int{"packet": 400, "stream": 400, "rpc": 101} {
		w := open(t, b.url)
		w.write([]byte(request(channel, firstMessage(t, noiseOf(t, true, key, channel), key, openingOf(channel, "")))))
		if resp := w.answer(); resp.StatusCode != want {
			t.Errorf("%s without a target: %s, want %d", channel, resp.Status, want)
		}
	}
	for _, opening := range []string{
		`{"role":"server","channel":"rpc"}`, `{"role":"client","channel":"packet"}`, `{"channel":"rpc"}`, `[]`, `x`, ``,
	} {
		w := open(t, b.url)
		w.write([]byte(request("rpc", firstMessage(t, noiseOf(t, true, key, "rpc"), key, opening))))
		if resp := w.answer(); resp.StatusCode != 400 && resp.StatusCode != 401 {
			t.Errorf("opening %q: %s, want it refused", opening, resp.Status)
		}
	}
	untouched(t, b)
}

// TestReflectionHasNoEffect answers a dialler with nothing but its own words: by

// passing them on to itself, and by echoing.

func TestReflectionHasNoEffect(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	mirror := listen(t, func(nc net.Conn) {
		back, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			return
		}
		defer back.Close()
		go func() { _, _ = io.Copy(back, nc) }()
		_, _ = io.Copy(nc, back)
	})
	other := newSelf(t, "other").ID
	_, err := a.Meet(t.Context(), mirror, other)
	wantCode(t, err, muster.CodeSelf)
	_, err = a.Meet(t.Context(), mirror, "")
	wantCode(t, err, muster.CodeSelf)
	echoing := listen(t, func(nc net.Conn) { _, _ = io.Copy(nc, nc) })
	if _, err := a.Meet(t.Context(), echoing, other); err == nil {
		t.Error("an echo was taken for a node")
	}
	a.Learn(other, mirror)
	_ = a.Send(other, []byte("x"))
	eventually(t, "the attempt has failed", func() bool { _, err, _ := a.State(other); return err != nil })
	untouched(t, a)
}

// TestAnEchoOfRecordsHasNoEffect sends back, sealed as they are, the records of the

// other side: the two directions have keys of their own.

func TestAnEchoOfRecordsHasNoEffect(t *testing.T) {
	t.Parallel()
	b, key := start(t, newSelf(t, "b")), keyOf("secret")
	w := open(t, b.url)
	w.write([]byte(request("packet", firstMessage(t, noiseOf(t, true, key, "packet"), key, openingOf("packet", b.self.ID)))))
	w.answer()
	w.message() // message 2
	_, sealed := w.message()
	w.write(webFrame(0x82, true, sealed))
	w.ending()
	untouched(t, b)
}

// listen serves raw connections on a loopback port.

func listen(t *testing.T, serve func(net.Conn)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func TestCapturedBytesAreWorthNothingElsewhere(t *testing.T) {
	t.Parallel()
	rec := &tape{}
	a, b, c := start(t, newSelf(t, "a"), rec.use), start(t, newSelf(t, "b")), start(t, newSelf(t, "c"))
	a.Learn(b.self.ID, b.url)
	_ = a.Send(b.self.ID, []byte("once"))
	receive(t, "packet", b.in.packets)
	sent, got := rec.bytes()
	replay(t, c.url, sent)
	untouched(t, c)
	served := listen(t, func(nc net.Conn) { // the answer to another dialler
		_, _ = nc.Write(got)
		_, _ = io.Copy(io.Discard, nc)
	})
	if _, err := c.Meet(t.Context(), served, b.self.ID); err == nil {
		t.Error("a recorded answer was accepted")
	}
	untouched(t, c)
}

func TestBrokenFramingClosesWith1002(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	cases := map[string][]byte{
		"text":              webFrame(0x81, true, []byte("hello")),
		"a fragment":        webFrame(0x02, true, []byte("hello")),
		"a continuation":    webFrame(0x80, true, []byte("hello")),
		"reserved bit 1":    webFrame(0xC2, true, []byte("hello")),
		"reserved bit 2":    webFrame(0xA2, true, []byte("hello")),
		"reserved bit 3":    webFrame(0x92, true, []byte("hello")),
		"an unmasked frame": webFrame(0x82, false, []byte("hello")),
		"an unmasked ping":  webFrame(0x89, false, nil),
		"a fragmented ping": webFrame(0x09, true, nil),
		"opcode 3":          webFrame(0x83, true, nil),
		"a long ping":       {0x89, 0xFE, 0, 126},
		"a 64-bit length":   {0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"an endless length": {0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0},
	}
	for name, raw := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for when, w := range map[string]*wire{
				"before the hello": knock(t, b.url, "packet", b.self.ID),
				"on a link":        enter(t, b, "packet", newSelf(t, self.Name)),
			} {
				w.write(raw)
				if code := w.ending(); code != 1002 {
					t.Errorf("%s: closed with %d, want 1002", when, code)
				}
			}
			if n := len(b.in.packets); n != 0 {
				t.Errorf("%d packets arrived", n)
			}
		})
	}
}

func TestALongMessageBeforeTheHelloIsNotRead(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	w := knock(t, b.url, "packet", b.self.ID)
	w.write([]byte{0x82, 0xFE, 0x20, 0x01, 0, 0, 0, 0}) // 8 KiB and one, of which nothing is sent
	if code := w.ending(); code != 1002 {
		t.Errorf("closed with %d, want 1002", code)
	}
	untouched(t, b)
}

func TestABrokenRecordEndsTheLink(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	cases := map[string]func(w *wire){
		"not sealed":          func(w *wire) { w.write(webFrame(0x82, true, make([]byte, 64))) },
		"too short to sealed": func(w *wire) { w.write(webFrame(0x82, true, []byte("x"))) },
		"a frame that claims more than the record": func(w *wire) { w.record([]byte{1, 0xFF, 0xFF, 0xFF, 'x'}) },
		"half a frame header":                      func(w *wire) { w.record([]byte{1, 0}) },
	}
	for name, send := range cases {
		w := enter(t, b, "packet", newSelf(t, "hand"))
		receive(t, "up", b.ups)
		send(w)
		w.ending()
		eventually(t, name+": the link is gone", func() bool { return len(b.Links()) == 0 })
		if n := len(b.in.packets); n != 0 {
			t.Errorf("%s: %d packets arrived", name, n)
		}
	}
}

func TestTheSameRecordTwiceEndsTheLink(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	w := enter(t, b, "packet", newSelf(t, "hand"))
	sealed, err := w.out.Encrypt(nil, nil, frameOf(1, []byte("once")))
	if err != nil {
		t.Fatal(err)
	}
	w.write(webFrame(0x82, true, sealed))
	receive(t, "packet", b.in.packets)
	w.write(webFrame(0x82, true, sealed))
	w.ending()
	if n := len(b.in.packets); n != 0 {
		t.Error("the repeated record arrived")
	}
}

func TestAPingFloodIsAnsweredOneAtATime(t *testing.T) {
	t.Parallel()
	b := start(t, newSelf(t, "b"))
	flood := enter(t, b, "packet", newSelf(t, "flood"))
	other := enter(t, b, "packet", newSelf(t, "other"))
	ping := webFrame(0x89, true, []byte("x"))
	done := make(chan struct{})
	go func() { // never reads an answer
		defer close(done)
		_ = flood.nc.SetWriteDeadline(time.Now().Add(time.Second))
		for range 2000 {
			if _, err := flood.nc.Write(append(append(append(ping, ping...), ping...), ping...)); err != nil {
				return
			}
		}
	}()
	for range 50 {
		other.record(frameOf(1, []byte("x")))
		receive(t, "packet of another member", b.in.packets)
	}
	<-done
}

// TestACallerIsWhomTheConnectionSays sends every header that might name a caller.

// askedGate counts and admits.

// TestAnEqualBootCounterIsAClone: a data directory that was copied while its node

// ran. The first process does not answer, and still two have drawn the same number.

// TestTheDialPolicyHoldsForEverySource: endpoints reach the link by Meet (join,

// discovery, the back-dial) and by Learn (gossip, the member list), and nothing

// else dials.

// TestAServersBodyStaysWhereItIs: what an address answers that is no node reaches

// nobody but this node's own operator, and of the body not even him.

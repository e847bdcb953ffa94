package link_test

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

var messageSizes = []int{0, 1, 125, 126, 127, 4096, 65535}

func TestTheCodecTalksToAnotherServer(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			_, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if c.Write(r.Context(), websocket.MessageBinary, b) != nil {
				return
			}
		}
	}))
	defer srv.Close()
	nc, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	echoSizes(t, link.NewSocket(nc, br, true))
}

// echoSizes sends messages of all sizes and expects them back.
func echoSizes(t *testing.T, s link.Socket) {
	t.Helper()
	for _, n := range messageSizes {
		want := bytes.Repeat([]byte{byte(n), 7, 1}, n)[:n]
		if err := s.Send(want); err != nil {
			t.Fatal(err)
		}
		got, err := s.Next()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
		}
	}
}

func TestTheCodecTalksToAnotherClient(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Accept: " + link.AcceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n\r\n"))
		s := link.NewSocket(nc, rw.Reader, false)
		for {
			b, err := s.Next()
			if err != nil || s.Send(b) != nil {
				return
			}
		}
	}))
	defer srv.Close()
	c, _, err := websocket.Dial(t.Context(), srv.URL, nil) //nolint:bodyclose // there is none
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, n := range messageSizes {
		want := bytes.Repeat([]byte{byte(n), 7, 1}, n)[:n]
		if err := c.Write(t.Context(), websocket.MessageBinary, want); err != nil {
			t.Fatal(err)
		}
		_, got, err := c.Read(t.Context())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
		}
	}
}

func TestTheCodecRefusesWhatItDoesNotSpeak(t *testing.T) {
	t.Parallel()
	cases := map[string][]byte{
		"text":                 {0x81, 0x00},
		"a fragment":           {0x02, 0x00},
		"a continuation":       {0x80, 0x00},
		"reserved bits":        {0xC2, 0x00},
		"an unknown opcode":    {0x83, 0x00},
		"a long ping":          {0x89, 126, 0, 126},
		"a padded length":      {0x82, 126, 0, 5},
		"a 64-bit length":      {0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0},
		"a huge 64-bit length": {0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
		"a mask from a server": {0x82, 0x80, 1, 2, 3, 4},
		"an end inside":        {0x82, 0x05, 1},
		"an end in the header": {0x82},
		"a close":              {0x88, 0x02, 0x03, 0xE8},
	}
	for name, raw := range cases {
		s := link.NewSocket(nil, bufio.NewReader(bytes.NewReader(raw)), true)
		if msg, err := s.Next(); err == nil || err.Error() == "EOF" {
			t.Errorf("%s: got %d bytes, %v; want an error", name, len(msg), err)
		}
	}
}

func FuzzWebSocketHead(f *testing.F) {
	f.Add([]byte{0x82, 126, 1, 0})
	f.Add([]byte{0x89, 0x80, 1, 2, 3, 4})
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		length, size, err := link.ParseHead(b)
		if err == nil && (length < 0 || length > 65535 || size < 2 || size > 14) {
			t.Errorf("%x: length %d, header of %d", b, length, size)
		}
		for client := range 2 { // must not panic, must not allocate what the header claims
			s := link.NewSocket(nil, bufio.NewReader(bytes.NewReader(b)), client == 0)
			for err := error(nil); err == nil; {
				_, err = s.Next()
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(append(link.AppendHead(nil, 1, 2), "ab"...))
	f.Add([]byte{1, 0xFF, 0xFF, 0xFF})
	f.Add([]byte{9, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; len(rest) > 0; {
			kind, body, next, err := link.CutFrame(rest)
			if err != nil {
				return
			}
			again = append(link.AppendHead(again, kind, len(body)), body...)
			rest = next
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %x", b, again)
		}
	})
}

func TestRecordsAreCutBetweenFrames(t *testing.T) {
	t.Parallel()
	var frames []byte
	for _, n := range []int{link.MaxPayload, 1, 0, 40_000, 30_000, link.MaxPayload, 5} {
		frames = append(link.AppendHead(frames, 1, n), make([]byte, n)...)
	}
	records := 0
	for len(frames) > 0 {
		n := link.CutRecord(frames)
		if n <= 0 || n > link.MaxRecord {
			t.Fatalf("a record of %d bytes", n)
		}
		for rec := frames[:n]; len(rec) > 0; {
			_, _, rest, err := link.CutFrame(rec)
			if err != nil {
				t.Fatal(err)
			}
			rec = rest
		}
		frames, records = frames[n:], records+1
	}
	if records != 5 {
		t.Errorf("%d records, want 5", records)
	}
}

func FuzzHello(f *testing.F) {
	self := newSelf(f, "n1")
	signed := link.SignedBytes("client", link.ChannelRPC, []byte("binding"))
	good, err := link.EncodeHello(self, link.Facts{Endpoint: "http://n1:9113", Role: muster.RoleVoter}, signed)
	if err != nil {
		f.Fatal(err)
	}
	if err := link.CheckHello(good, signed); err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte(nil))
	f.Add([]byte(`{"versions":[1,2,3]}`), []byte(nil))
	f.Add([]byte(`{"code":"clone","text":"x"}`), []byte(nil))
	f.Fuzz(func(t *testing.T, b, binding []byte) {
		other := link.SignedBytes("client", link.ChannelRPC, append([]byte("other"), binding...))
		if err := link.CheckHello(b, other); err == nil {
			t.Error("verified in another connection")
		}
		if e := link.ReadRefusal(b); e == nil || e.Code == "" || len(e.Text) > 200 {
			t.Errorf("refusal %+v", e)
		}
	})
}

func FuzzNoiseHeader(f *testing.F) {
	f.Add("v=1;k=0123abcd;m=" + strings.Repeat("A", 64))
	f.Add("v=1;k=;m=")
	f.Add("v=2;k=0123abcd;m=AAAA")
	f.Fuzz(func(t *testing.T, value string) {
		kid, m1, err := link.ParseNoise([]string{value})
		if err == nil && (len(kid) != 8 || len(m1) < 48 || len(m1) > 512) {
			t.Errorf("%q: key id %q, message of %d", value, kid, len(m1))
		}
	})
}

func TestTheDialPolicy(t *testing.T) {
	t.Parallel()
	space := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	cases := []struct {
		ip       string
		loopback bool
		space    []netip.Prefix
		ok       bool
	}{
		{"10.1.2.3", false, nil, true},
		{"192.0.2.1", false, nil, true},
		{"2001:db8::1", false, nil, true},
		{"10.1.2.3", false, space, true},
		{"::ffff:10.1.2.3", false, space, true},
		{"192.0.2.1", false, space, false},
		{"127.0.0.1", false, nil, false},
		{"127.0.0.1", true, nil, true},
		{"::1", false, nil, false},
		{"::1", true, nil, true},
		{"::ffff:127.0.0.1", false, nil, false},
		{"169.254.169.254", true, nil, false},
		{"::ffff:169.254.169.254", true, nil, false},
		{"64:ff9b::a9fe:a9fe", true, nil, false},
		{"fe80::1%eth0", true, nil, false},
		{"fd00:ec2::254", true, space, false},
		{"100.100.100.200", true, nil, false},
		{"0.0.0.0", true, nil, false},
		{"0.1.2.3", true, nil, false},
		{"::", true, nil, false},
		{"224.0.0.1", true, nil, false},
		{"255.255.255.255", true, nil, false},
		{"ff02::1", true, nil, false},
	}
	for _, c := range cases {
		err := link.CheckAddress(c.loopback, c.space, netip.MustParseAddr(c.ip))
		if (err == nil) != c.ok {
			t.Errorf("%s (loopback %v, space %v): %v, want allowed: %v", c.ip, c.loopback, c.space, err, c.ok)
		}
		if err != nil {
			wantCode(t, err, muster.CodeAddressNotAllowed)
		}
	}
}

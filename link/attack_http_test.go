package link_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster/link"
)

func TestHostileUpgradesAreRefused(t *testing.T) {
	t.Parallel()
	b, key := start(t, newSelf(t, "b")), keyOf("secret")
	good := func() string {
		return firstMessage(t, noiseOf(t, true, key, "rpc"), key, openingOf("rpc", b.self.ID))
	}
	replace := func(old, repl string) func() string {
		return func() string { return strings.Replace(request("rpc", good()), old, repl, 1) }
	}
	with := func(lines ...string) func() string { return func() string { return request("rpc", good(), lines...) } }
	cases := map[string]struct {
		status  int
		request func() string
	}{
		"nothing wrong":         {101, with()},
		"an origin":             {403, with("Origin: http://x")},
		"an origin of null":     {403, with("Origin: null")},
		"an empty origin":       {403, with("Origin:")},
		"a second noise header": {400, with("Muster-Noise: v=1;k=" + key.ID + ";m=" + strings.Repeat("A", 64))},
		"two headers in one":    {400, func() string { return request("rpc", good()+","+good()) }},
		"a header of 513 bytes": {400, func() string { return request("rpc", "v=1;k="+key.ID+";m="+strings.Repeat("A", 513-17)) }},
		"a further field":       {400, func() string { return request("rpc", good()+";x=1") }},
		"another version":       {400, func() string { return request("rpc", "v=2"+good()[3:]) }},
		"a body":                {400, with("Content-Length: 5")},
		"a chunked body":        {400, with("Transfer-Encoding: chunked")},
		"both lengths":          {400, with("Content-Length: 5", "Transfer-Encoding: chunked")},
		"a POST":                {400, replace("GET ", "POST ")},
		"HTTP/1.0":              {400, replace("HTTP/1.1", "HTTP/1.0")},
		"a key that is none":    {400, replace("AAAAAAAAAAAAAAAAAAAAAA==", "x")},
		"two protocols":         {400, replace("muster.rpc.v1", "muster.rpc.v1, muster.packet.v1")},
		"another protocol":      {401, replace("muster.rpc.v1", "muster.stream.v1")}, // message 1 is bound to its channel
		"an upgrade to h2c":     {426, replace("Upgrade: websocket", "Upgrade: h2c")},
		"no connection header":  {426, replace("Connection: Upgrade\r\n", "")},
		"another cookie": {401, func() string {
			k := keyOf("other")
			k.ID = key.ID
			return request("rpc", firstMessage(t, noiseOf(t, true, k, "rpc"), k, openingOf("rpc", "")))
		}},
		"an unknown key id":         {401, func() string { return request("rpc", "v=1;k=00000000;m="+strings.Repeat("A", 64)) }},
		"a low-order ephemeral key": {401, func() string { return request("rpc", "v=1;k="+key.ID+";m="+strings.Repeat("A", 64)) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, b.url)
			w.write([]byte(c.request()))
			if resp := w.answer(); resp.StatusCode != c.status {
				t.Errorf("%s, want %d", resp.Status, c.status)
			}
		})
	}
	preface := open(t, b.url)
	preface.write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if resp := preface.answer(); resp.StatusCode < 400 {
		t.Errorf("HTTP/2 preface: %s", resp.Status)
	}
}

func TestHostileCallsAreRefused(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	b := start(t, newSelf(t, "b"), func(c *link.Config) {
		c.RPC = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		})
	})
	cases := map[string]string{
		"CONNECT":                     "CONNECT peer:80 HTTP/1.1\r\nHost: peer\r\n\r\n",
		"upgrade":                     "GET /x HTTP/1.1\r\nHost: peer\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"an empty upgrade":            "GET /x HTTP/1.1\r\nHost: peer\r\nConnection: Upgrade\r\nUpgrade:\r\n\r\n",
		"chunks":                      "POST /x HTTP/1.1\r\nHost: peer\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"both lengths":                "POST /x HTTP/1.1\r\nHost: peer\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"both lengths, other order":   "POST /x HTTP/1.1\r\nHost: peer\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"a disguised encoding":        "POST /x HTTP/1.1\r\nHost: peer\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"two lengths":                 "POST /x HTTP/1.1\r\nHost: peer\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"a negative length":           "POST /x HTTP/1.1\r\nHost: peer\r\nContent-Length: -1\r\n\r\n",
		"trailers":                    "POST /x HTTP/1.1\r\nHost: peer\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: y\r\n\r\n",
		"an announced trailer":        "POST /x HTTP/1.1\r\nHost: peer\r\nContent-Length: 0\r\nTrailer: X\r\n\r\n",
		"HTTP/1.0":                    "GET /x HTTP/1.0\r\nHost: peer\r\n\r\n",
		"HTTP/2":                      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"a header that does not end":  "GET /x HTTP/1.1\r\nHost: peer\r\nX: " + strings.Repeat("x", 32<<10),
		"a space before the colon":    "GET /x HTTP/1.1\r\nHost : peer\r\n\r\n",
		"a line feed in a header":     "GET /x HTTP/1.1\r\nHost: peer\r\nX: a\x00b\r\n\r\n",
		"no HTTP at all":              "hello\r\n\r\n",
		"a request line without path": "GET  HTTP/1.1\r\nHost: peer\r\n\r\n",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := enter(t, b, "rpc", newSelf(t, "hand"))
			w.data(text)
			if resp := w.reply(); resp.StatusCode < 400 {
				t.Errorf("answered %s", resp.Status)
			}
		})
	}
	t.Cleanup(func() {
		if n := served.Load(); n != 0 {
			t.Errorf("%d of them reached the handler", n)
		}
	})
}

func TestACallerIsWhomTheConnectionSays(t *testing.T) {
	t.Parallel()
	b, victim := start(t, newSelf(t, "b")), newSelf(t, "victim")
	w := enter(t, b, "rpc", newSelf(t, "hand"))
	w.data("GET /x HTTP/1.1\r\nHost: victim\r\nMuster-Node-Id: " + string(victim.ID) + "\r\nMuster-Peer: victim\r\n" +
		"X-Forwarded-For: 127.0.0.1\r\nForwarded: for=victim\r\nAuthorization: Bearer x\r\nX-Forwarded-User: victim\r\n\r\n")
	body, err := io.ReadAll(io.LimitReader(w.reply().Body, 8))
	if err != nil || string(body) != "hand /x " {
		t.Errorf("the handler saw %q, %v; want the caller named hand", body, err)
	}
}

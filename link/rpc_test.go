package link_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

func TestRPCRefusesWhatConfusesParsers(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"content-length with chunked": "POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked":                     "POST / HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":                 "POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"connect":                     "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
		"upgrade":                     "GET / HTTP/1.1\r\nHost: p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"trailer":                     "GET / HTTP/1.1\r\nHost: p\r\nTrailer: X\r\n\r\n",
		"http/1.0":                    "GET / HTTP/1.0\r\nHost: p\r\n\r\n",
		"http/2":                      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"a huge header":               "GET / HTTP/1.1\r\nHost: p\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
	}
	called := make(chan string, len(cases))
	a := start(t, newSelf(t, "a"))
	b := start(t, newSelf(t, "b"), func(c *link.Config) {
		c.RPC = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.Method + " " + r.Proto })
	})
	a.Learn(b.self.ID, b.url)
	for name, raw := range cases {
		nc, err := a.OpenRaw(t.Context(), b.self.ID)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
		go func() { _, _ = io.WriteString(nc, raw) }() // the server may stop reading
		line, _ := bufio.NewReader(nc).ReadString('\n')
		if !strings.Contains(line, " 4") && !strings.Contains(line, " 5") {
			t.Errorf("%s: answered %q, want a refusal", name, line)
		}
		_ = nc.Close()
	}
	if len(called) > 0 {
		t.Errorf("the handler saw %q", <-called)
	}
}

func TestRPCEndsWithItsContext(t *testing.T) {
	t.Parallel()
	entered, ended := make(chan struct{}), make(chan struct{})
	a := start(t, newSelf(t, "a"))
	b := start(t, newSelf(t, "b"), func(c *link.Config) {
		c.RPC = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(ended)
		})
	})
	a.Learn(b.self.ID, b.url)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer/", nil)
	_, err := a.Transport(b.self.ID).RoundTrip(req) //nolint:bodyclose // it fails
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	receive(t, "end of the handler", ended)
}

func TestRPCToAnUnknownNodeSaysSo(t *testing.T) {
	t.Parallel()
	a := start(t, newSelf(t, "a"))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://peer/", nil)
	_, err := a.Transport(newSelf(t, "b").ID).RoundTrip(req) //nolint:bodyclose // it fails
	wantCode(t, err, muster.CodePeerUnreachable)
}

func TestRPCReachesARestartedPeer(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	post(t, a.Transport(b.self.ID), "/1", strings.NewReader("x"))
	b.stop()
	self := b.self
	self.Boot = muster.Boot{Counter: 2, Random: self.Boot.Random + 1}
	again := start(t, self)
	a.Learn(self.ID, again.url)
	if got, want := post(t, a.Transport(self.ID), "/2", strings.NewReader("x")), "a /2 x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAStreamGoesOnAfterAReadDeadline(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	out, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in := receive(t, "stream", b.in.streams)
	defer in.Close()
	for range 3 {
		_ = in.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err = in.Read(make([]byte, 1))
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("got %v, want a timeout", err)
		}
	}
	_ = in.SetReadDeadline(time.Time{})
	go func() { _, _ = io.WriteString(out, "late") }()
	got := make([]byte, 4)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "late" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAStreamToAStuckReaderObeysTheWriteDeadline(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	out, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer receive(t, "stream", b.in.streams).Close() // and never read
	_ = out.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	begin := time.Now()
	_, err = out.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestClosingAStreamWakesItsReader(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	out, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer receive(t, "stream", b.in.streams).Close()
	ended := make(chan error, 1)
	go func() { _, err := out.Read(make([]byte, 1)); ended <- err }()
	_ = out.Close()
	if err := receive(t, "end of the read", ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

func TestRunEndsWithEverythingItHolds(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	_ = a.Send(b.self.ID, []byte("x"))
	receive(t, "packet", b.in.packets)
	out, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	in := receive(t, "stream", b.in.streams)
	post(t, a.Transport(b.self.ID), "/", nil)
	done := make(chan struct{})
	go func() { a.stop(); close(done) }()
	receive(t, "end of Run", done)
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Error("a stream is still open")
	}
	if _, err := a.Meet(t.Context(), b.url, ""); err == nil {
		t.Error("a stopped link still dials")
	}
	if _, err := in.Read(make([]byte, 1)); err == nil {
		t.Error("the other end of a stream is still open")
	}
	eventually(t, "the other side has no links", func() bool { return len(b.Links()) == 0 })
}

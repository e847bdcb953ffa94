package link_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

func TestTwoNodesExchangePackets(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for _, dir := range []struct{ from, to *node }{{a, b}, {b, a}} {
		if err := dir.from.Send(dir.to.self.ID, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := receive(t, "packet", dir.to.in.packets)
		if want := (packet{dir.from.self.ID, "hello"}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if up, err, since := a.State(b.self.ID); !up || err != nil || since.IsZero() {
		t.Errorf("state %v, %v, %v; want up, no error, a time", up, err, since)
	}
}

func TestPacketsKeepTheirOrderAndContent(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	want := make([]string, 300)
	for i := range want {
		p := make([]byte, i*i%40_000)
		_, _ = rand.Read(p)
		want[i] = string(p)
		if err := a.Send(b.self.ID, p); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, "packet", b.in.packets); got.data != want[i] {
			t.Fatalf("packet %d differs", i)
		}
	}
}

func TestStreamCarriesBytesBothWays(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	out, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in := receive(t, "stream", b.in.streams)
	defer in.Close()
	big := make([]byte, 3<<20)
	_, _ = rand.Read(big)
	for range 2 {
		sent := make(chan error, 1)
		go func() { _, err := out.Write(big); sent <- err }()
		got := make([]byte, len(big))
		if _, err := io.ReadFull(in, got); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, big) {
			t.Fatal("bytes differ")
		}
		in, out = out, in
	}
}

func TestStreamEndsWithEOF(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	out, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	in := receive(t, "stream", b.in.streams)
	defer in.Close()
	if _, err := io.WriteString(out, "last words"); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(in)
	if err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRPCKnowsTheCallerInBothDirections(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	if got, want := post(t, a.Transport(b.self.ID), "/x", strings.NewReader("hi")), "a /x hi"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := post(t, b.Transport(a.self.ID), "/y", strings.NewReader("ho")), "b /y ho"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRPCReusesItsConnection(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for range 20 {
		post(t, a.Transport(b.self.ID), "/x", strings.NewReader("hi"))
	}
	links := slices.DeleteFunc(b.Links(), func(l link.Status) bool { return l.Channel != link.ChannelRPC })
	if len(links) != 1 {
		t.Errorf("%d links for 20 requests in a row, want 1: %v", len(links), links)
	}
}

func TestMeetReachesWhoeverAnswers(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	m, err := a.Meet(t.Context(), b.url, "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Hello.ID != b.self.ID || m.Hello.Name != "b" || m.Hello.Endpoint != b.url {
		t.Errorf("met %+v", m.Hello)
	}
	for range 3 {
		if got, want := post(t, m, "/peer/v1/join", strings.NewReader("let me in")), "a /peer/v1/join let me in"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	m.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://peer/", nil)
	_, err = m.RoundTrip(req) //nolint:bodyclose // it fails
	wantCode(t, err, muster.CodePeerUnreachable)
}

func TestMeetWorksOverTLS(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	url, roots := serveTLS(t, b)
	_, err := a.Meet(t.Context(), url, "")
	wantCode(t, err, muster.CodeCertificateUntrusted)
	if got := link.Class(err); got != "tls" {
		t.Errorf("class %q of an unknown authority, want tls (%v)", got, err)
	}
	trusting := start(t, newSelf(t, "c"), func(c *link.Config) { c.TLS = roots })
	m, err := trusting.Meet(t.Context(), url, b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func TestAPeerBackAtANewPortIsReachedAgain(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	if err := a.Send(b.self.ID, []byte("1")); err != nil {
		t.Fatal(err)
	}
	receive(t, "packet", b.in.packets)
	b.stop()

	self := b.self
	self.Boot = muster.Boot{Counter: 2, Random: b.self.Boot.Random + 1}
	again := start(t, self)
	a.Learn(self.ID, again.url)
	eventually(t, "the new boot hears us", func() bool {
		_ = a.Send(self.ID, []byte("2")) // may be refused while the backoff runs
		select {
		case p := <-again.in.packets:
			return p.data == "2"
		default:
			return false
		}
	})
}

func TestAnInboundLinkIsARoute(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	a.Learn(b.self.ID, b.url) // b knows nothing of a
	if err := a.Send(b.self.ID, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	receive(t, "packet", b.in.packets)
	if err := b.Send(a.self.ID, []byte("pong")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, "packet", a.in.packets); got.data != "pong" {
		t.Errorf("got %q", got.data)
	}
}

func TestSimultaneousDialsEndWithOneLink(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for range 50 {
		_ = a.Send(b.self.ID, []byte("x"))
		_ = b.Send(a.self.ID, []byte("y"))
	}
	for range 50 {
		receive(t, "packet at b", b.in.packets)
		receive(t, "packet at a", a.in.packets)
	}
	eventually(t, "one link is left", func() bool { return len(a.Links()) == 1 && len(b.Links()) == 1 })
}

func TestDropClosesEverythingAndEndsRequests(t *testing.T) {
	t.Parallel()
	inHandler, handlerEnded := make(chan struct{}), make(chan struct{})
	a := start(t, newSelf(t, "a"))
	b := start(t, newSelf(t, "b"), func(c *link.Config) {
		c.RPC = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(inHandler)
			<-r.Context().Done()
			close(handlerEnded)
		})
	})
	a.Learn(b.self.ID, b.url)
	_ = a.Send(b.self.ID, []byte("x"))
	receive(t, "packet", b.in.packets)
	stream, err := a.Stream(t.Context(), b.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://peer/", nil)
		_, err := a.Transport(b.self.ID).RoundTrip(req) //nolint:bodyclose // it fails
		failed <- err
	}()
	receive(t, "request", inHandler)
	eventually(t, "three links", func() bool { return len(b.Links()) == 3 })
	b.Drop(a.self.ID)
	receive(t, "end of the handler", handlerEnded)
	if err := receive(t, "end of the request", failed); err == nil {
		t.Error("the request succeeded")
	}
	if _, err := stream.Read(make([]byte, 1)); err == nil {
		t.Error("the stream is still open")
	}
	eventually(t, "no links", func() bool { return len(a.Links())+len(b.Links()) == 0 })
}

func TestLinksDescribeThemselves(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	a.Learn(b.self.ID, b.url)
	_ = a.Send(b.self.ID, []byte("x"))
	receive(t, "packet", b.in.packets)
	links := b.Links()
	if len(links) != 1 {
		t.Fatalf("%d links, want 1", len(links))
	}
	got := links[0]
	if got.Peer != a.self.ID || got.Name != "a" || got.Endpoint != a.url || got.KID != keyOf("secret").ID ||
		got.Channel != link.ChannelPacket || !got.Inbound || got.Since.IsZero() || got.Boot != a.self.Boot {
		t.Errorf("got %+v", got)
	}
}

package link_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// keyOf makes the link key of a cookie, as good as any for these tests.
func keyOf(cookie string) link.Key {
	sum := sha256.Sum256([]byte(cookie))
	return link.Key{ID: muster.Hash(sum).Short(), PSK: sum}
}

// newSelf makes the identity of a node in its first boot.
func newSelf(t testing.TB, name string) link.Self {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var random [8]byte
	_, _ = rand.Read(random[:])
	return link.Self{
		ID: muster.NodeIDOf(pub), Key: key, Name: name,
		Boot: muster.Boot{Counter: 1, Random: binary.BigEndian.Uint64(random[:])},
	}
}

type packet struct {
	from muster.NodeID
	data string
}

// inbox collects what a link receives.
type inbox struct {
	packets chan packet
	streams chan net.Conn
}

func newInbox() *inbox {
	return &inbox{packets: make(chan packet, 4096), streams: make(chan net.Conn, 64)}
}

func (i *inbox) Packet(from muster.NodeID, data []byte) { i.packets <- packet{from, string(data)} }
func (i *inbox) Stream(_ muster.NodeID, c net.Conn)     { i.streams <- c }

// node is a Link behind an HTTP server.
type node struct {
	*link.Link
	self link.Self
	in   *inbox
	url  string
	ups  chan link.Hello

	mu     sync.Mutex
	alarms []muster.Code
	stop   func()
}

func (n *node) seenAlarms() []muster.Code {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]muster.Code(nil), n.alarms...)
}

// configFor makes the configuration of a node with cookie "secret" and an echoing rpc handler.
func configFor(n *node) link.Config {
	return link.Config{
		Self:     n.self,
		Keys:     func() []link.Key { return []link.Key{keyOf("secret")} },
		Facts:    func() link.Facts { return link.Facts{Endpoint: n.url, Role: muster.RoleVoter} },
		Receiver: n.in,
		RPC:      http.HandlerFunc(echo),
		Loopback: true,
		OnUp:     func(h link.Hello) { n.ups <- h },
		OnAlarm: func(code muster.Code, _ string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.alarms = append(n.alarms, code)
		},
	}
}

// echo answers with the caller's name, the path and the body.
func echo(w http.ResponseWriter, r *http.Request) {
	peer, _ := link.PeerFrom(r.Context())
	body, _ := io.ReadAll(r.Body)
	_, _ = io.WriteString(w, peer.Name+" "+r.URL.Path+" "+string(body))
}

// start runs a node on a loopback port of its own. change may alter its configuration.
func start(t testing.TB, self link.Self, change ...func(*link.Config)) *node {
	t.Helper()
	n := &node{self: self, in: newInbox(), ups: make(chan link.Hello, 1024)}
	var handler http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	n.url = srv.URL
	cfg := configFor(n)
	for _, f := range change {
		f(&cfg)
	}
	l, err := link.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(link.Path, l)
	handler, n.Link = mux, l
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx)
	}()
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		srv.Close()
	})
	t.Cleanup(n.stop)
	return n
}

// pair starts two nodes that know each other.
func pair(t testing.TB) (a, b *node) {
	t.Helper()
	a, b = start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	a.Learn(b.self.ID, b.url)
	b.Learn(a.self.ID, a.url)
	return a, b
}

// receive waits for a value.
func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s within 10 s", what)
		panic("unreachable")
	}
}

// eventually polls until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if f() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("not within 10 s: %s", what)
}

// wantCode checks an error's code.
func wantCode(t testing.TB, err error, want muster.Code) {
	t.Helper()
	if got := muster.CodeOf(err); got != want {
		t.Fatalf("code %q (%v), want %q", got, err, want)
	}
}

// post sends an rpc and returns the answer's body.
func post(t testing.TB, rt http.RoundTripper, path string, body io.Reader) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://peer"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

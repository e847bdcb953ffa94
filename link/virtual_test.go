package link_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// network is an in-memory network of net.Pipes. Everything on it runs in virtual time.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	cut       map[string]bool // hosts that swallow connection attempts
	dials     int
}

type listener struct {
	addr  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.addr, Net: "pipe"} }

func (n *network) listen(addr string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &listener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	n.listeners[addr] = l
	return l
}

// cutOff makes a host swallow connection attempts, or answer again.
func (n *network) cutOff(addr string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[addr] = cut
}

func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	l, cut := n.listeners[address], n.cut[address]
	n.mu.Unlock()
	if cut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: io.EOF}
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startVirtual runs a node on the network under its name. It must be stopped before
// the bubble ends.
func startVirtual(t *testing.T, nw *network, self link.Self, change ...func(*link.Config)) *node {
	t.Helper()
	n := &node{self: self, in: newInbox(), ups: make(chan link.Hello, 1024), url: "http://" + self.Name + ":9113"}
	cfg := configFor(n)
	cfg.Dial = nw.dial
	for _, f := range change {
		f(&cfg)
	}
	l, err := link.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Link = l
	mux := http.NewServeMux()
	mux.Handle(link.Path, l)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	ln := nw.listen(self.Name + ":9113")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	wg.Go(func() { _ = l.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		_ = srv.Close()
		wg.Wait()
	})
	return n
}

// virtual runs a test with two nodes that know each other in a bubble.
func virtual(t *testing.T, test func(t *testing.T, nw *network, a, b *node)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nw := &network{listeners: make(map[string]*listener), cut: make(map[string]bool)}
		a, b := startVirtual(t, nw, newSelf(t, "a")), startVirtual(t, nw, newSelf(t, "b"))
		a.Learn(b.self.ID, b.url)
		b.Learn(a.self.ID, a.url)
		test(t, nw, a, b)
		a.stop()
		b.stop()
	})
}

func TestEverythingWorksInVirtualTime(t *testing.T) {
	virtual(t, func(t *testing.T, _ *network, a, b *node) {
		for range 100 {
			_ = a.Send(b.self.ID, []byte("to b"))
			_ = b.Send(a.self.ID, []byte("to a"))
		}
		for range 100 {
			<-a.in.packets
			<-b.in.packets
		}
		if got := post(t, a.Transport(b.self.ID), "/x", strings.NewReader("hi")); got != "a /x hi" {
			t.Errorf("rpc answered %q", got)
		}
		out, err := b.Stream(t.Context(), a.self.ID)
		if err != nil {
			t.Fatal(err)
		}
		in := <-a.in.streams
		go func() { _, _ = out.Write(make([]byte, 1<<20)); _ = out.Close() }()
		if n, err := io.Copy(io.Discard, in); n != 1<<20 || err != nil {
			t.Errorf("stream of %d bytes, %v", n, err)
		}
		_ = in.Close()
		time.Sleep(3 * time.Second) // past the time a redundant packet link has
		packets := 0
		for _, l := range a.Links() {
			if l.Channel == link.ChannelPacket {
				packets++
			}
		}
		if packets != 1 {
			t.Errorf("%d packet links, want 1", packets)
		}
	})
}

func TestSendTakesNoTimeAndNeverDials(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, b *node) {
		b.Forget(a.self.ID) // it must not open the link
		nw.cutOff("b:9113", true)
		refused := 0
		for range 20_000 { // 20 s, every ms
			begin := time.Now()
			if err := a.Send(b.self.ID, []byte("ping")); err != nil {
				if _, ok := err.(*net.OpError); !ok { //nolint:errorlint // memberlist looks with a type switch
					t.Fatalf("got %T, want a bare *net.OpError", err)
				}
				refused++
			}
			if took := time.Since(begin); took != 0 { // a dial would take 2 s
				t.Fatalf("Send took %v", took)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if got := nw.dialled(); got < 5 || got > 12 { // 2 s each, then at most 1.2 s of backoff
			t.Errorf("%d dials in 20 s", got)
		}
		if refused == 0 {
			t.Error("Send never reported the peer as down")
		}
		nw.cutOff("b:9113", false)
		time.Sleep(4 * time.Second)
		_ = a.Send(b.self.ID, []byte("back"))
		if got := <-b.in.packets; got.data != "back" {
			t.Errorf("got %q: stale packets were sent", got.data)
		}
	})
}

func TestStalePacketsAreThrownAway(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, b *node) {
		b.Forget(a.self.ID) // it must not open the link first
		nw.cutOff("b:9113", true)
		_ = a.Send(b.self.ID, []byte("stale")) // the dial gives up after 2 s
		time.Sleep(1500 * time.Millisecond)
		_ = a.Send(b.self.ID, []byte("fresh"))
		time.Sleep(600 * time.Millisecond)
		nw.cutOff("b:9113", false)
		b.Learn(a.self.ID, a.url)
		_ = b.Send(a.self.ID, []byte("hello")) // b's link is a's route
		<-a.in.packets
		if got := <-b.in.packets; got.data != "fresh" {
			t.Errorf("got %q, want fresh", got.data)
		}
	})
}

func TestAnIdleLinkLivesAndASilentOneDies(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, b *node) {
		_ = a.Send(b.self.ID, []byte("x"))
		<-b.in.packets
		synctest.Wait()
		since := a.Links()[0].Since
		time.Sleep(10 * time.Minute)
		if links := a.Links(); len(links) != 1 || links[0].Since != since {
			t.Fatalf("after 10 idle minutes: %+v", links)
		}
		mute := startMute(t, nw, a)
		if n := len(a.Links()); n != 2 {
			t.Fatalf("%d links, want 2", n)
		}
		time.Sleep(70 * time.Second)
		if n := len(a.Links()); n != 1 {
			t.Errorf("%d links after 70 s of silence, want 1", n)
		}
		mute.stop()
	})
}

// startMute runs a node whose connection to a goes silent once it is up.
func startMute(t *testing.T, nw *network, a *node) *node {
	t.Helper()
	var silence sync.Once
	quiet := make(chan struct{})
	mute := startVirtual(t, nw, selfBeside(t, "mute", a.self.ID, true), func(c *link.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := nw.dial(ctx, network, address)
			return &muteConn{Conn: nc, quiet: quiet}, err
		}
	})
	mute.Learn(a.self.ID, a.url)
	_ = mute.Send(a.self.ID, []byte("x"))
	<-a.in.packets
	synctest.Wait()
	silence.Do(func() { close(quiet) })
	return mute
}

// muteConn swallows writes once quiet is closed.
type muteConn struct {
	net.Conn
	quiet <-chan struct{}
}

func (c *muteConn) Write(b []byte) (int, error) {
	select {
	case <-c.quiet:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func TestANewBootReplacesASilentOne(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, _ *node) {
		mute := startMute(t, nw, a)
		self := mute.self
		self.Boot = muster.Boot{Counter: 2, Random: self.Boot.Random + 1}
		self.Name = "mute2" // another host
		reborn := startVirtual(t, nw, self)
		reborn.Learn(a.self.ID, a.url)
		begin := time.Now()
		_ = reborn.Send(a.self.ID, []byte("new boot"))
		if got := <-a.in.packets; got.data != "new boot" {
			t.Errorf("got %q", got.data)
		}
		if took := time.Since(begin); took < time.Second || took > 2*time.Second {
			t.Errorf("it took %v, want the 1 s that the old boot has to answer", took)
		}
		for _, l := range a.Links() {
			if l.Peer == self.ID && l.Boot != self.Boot {
				t.Errorf("the old boot's link is still there: %+v", l)
			}
		}
		if got := a.seenAlarms(); len(got) != 0 {
			t.Errorf("alarms %v", got)
		}
		mute.stop()
		reborn.stop()
	})
}

// TestAnIncomingLinkServesAWaitingQueue cuts one direction off: the queue of the side
// that cannot dial must not wait for its own attempt to end.
func TestAnIncomingLinkServesAWaitingQueue(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, b *node) {
		nw.cutOff("b:9113", true)
		b.Forget(a.self.ID)
		_ = a.Send(b.self.ID, []byte("waiting")) // its dial takes 2 s to fail
		time.Sleep(300 * time.Millisecond)
		b.Learn(a.self.ID, a.url)
		_ = b.Send(a.self.ID, []byte("hello"))
		<-a.in.packets
		begin := time.Now()
		if got := <-b.in.packets; got.data != "waiting" {
			t.Errorf("got %q", got.data)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the queue waited %v after the link was up", took)
		}
	})
}

// TestANewAddressIsDialledAtOnce learns a new address while the dial to the old one hangs.
func TestANewAddressIsDialledAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, nw *network, a, b *node) {
		b.Forget(a.self.ID)
		a.Forget(b.self.ID)
		nw.cutOff("old:9113", true)
		a.Learn(b.self.ID, "http://old:9113")
		_ = a.Send(b.self.ID, []byte("ping"))
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		a.Learn(b.self.ID, b.url)
		if got := <-b.in.packets; got.data != "ping" {
			t.Errorf("got %q", got.data)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

package link_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// lines counts the lines of a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.buf.Bytes(), []byte("\n"))
}

// TestTenMinutesOfAWrongCookieCostNothing: 20 calls a second from one address with a
// cookie of yesterday leave no goroutine, no socket, and a line a minute in the log.
func TestTenMinutesOfAWrongCookieCostNothing(t *testing.T) { //nolint:paralleltest // counts goroutines
	log, conns := &lines{}, &counted{}
	synctest.Test(t, func(t *testing.T) {
		nw := &network{listeners: make(map[string]*listener), cut: make(map[string]bool)}
		member := startVirtual(t, nw, newSelf(t, "member"), func(c *link.Config) {
			c.Log = slog.New(slog.NewTextHandler(log, nil)) // as in production: info and above
		})
		stranger := startVirtual(t, nw, newSelf(t, "stranger"), withCookie("other"), func(c *link.Config) {
			c.Dial = conns.count(nw.dial)
		})
		attempts, before := 0, 0
		for begun := time.Now(); time.Since(begun) < 10*time.Minute; time.Sleep(50 * time.Millisecond) {
			if _, err := stranger.Meet(t.Context(), member.url, ""); err == nil {
				t.Fatal("a stranger was accepted")
			}
			if attempts++; attempts == 100 {
				synctest.Wait()
				before = runtime.NumGoroutine()
			}
		}
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before+5 {
			t.Errorf("%d goroutines, were %d", after, before)
		}
		if open := conns.open(); open > 0 {
			t.Errorf("%d connections are open", open)
		}
		if n := log.count(); n < 1 || n > 15 {
			t.Errorf("%d lines in the log for %d attempts, want about one a minute", n, attempts)
		}
		untouched(t, member)
		stranger.stop()
		member.stop()
	})
}

// counted counts connections that were opened and not closed.
type counted struct {
	mu sync.Mutex
	n  int
}

func (c *counted) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
}

func (c *counted) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

type dialFunc = func(context.Context, string, string) (net.Conn, error)

func (c *counted) count(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.add(1)
		return &countedConn{Conn: nc, close: sync.OnceFunc(func() { c.add(-1) })}, nil
	}
}

type countedConn struct {
	net.Conn
	close func()
}

func (c *countedConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// TestACutOffPeerDelaysNobody: a node with many peers, one of which swallows
// everything. What Send costs is logged; that it never waits is what counts: in
// virtual time, any wait at all would show.
func TestACutOffPeerDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nw := &network{listeners: make(map[string]*listener), cut: make(map[string]bool)}
		hub := startVirtual(t, nw, newSelf(t, "hub"))
		peers := make([]*node, 20)
		for i := range peers {
			peers[i] = startVirtual(t, nw, newSelf(t, fmt.Sprintf("p%02d", i)))
			hub.Learn(peers[i].self.ID, peers[i].url)
		}
		lost := newSelf(t, "lost")
		nw.cutOff("lost:9113", true)
		hub.Learn(lost.ID, "http://lost:9113")
		bare := 0
		for range 200 { // 10 s
			if _, down := hub.Send(lost.ID, make([]byte, 1000)).(*net.OpError); down { //nolint:errorlint // as memberlist does it
				bare++
			}
			for _, p := range peers {
				begun := time.Now()
				if err := hub.Send(p.self.ID, []byte("x")); err != nil {
					t.Fatalf("send to %s: %v", p.self.Name, err)
				}
				if took := time.Since(begun); took != 0 {
					t.Fatalf("Send waited %v", took)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		for _, p := range peers {
			if n := len(p.in.packets); n != 200 {
				t.Errorf("%s received %d packets of 200", p.self.Name, n)
			}
		}
		if _, err, _ := hub.State(lost.ID); err == nil || bare == 0 {
			t.Errorf("the lost peer: last error %v, %d bare *net.OpErrors", err, bare)
		}
		hub.stop()
		for _, p := range peers {
			p.stop()
		}
	})
}

// TestAPeerThatStopsReadingDelaysNobody is the same with real sockets and a peer that
// accepts a link and never reads from it.
func TestAPeerThatStopsReadingDelaysNobody(t *testing.T) {
	t.Parallel()
	hub := start(t, newSelf(t, "hub"))
	stuck := enter(t, hub, "packet", newSelf(t, "stuck"))
	stuckID := receive(t, "up", hub.ups).ID
	others := make([]*node, 8)
	for i := range others {
		others[i] = start(t, newSelf(t, fmt.Sprintf("p%d", i)))
		hub.Learn(others[i].self.ID, others[i].url)
	}
	worst, refused := time.Duration(0), 0
	payload := make([]byte, 8000)
	for range 300 {
		_ = hub.Send(stuckID, payload)
		for _, p := range others {
			begun := time.Now()
			if hub.Send(p.self.ID, []byte("x")) != nil {
				refused++
			}
			worst = max(worst, time.Since(begun))
		}
	}
	t.Logf("worst Send of %d beside a peer that does not read: %v", 300*len(others), worst)
	for _, p := range others {
		receive(t, "packet", p.in.packets)
	}
	if refused != 0 {
		t.Errorf("%d packets to others were refused", refused)
	}
	_ = stuck
}

// TestAHugeCallIsCut sends more than the limit of one call in a member's name.
func TestAHugeCallIsCut(t *testing.T) {
	t.Parallel()
	read := make(chan int64, 1)
	b := start(t, newSelf(t, "b"), func(c *link.Config) {
		c.RPC = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			if read <- n; err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		})
	})
	w := enter(t, b, "rpc", newSelf(t, "hand"))
	w.data(fmt.Sprintf("POST /x HTTP/1.1\r\nHost: peer\r\nContent-Length: %d\r\n\r\n", 1<<30))
	go func() {
		part := frameOf(5, bytes.Repeat([]byte("x"), 60<<10))
		for range 400 {
			sealed, err := w.out.Encrypt(nil, nil, part)
			if err != nil {
				return
			}
			if _, err := w.nc.Write(webFrame(0x82, true, sealed)); err != nil {
				return
			}
		}
	}()
	if n := receive(t, "end of the body", read); n != 16<<20 {
		t.Errorf("the handler read %d bytes, want 16 MiB", n)
	}
}

// TestOneMemberHoldsNoMoreThanItsShare opens more calls than one peer may hold.
func TestOneMemberHoldsNoMoreThanItsShare(t *testing.T) {
	t.Parallel()
	b, self := start(t, newSelf(t, "b")), newSelf(t, "hand")
	for range 64 {
		enter(t, b, "rpc", self)
	}
	eventually(t, "64 calls are up", func() bool { return len(b.Links()) == 64 })
	w := knock(t, b.url, "rpc", b.self.ID)
	w.record(frameOf(16, helloOf(self, "rpc", w.binding)))
	if kind, body := w.frame(); kind != 18 || !strings.Contains(string(body), string(muster.CodeTooManyRequests)) {
		t.Errorf("connection 65: frame %d %s, want it refused", kind, body)
	}
	enter(t, b, "rpc", newSelf(t, "other")) // another member's share is its own
}

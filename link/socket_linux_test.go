package link_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/musterhq/muster/link"
)

// sockets collects the TCP connections of a node.
type sockets struct {
	mu   sync.Mutex
	list []*net.TCPConn
}

func (s *sockets) add(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, nc.(*net.TCPConn))
}

func (s *sockets) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		s.add(nc)
	}
	return nc, err
}

// timeouts returns the TCP_USER_TIMEOUT of each socket in milliseconds.
func (s *sockets) timeouts(t *testing.T) (found []int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.list {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
			if err != nil {
				t.Error(err)
			}
			found = append(found, ms)
		}); err != nil {
			t.Error(err)
		}
	}
	return found
}

// TestTheKernelGivesUpAfter3s: unacknowledged bytes end a packet link after 3 s, with
// and without TLS, on the side that dialled and on the one that accepted; a stream,
// whose reader may pause, after 15 s.
func TestTheKernelGivesUpAfter3s(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		var dialled, accepted sockets
		b := start(t, newSelf(t, "b"))
		mux := http.NewServeMux()
		mux.Handle(link.Path, b)
		srv := httptest.NewUnstartedServer(mux)
		srv.Config.ConnState = func(nc net.Conn, state http.ConnState) {
			if inner, ok := nc.(interface{ NetConn() net.Conn }); ok {
				nc = inner.NetConn()
			}
			if state == http.StateNew {
				accepted.add(nc)
			}
		}
		if secure {
			srv.StartTLS()
		} else {
			srv.Start()
		}
		a := start(t, newSelf(t, "a"), func(c *link.Config) {
			c.Dial = dialled.dial
			if secure {
				c.TLS = srv.Client().Transport.(*http.Transport).TLSClientConfig
			}
		})
		a.Learn(b.self.ID, srv.URL)
		_ = a.Send(b.self.ID, []byte("x"))
		receive(t, "packet", b.in.packets)
		stream, err := a.Stream(t.Context(), b.self.ID)
		if err != nil {
			t.Fatal(err)
		}
		receive(t, "stream", b.in.streams)
		for side, s := range map[string]*sockets{"dialled": &dialled, "accepted": &accepted} {
			if got := s.timeouts(t); len(got) != 2 || got[0] != 3000 || got[1] != 15000 {
				t.Errorf("TLS %v, %s: %v ms, want 3000 for packets and 15000 for the stream", secure, side, got)
			}
		}
		_ = stream.Close()
		b.stop()
		srv.Close()
	}
}

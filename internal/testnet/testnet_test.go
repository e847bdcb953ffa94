package testnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/internal/testnet"
)

// run runs f in a bubble, on a network with a listener at a:80 whose connections
// come out of accepted.
func run(t *testing.T, f func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.New(1)
		accepted := make(chan net.Conn, 1000)
		serve(t, n, accepted)
		f(t, n, accepted)
	})
}

func serve(t *testing.T, n *testnet.Network, accepted chan<- net.Conn) {
	t.Helper()
	l, err := n.Host("a").Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
}

func dial(t *testing.T, n *testnet.Network) net.Conn {
	t.Helper()
	c, err := n.Host("b").Dial(t.Context(), "tcp", "a:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func TestConnectionsCarryBothDirectionsAndEnd(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		send(t, near, "hello")
		send(t, far, "good day")
		receive(t, far, "hello")
		receive(t, near, "good day")
		send(t, near, "last words")
		_ = near.Close()
		receive(t, far, "last words")
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read after the peer closed: %v, want EOF", err)
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after the peer closed: %v, want EPIPE", err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after own close: %v, want ErrClosed", err)
		}
		if near.RemoteAddr().String() != "a:80" || far.RemoteAddr().String() != near.LocalAddr().String() {
			t.Errorf("addresses: %v, %v", near.RemoteAddr(), far.RemoteAddr())
		}
	})
}

func TestWritesAreBufferedAndBounded(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		_ = near.SetWriteDeadline(time.Now().Add(time.Second))
		sent, err := near.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || sent == 0 || sent == 1<<20 {
			t.Fatalf("wrote %d, %v; want some and a deadline", sent, err)
		}
		_ = near.SetWriteDeadline(time.Time{})
		done := make(chan error, 1)
		go func() { _, err := near.Write(make([]byte, 1<<20)); done <- err }()
		if _, err := io.ReadFull(<-accepted, make([]byte, sent+1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeadlinesEndReadsUnderWay(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, _ <-chan net.Conn) {
		near := dial(t, n)
		time.AfterFunc(time.Minute, func() { _ = near.SetReadDeadline(time.Now().Add(time.Second)) })
		start := time.Now()
		_, err := near.Read(make([]byte, 1))
		ne, ok := errors.AsType[net.Error](err)
		if !ok || !ne.Timeout() || time.Since(start) != 61*time.Second {
			t.Fatalf("read ended with %v after %v", err, time.Since(start))
		}
	})
}

func TestDelayKeepsOrder(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		n.Delay(100*time.Millisecond, 50*time.Millisecond)
		start := time.Now()
		near := dial(t, n)
		if took := time.Since(start); took < 200*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("dial took %v, want a round trip", took)
		}
		far := <-accepted
		start = time.Now()
		for _, c := range "abcdefghij" {
			send(t, near, string(c))
		}
		receive(t, far, "abcdefghij")
		if took := time.Since(start); took < 100*time.Millisecond || took > 150*time.Millisecond {
			t.Errorf("delivery took %v", took)
		}
	})
}

func TestCutStallsAndMendDelivers(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		n.Cut("a", "b")
		send(t, near, "late")
		_ = far.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read over a cut cable: %v", err)
		}
		_ = far.SetReadDeadline(time.Time{})
		n.Mend("a", "b")
		receive(t, far, "late")
	})
}

func TestBlockIsOneWay(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		n.Block("b", "a")
		send(t, near, "to a")
		send(t, far, "to b")
		receive(t, near, "to b")
		_ = near.Close()
		time.AfterFunc(time.Minute, func() { n.Unblock("b", "a") })
		start := time.Now()
		receive(t, far, "to a")
		if time.Since(start) != time.Minute {
			t.Errorf("delivered after %v, want 1m", time.Since(start))
		}
	})
}

func TestDialHangsWhileCut(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, _ <-chan net.Conn) {
		n.Partition([]string{"a"}, []string{"b", "c"})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := n.Dial(ctx, "b", "a:80")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("dial ended with %v after %v", err, time.Since(start))
		}
		_, err = n.Dial(t.Context(), "c", "a:80")
		if !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("dial without a deadline: %v, want ETIMEDOUT", err)
		}
		time.AfterFunc(time.Second, n.MendAll)
		dial(t, n)
	})
}

func TestKillResetsAndRefusesUntilRestart(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		time.AfterFunc(time.Second, func() { n.Kill("a") })
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read from a killed host: %v, want ECONNRESET", err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read on a killed host: %v, want ErrClosed", err)
		}
		if _, err := n.Dial(t.Context(), "b", "a:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a killed host: %v, want ECONNREFUSED", err)
		}
		if _, err := n.Listen("a:80"); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("listen on a killed host: %v, want ENETDOWN", err)
		}
		n.Restart("a")
		again := make(chan net.Conn, 1)
		serve(t, n, again)
		send(t, dial(t, n), "back")
		receive(t, <-again, "back")
	})
}

func TestIsolatedHostNeverHearsOfAReset(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, _ <-chan net.Conn) {
		near := dial(t, n)
		n.Isolate("a")
		n.Kill("a")
		_ = near.SetDeadline(time.Now().Add(time.Minute))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want silence", err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v, want the deadline", err)
		}
	})
}

func TestPortsAreExclusiveAndChosen(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, _ <-chan net.Conn) {
		if _, err := n.Listen("a:80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v, want EADDRINUSE", err)
		}
		if _, err := n.Host("b").Listen("a:81"); err == nil {
			t.Error("b could listen on an address of a")
		}
		l, err := n.Host("b").Listen(":0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.Dial(t.Context(), "a", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("never accepted: %v, want ECONNRESET", err)
		}
	})
}

func TestBacklogMakesDialsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.New(1)
		l, err := n.Listen("a:80")
		if err != nil {
			t.Fatal(err)
		}
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := n.Dial(ctx, "b", "a:80")
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(time.Second, func() { _, _ = l.Accept() })
		dial(t, n)
		_ = l.Close()
	})
}

func TestServesHTTPInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := testnet.New(1)
		n.Delay(10*time.Millisecond, 5*time.Millisecond)
		l, err := n.Listen("a:80")
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.Repeat([]byte("muster "), 100_000)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour)
			_, _ = w.Write(body)
		})}
		go func() { _ = server.Serve(l) }()
		transport := &http.Transport{DialContext: n.Host("b").Dial}
		answer, err := (&http.Client{Transport: transport}).Get("http://a:80/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		got, err := io.ReadAll(answer.Body)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(body))
		}
		transport.CloseIdleConnections()
		_ = server.Close()
	})
}

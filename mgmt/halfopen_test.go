package mgmt_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/musterhq/muster/mgmt"
)

// TestTooManyHalfOpenConnectionsCostTheOldest: 512 callers that never finish their
// header are borne, the next one ends the oldest. Who has sent a whole request is not
// counted, neither while it is answered nor while the connection waits for the next.
func TestTooManyHalfOpenConnectionsCostTheOldest(t *testing.T) {
	t.Parallel()
	working, release := make(chan struct{}), make(chan struct{})
	srv := mgmt.NewHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(working)
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-ended })

	say := func(text string) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(nc, text); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	slow := say("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-working
	idle := say("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := idle.Read(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	begun, half := time.Now(), make([]net.Conn, 0, 520)
	for range 520 {
		half = append(half, say("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	}
	for i, nc := range half[:8] {
		if _, err := nc.Read(make([]byte, 1)); err == nil || timedOut(err) {
			t.Errorf("connection %d: %v, want it closed", i, err)
		}
	}
	if took := time.Since(begun); took > 4*time.Second { // the header's own limit is 5 s
		t.Logf("it took %v: this machine is too busy to tell the cap from the limit", took)
	}
	for i, nc := range half[8:40] {
		_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := nc.Read(make([]byte, 1)); !timedOut(err) && time.Since(begun) < 4*time.Second {
			t.Errorf("connection %d: %v, want it open", i+8, err)
		}
	}
	if _, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	if _, err := idle.Read(make([]byte, 512)); err != nil {
		t.Errorf("a caller between two requests was cut: %v", err)
	}
	close(release)
	if _, err := slow.Read(make([]byte, 512)); err != nil {
		t.Errorf("a caller that is being answered was cut: %v", err)
	}
}

func timedOut(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

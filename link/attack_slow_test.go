package link_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// lifetime sends bytes, one each second, until the connection is cut.
func lifetime(w *wire, trickle []byte) time.Duration {
	begun := time.Now()
	w.live(false) // takes whatever comes
	for time.Since(begun) < time.Minute {
		time.Sleep(time.Second)
		if len(trickle) == 0 {
			trickle = []byte{0}
		}
		if _, err := w.nc.Write(trickle[:1]); err != nil {
			break
		}
		trickle = trickle[1:]
	}
	return time.Since(begun)
}

// TestASlowHandshakeIsCut: a hand-made peer that holds the cookie sends message 1 and
// then a byte per second of whatever keeps a reader waiting. After 2 s it is over;
// pings prolong nothing.
func TestASlowHandshakeIsCut(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		self := newSelf(t, "hand")
		for name, bytes := range map[string]func(w *wire) []byte{
			"a hello":         func(w *wire) []byte { return w.sealed(frameOf(16, helloOf(self, "packet", w.binding))) },
			"pings":           func(*wire) []byte { return []byte(strings.Repeat(string(webFrame(0x89, true, nil)), 30)) },
			"a long message":  func(*wire) []byte { return webFrame(0x82, true, make([]byte, 8000)) },
			"half a record":   func(w *wire) []byte { return w.sealed(frameOf(16, make([]byte, 4000))) },
			"nothing but one": func(*wire) []byte { return []byte{0x82} },
		} {
			nc, err := nw.dial(t.Context(), "tcp", "a:9113")
			if err != nil {
				t.Fatal(err)
			}
			w := &wire{t: t, nc: nc, br: bufio.NewReader(nc)}
			w.shake("packet", openingOf("packet", a.self.ID))
			if took := lifetime(w, bytes(w)); took > 3*time.Second {
				t.Errorf("%s: it held the connection for %v, want 2 s", name, took)
			}
		}
		untouched(t, a)
	})
}

// TestASlowHeaderHoldsNoHandshake: the same before message 1 is whole; the time for a
// header is the HTTP server's, here 1 s.
func TestASlowHeaderHoldsNoHandshake(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		nc, err := nw.dial(t.Context(), "tcp", "a:9113")
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{t: t, nc: nc, br: bufio.NewReader(nc)}
		key := keyOf("secret")
		text := request("packet", firstMessage(t, noiseOf(t, true, key, "packet"), key, openingOf("packet", a.self.ID)))
		if took := lifetime(w, []byte(text)); took > 3*time.Second {
			t.Errorf("it held the connection for %v", took)
		}
		untouched(t, a)
	})
}

// TestASlowAnswerIsGivenUp: whom we dial answers a byte per second. A packet dial ends
// after 2 s, any other after 5 s.
func TestASlowAnswerIsGivenUp(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		ln := nw.listen("slow:9113")
		go func() {
			for nc, err := ln.Accept(); err == nil; nc, err = ln.Accept() {
				go func() { _, _ = io.Copy(io.Discard, nc) }()
				go func() {
					for _, b := range []byte("HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("X: y\r\n", 100)) {
						if _, err := nc.Write([]byte{b}); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
			}
		}()
		id := selfBeside(t, "slow", a.self.ID, false).ID
		begun := time.Now()
		_, err := a.Meet(t.Context(), "http://slow:9113", id)
		wantCode(t, err, muster.CodePeerUnreachable)
		if took := time.Since(begun); took > 5*time.Second || link.Class(err) != "timeout" {
			t.Errorf("a call: given up after %v with class %s", took, link.Class(err))
		}
		begun = time.Now()
		a.Learn(id, "http://slow:9113")
		_ = a.Send(id, []byte("x"))
		for _, err, _ := a.State(id); err == nil && time.Since(begun) < time.Minute; _, err, _ = a.State(id) {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(begun); took > 2100*time.Millisecond {
			t.Errorf("a packet link: given up after %v", took)
		}
		_ = ln.Close()
		time.Sleep(2 * time.Second) // the slow one notices
	})
}

// TestTheBodyOfAnUpgradeIsNotRead: a GiB behind the request stays with its sender.
func TestTheBodyOfAnUpgradeIsNotRead(t *testing.T) {
	alone(t, func(t *testing.T, nw *network, a *node) {
		key := keyOf("secret")
		for _, header := range []string{fmt.Sprint("Content-Length: ", 1<<30), "Transfer-Encoding: chunked"} {
			nc, err := nw.dial(context.Background(), "tcp", "a:9113")
			if err != nil {
				t.Fatal(err)
			}
			w := &wire{t: t, nc: nc, br: bufio.NewReader(nc)}
			opening := firstMessage(t, noiseOf(t, true, key, "packet"), key, openingOf("packet", a.self.ID))
			w.write([]byte(request("packet", opening, header)))
			taken := make(chan int, 1)
			go func() { taken <- flood(nc) }()
			if resp := w.answer(); resp.StatusCode != 400 {
				t.Errorf("%s: %s, want 400", header, resp.Status)
			}
			go func() { _, _ = io.Copy(io.Discard, w.br) }()
			if n := <-taken; n > 8<<10 {
				t.Errorf("%s: %d bytes of the body were read", header, n)
			}
		}
		untouched(t, a)
	})
}

// flood writes chunks of an HTTP body until nobody takes them.
func flood(nc net.Conn) (taken int) {
	chunk := []byte("400\r\n" + strings.Repeat("x", 1024) + "\r\n")
	for taken < 1<<20 {
		n, err := nc.Write(chunk)
		taken += n
		if err != nil {
			break
		}
	}
	return taken
}

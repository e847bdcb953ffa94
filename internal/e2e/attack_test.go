package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// maxGrowth is how much memory an attack may make a node take.
const maxGrowth = 64 << 20

// victim is a node under attack with a friend who must not notice, and what the node
// held before.
type victim struct {
	*node
	friend                     *node
	rss, descriptors, routines int
}

// newVictim starts two members and measures the first one.
func newVictim(t *testing.T) *victim {
	t.Helper()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	v := &victim{node: n1, friend: n2}
	for range 20 { // what is taken once and kept, for pools and caches
		v.mustStatus()
	}
	v.rss, v.descriptors, v.routines = v.memory(), v.files(), v.goroutines()
	return v
}

// memory is the resident memory of the process in bytes.
func (v *victim) memory() int {
	v.c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.PID()))
	if err != nil {
		v.c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	v.c.t.Fatal("no VmRSS")
	return 0
}

// files counts the open descriptors of the process.
func (v *victim) files() int {
	v.c.t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(v.PID()), "fd"))
	if err != nil {
		v.c.t.Fatal(err)
	}
	return len(entries)
}

// unharmed checks, during an attack, memory and membership.
func (v *victim) unharmed(when string) {
	v.c.t.Helper()
	if grown := v.memory() - v.rss; grown > maxGrowth {
		v.c.t.Errorf("%s: %d MiB more memory than before, budget %d", when, grown>>20, maxGrowth>>20)
	}
	if err := sees(muster.StateAlive, "n1", v.friend); err != nil {
		v.c.t.Errorf("%s: %v", when, err)
	}
	if s := v.friend.mustStatus(); s.Members != 2 {
		v.c.t.Errorf("%s: %d members, want 2", when, s.Members)
	}
}

// recovered checks that everything is given back within 10 s after an attack.
func (v *victim) recovered() {
	t := v.c.t
	t.Helper()
	t.Logf("memory %d MiB, was %d", v.memory()>>20, v.rss>>20)
	v.unharmed("afterwards")
	took := eventually(t, 10*time.Second, func() error {
		if files, routines := v.files(), v.goroutines(); files > v.descriptors+4 || routines > v.routines+8 {
			return fmt.Errorf("%d descriptors, were %d; %d goroutines, were %d", files, v.descriptors, routines, v.routines)
		}
		return firstError(v.healthy(2), v.friend.healthy(2))
	})
	t.Logf("descriptors and goroutines back after %s", took)
}

// connect opens a raw connection that ends with the test.
func (v *victim) connect() net.Conn {
	v.c.t.Helper()
	nc, err := net.DialTimeout("tcp", v.addr, 10*time.Second)
	if err != nil {
		v.c.t.Fatal(err)
	}
	v.c.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// siege is how long slow attacks last.
func siege() time.Duration {
	if os.Getenv("MUSTER_LONG") != "" {
		return time.Minute
	}
	return 8 * time.Second
}

// TestHalfOpenHeadersDoNoHarm: 2,000 connections that never finish their header, each
// opened anew when the node has had enough of it.
func TestHalfOpenHeadersDoNoHarm(t *testing.T) { //nolint:paralleltest // measures memory
	v := newVictim(t)
	for name, text := range map[string]string{
		"a page": "GET /cluster/status HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"a link": "GET /cluster/v1/gossip HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nMuster-Noise: v=1;k=",
	} {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 2000 {
			wg.Go(func() { v.halfOpen(text, stop) })
		}
		tick := time.NewTicker(time.Second)
		for end := time.Now().Add(siege() / 2); time.Now().Before(end); <-tick.C {
			v.unharmed(name)
			if _, err := v.get("/cluster/status", nil); err != nil {
				t.Errorf("%s: an operator is not served: %v", name, err)
			}
		}
		tick.Stop()
		t.Logf("%s: %d MiB more memory, %d descriptors", name, (v.memory()-v.rss)>>20, v.files())
		close(stop)
		wg.Wait()
	}
	v.recovered()
}

// halfOpen keeps one connection with a header that grows and never ends.
func (v *victim) halfOpen(text string, stop <-chan struct{}) {
	for {
		nc, err := net.DialTimeout("tcp", v.addr, 10*time.Second)
		if err == nil {
			_, err = io.WriteString(nc, text)
		}
		for err == nil {
			select {
			case <-stop:
				_ = nc.Close()
				return
			case <-time.After(time.Second):
				_, err = nc.Write([]byte("a"))
			}
		}
		if nc != nil {
			_ = nc.Close()
		}
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestAnEndlessBodyIsNotRead: a gigabyte in chunks, of a stranger and of an operator.
func TestAnEndlessBodyIsNotRead(t *testing.T) { //nolint:paralleltest // measures memory
	v := newVictim(t)
	for name, c := range map[string]struct {
		head        string
		status, max int
	}{

		"a stranger":  {"", http.StatusUnauthorized, 64 << 10},
		"an operator": {"Authorization: Bearer " + v.c.token + "\r\n", http.StatusRequestEntityTooLarge, muster.MaxSpec + 512<<10},
	} {
		nc := v.connect()
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		before := v.read()
		_, _ = io.WriteString(nc, "PUT /v1/config/route/big HTTP/1.1\r\nHost: "+v.addr+"\r\nIf-None-Match: *\r\n"+
			"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"+c.head+"\r\n")
		sent := make(chan int, 1)
		go func() { sent <- pump(nc, 1<<30) }()
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil || resp.StatusCode != c.status {
			t.Errorf("%s: %v %v, want %d", name, resp, err, c.status)
		}
		const gossip = 64 << 10 // what members say to each other meanwhile
		read := v.read() - before
		if read > c.max+gossip {
			t.Errorf("%s: the node has read %d bytes, want at most %d", name, read, c.max)
		}
		if n := <-sent; n >= 1<<30 {
			t.Errorf("%s: the connection was never closed", name)
		}
		t.Logf("%s: %d bytes read", name, read)
		v.unharmed(name)
	}
	v.recovered()
}

// TestAStrangersSmallBodyGetsItsAnswer: a connection that is closed over unread bytes
// must not take the answer with it.
func TestAStrangersSmallBodyGetsItsAnswer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	body := `{"x":"` + strings.Repeat("x", 20<<10) + `"}`
	for range 100 {
		p, err := n.problemOf(http.MethodPut, "/v1/config/route/x", body, "Authorization", "Bearer wrong")
		if err != nil || p.Status != http.StatusUnauthorized && p.Status != http.StatusTooManyRequests {
			t.Fatalf("answer %+v, %v", p, err)
		}
	}
}

// read is how many bytes the process has read since its start, from anywhere.
func (v *victim) read() (bytes int) {
	v.c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", v.PID()))
	if err == nil {
		_, err = fmt.Sscanf(string(text), "rchar: %d", &bytes)
	}
	if err != nil {
		v.c.t.Fatal(err)
	}
	return bytes
}

// pump writes chunks until the other side closes, and returns how much went out.
func pump(nc net.Conn, limit int) (sent int) {
	chunk := append(append([]byte("4000\r\n"), bytes.Repeat([]byte("x"), 0x4000)...), "\r\n"...)
	for sent < limit {
		n, err := nc.Write(chunk)
		if sent += n; err != nil {
			break
		}
	}
	return sent
}

// TestBadLoginsDoNotLockOutTheGood: a thousand wrong login codes and tokens, then the
// right ones from the same address.
func TestBadLoginsDoNotLockOutTheGood(t *testing.T) { //nolint:paralleltest // measures memory
	v := newVictim(t)
	limited := 0
	for i := range 1000 {
		var p problem
		var err error
		if i%2 == 0 {
			p, err = v.problemOf(http.MethodPost, "/v1/session", fmt.Sprintf(`{"code":"wrong-%d"}`, i), "Authorization", "", "Content-Type", "application/json")
		} else {
			p, err = v.problemOf(http.MethodGet, "/v1/session", "", "Authorization", fmt.Sprintf("Bearer wrong.%d.x", i))
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case p.Status == http.StatusTooManyRequests:
			limited++
		case p.Status < 400:
			t.Fatalf("a wrong credential was answered %d", p.Status)
		}
	}
	if limited == 0 {
		t.Error("a thousand wrong credentials met no limit")
	}
	if _, err := v.get("/v1/session", nil); err != nil {
		t.Errorf("the right token from the same address: %v", err)
	}
	var login struct{ Code string }
	_, data, err := v.request(http.MethodPost, "/v1/logins", "")
	if err == nil {
		err = json.Unmarshal(data, &login)
	}
	if err != nil || login.Code == "" {
		t.Fatalf("a login code: %s %v", data, err)
	}
	res, data, err := v.request(http.MethodPost, "/v1/session", `{"code":"`+login.Code+`"}`, "Authorization", "", "Content-Type", "application/json")
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Errorf("the right code from the same address: %s %v", data, err)
	}
	if n := strings.Count(v.Output(), "credential refused"); n > 20 {
		t.Errorf("%d log lines for a thousand wrong credentials", n)
	}
	t.Logf("%d of 1000 were limited", limited)
	v.recovered()
}

// TestSlowWritersAreCutOff: bodies and handshakes that trickle.
func TestSlowWritersAreCutOff(t *testing.T) { //nolint:paralleltest // measures memory
	v := newVictim(t)
	text := "GET /cluster/status HTTP/1.1\r\nHost: " + v.addr + "\r\nX: "
	nc := v.connect()
	_, _ = io.WriteString(nc, text)
	begun := time.Now()
	_ = nc.SetReadDeadline(begun.Add(20 * time.Second))
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := nc.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	_, err := io.Copy(io.Discard, nc)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a header in drops was listened to for %v (%v)", took, err)
	}
	v.recovered()
}

package e2e_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestReplayedLinksHaveNoEffect captures all that a member sends to another one, a
// forwarded write among it, and plays each connection to that node and to others.
func TestReplayedLinksHaveNoEffect(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	home := c.node("home")
	wire := newTap(t, home.addr)
	home.args = []string{"--mgmt-advertise", "http://" + wire.addr()}
	home.up()
	n2 := c.node("n2", "--cluster-join-endpoint", "http://"+wire.addr()).up()
	n3 := c.node("n3", "--cluster-join-endpoint", "http://"+wire.addr()).up()
	nodes := []*node{home, n2, n3}
	all(t, 15*time.Second, nodes...)
	if _, err := n2.create("route/demo", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
	var calls [][]byte
	for _, call := range wire.recorded() {
		if bytes.HasPrefix(call, []byte("GET /cluster/v1/gossip ")) {
			calls = append(calls, call)
		}
	}
	before, rev := settledLinks(t, nodes), home.mustStatus().Config.Rev
	if rev != 1 || len(calls) < 4 {
		t.Fatalf("%d connections were captured, and the revision is %d; want at least 4 and 1", len(calls), rev)
	}
	for _, n := range nodes {
		answers := map[int]int{}
		for _, call := range calls {
			answers[playTo(t, n, call)]++
		}
		t.Logf("%s answered %v to %d captured connections", n.name, answers, len(calls))
		if n == home && answers[http.StatusBadRequest] != len(calls) {
			t.Errorf("the node that was called answers %v to the same bytes, want 400 to all", answers)
		}
	}
	all(t, 5*time.Second, nodes...)
	after := settledLinks(t, nodes)
	for _, n := range nodes {
		if got := n.mustStatus().Config.Rev; got != rev {
			t.Errorf("%s is at revision %d, want %d: a captured write was done again", n.name, got, rev)
		}
		if after[n.name] != before[n.name] {
			t.Errorf("%s: packet links and good handshakes %v, before the replay %v", n.name, after[n.name], before[n.name])
		}
		if got := n.mustStatus().Members; got != 3 {
			t.Errorf("%s sees %d members, want 3", n.name, got)
		}
	}
}

// playTo sends captured bytes to a node, waits until it ends the connection, and
// returns the status of its answer.
func playTo(t *testing.T, n *node, call []byte) int {
	t.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	go func() { _, _ = nc.Write(call) }() // the node may have had enough of it before the end
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer := bufio.NewReader(nc)
	res, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatalf("%s: %v", n.name, err)
	}
	_ = res.Body.Close() // the rest is read below
	if _, err := io.Copy(io.Discard, answer); err != nil && isTimeout(err) {
		t.Errorf("%s keeps a replayed connection: %v", n.name, err)
	}
	return res.StatusCode
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // as the socket returns it
	return ok && timeout.Timeout()
}

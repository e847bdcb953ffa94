package link_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster/link"
	"github.com/prometheus/client_golang/prometheus"
)

// holdDial makes a node's dials wait until release is closed.
func holdDial(release <-chan struct{}) func(*link.Config) {
	return func(c *link.Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			select {
			case <-release:
				return new(net.Dialer).DialContext(ctx, network, address)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// counter returns the value of a counter with a label.
func counter(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, label)
	return 0
}

func TestAFullQueueDropsTheNewestAndCounts(t *testing.T) {
	t.Parallel()
	release, reg := make(chan struct{}), prometheus.NewRegistry()
	a := start(t, newSelf(t, "a"), holdDial(release), func(c *link.Config) { c.Metrics = reg })
	b := start(t, newSelf(t, "b"))
	a.Learn(b.self.ID, b.url)
	const extra = 40
	for i := range link.MaxQueuePackets + extra {
		if err := a.Send(b.self.ID, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	for i := range link.MaxQueuePackets {
		if got := receive(t, "packet", b.in.packets); got.data != fmt.Sprint(i) {
			t.Fatalf("packet %q at place %d", got.data, i)
		}
	}
	if got := counter(t, reg, "muster_link_dropped_total", "queue_full"); got != extra {
		t.Errorf("%v drops counted, want %d", got, extra)
	}
	_ = a.Send(b.self.ID, []byte("afterwards"))
	if got := receive(t, "packet", b.in.packets); got.data != "afterwards" {
		t.Errorf("got %q: a dropped packet arrived", got.data)
	}
}

func TestALargeQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	a := start(t, newSelf(t, "a"), holdDial(nil), func(c *link.Config) { c.Metrics = reg })
	id := newSelf(t, "b").ID
	a.Learn(id, "http://127.0.0.1:9")
	for range 5 {
		if err := a.Send(id, make([]byte, 60_000)); err != nil {
			t.Fatal(err)
		}
	}
	if got := counter(t, reg, "muster_link_dropped_total", "queue_full"); got != 1 {
		t.Errorf("%v drops for 300 kB, want 1", got)
	}
}

// TestACutOffPeerHoldsNobodyUp sends to a peer whose host swallows everything, while
// others go on.
func TestACutOffPeerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	a, b := pair(t)
	dead := newSelf(t, "dead").ID
	a.Learn(dead, "http://"+silent.Addr().String())
	var calls []time.Duration
	refused := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		begin := time.Now()
		if err := a.Send(dead, []byte("ping")); err != nil {
			refused++
		}
		calls = append(calls, time.Since(begin))
		if err := a.Send(b.self.ID, []byte("x")); err != nil {
			t.Fatal(err)
		}
		receive(t, "packet at the healthy peer", b.in.packets)
	}
	slices.Sort(calls) // the very worst ones belong to the scheduler; see the test in virtual time
	if got := calls[len(calls)*99/100]; got > 20*time.Millisecond {
		t.Errorf("one call in a hundred took %v", got)
	}
	if got := calls[len(calls)-1]; got > time.Second {
		t.Errorf("the worst call took %v", got)
	}
	if refused == 0 {
		t.Error("the peer was never reported as down")
	}
}

func TestABackoffAnswersWithABareOpError(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	a := start(t, newSelf(t, "a"))
	id := newSelf(t, "b").ID
	a.Learn(id, "http://"+closed.Addr().String())
	var got error
	eventually(t, "Send reports the failure", func() bool {
		got = a.Send(id, []byte("ping"))
		return got != nil
	})
	op, ok := got.(*net.OpError) //nolint:errorlint // memberlist looks with a type switch
	if !ok || op.Op != "dial" || op.Net != "tcp" {
		t.Fatalf("got %T %v, want a bare *net.OpError{dial tcp}", got, got)
	}
	if class := link.Class(got); class != "refused" {
		t.Errorf("class %q of %v, want refused", class, got)
	}
	if err := a.Send(newSelf(t, "unknown").ID, nil); !errors.As(err, &op) {
		t.Errorf("unknown peer: %v, want a *net.OpError", err)
	}
}

func TestForgetEndsTheRoute(t *testing.T) {
	t.Parallel()
	a, b := start(t, newSelf(t, "a")), start(t, newSelf(t, "b"))
	a.Learn(b.self.ID, b.url)
	a.Forget(b.self.ID)
	if err := a.Send(b.self.ID, []byte("x")); err == nil {
		t.Error("a forgotten peer was accepted")
	}
	if _, err := a.Stream(t.Context(), b.self.ID); err == nil {
		t.Error("a stream to a forgotten peer was opened")
	}
}

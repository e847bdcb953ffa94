package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func byName(t *testing.T) map[string]contender {
	t.Helper()
	list, err := contenders()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]contender{}
	for _, c := range list {
		all[c.name] = c
	}
	return all
}

func begin(t *testing.T, c contender, p place) endpoint {
	t.Helper()
	e, err := c.start(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.end)
	return e
}

func TestEveryTransportDeliversAllPackets(t *testing.T) {
	t.Parallel()
	for name, c := range byName(t) {
		a, b := begin(t, c, place{ip: "127.0.0.1"}), begin(t, c, place{ip: "127.0.0.1"})
		for i := range 500 {
			if err := a.send([]byte{byte(i)}, b); err != nil {
				t.Fatalf("%s: packet %d: %v", name, i, err)
			}
			select {
			case p := <-b.PacketCh():
				if len(p.Buf) != 1 || p.Buf[0] != byte(i) {
					t.Fatalf("%s: packet %d arrived as %v", name, i, p.Buf)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: packet %d did not arrive within 10 s", name, i)
			}
		}
	}
}

func TestEveryTransportOpensStreams(t *testing.T) {
	t.Parallel()
	for name, c := range byName(t) {
		a, b := begin(t, c, place{ip: "127.0.0.1"}), begin(t, c, place{ip: "127.0.0.1"})
		if err := openStreams(a, b, 3, result{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestErrorTypesTowardsTheDead: memberlist suspects a member after a failed write only
// if the error is a bare *net.OpError; it looks with a type assertion.
func TestErrorTypesTowardsTheDead(t *testing.T) {
	t.Parallel()
	all := byName(t)
	for _, name := range []string{nameSealed, nameTLS} {
		a, gone := begin(t, all[name], place{ip: "127.0.0.1"}), nobody(t, all[name])
		var err error
		if !poll(10*time.Second, func() bool { err = a.send([]byte("ping"), gone); return err != nil }) {
			t.Errorf("%s: nobody is told that the peer is gone", name)
		}
		if op, bare := err.(*net.OpError); !bare || op.Op != "dial" || op.Net != "tcp" { //nolint:errorlint // as memberlist does it
			t.Errorf("%s: memberlist is told %T %v", name, err, err)
		}
	}
	a, gone := begin(t, all[namePost], place{ip: "127.0.0.1"}), nobody(t, all[namePost])
	err := a.send([]byte("ping"), gone)
	if _, wrapped := err.(*url.Error); !wrapped { //nolint:errorlint // same
		t.Errorf("post: memberlist is told %T %v", err, err)
	}
}

// nobody returns an endpoint that has ended.
func nobody(t *testing.T, c contender) endpoint {
	t.Helper()
	e, err := c.start(place{ip: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	e.end()
	return e
}

// TestCutOffPeerHoldsUpNobodyElse sends to a peer whose dial hangs until the end of the
// test, and then to another one, from one goroutine.
func TestCutOffPeerHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	all := byName(t)
	for _, name := range []string{nameSealed, nameTLS} {
		stuck, other := begin(t, all[name], place{ip: "127.0.0.1"}), begin(t, all[name], place{ip: "127.0.0.1"})
		dialling := make(chan struct{}, 100) // more than there will be dials
		a := begin(t, all[name], place{ip: "127.0.0.1", dial: func(ctx context.Context, kind, address string) (net.Conn, error) {
			if address == stuck.address {
				dialling <- struct{}{}
				return blackhole(ctx, kind, address)
			}
			return (&net.Dialer{}).DialContext(ctx, kind, address)
		}})
		for range 1000 {
			var op *net.OpError
			if err := a.send([]byte("ping"), stuck); err != nil && !errors.As(err, &op) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		<-dialling
		for i := range 100 {
			if err := a.send([]byte("ping"), other); err != nil {
				t.Fatalf("%s: packet %d to the other peer: %v", name, i, err)
			}
			if !arrives(other, 10*time.Second) {
				t.Fatalf("%s: packet %d did not reach the other peer", name, i)
			}
		}
	}
}

// TestOnlyBareErrorsLeadToSuspicion runs two clusters side by side and kills a member
// of each. When the one over sealed links has found it dead, the other one still
// believes it alive: its errors are not the ones that memberlist looks for.
func TestOnlyBareErrorsLeadToSuspicion(t *testing.T) {
	t.Parallel()
	all := byName(t)
	deaf, keen := newTrio(t, all[namePost], 0), newTrio(t, all[nameSealed], 3)
	_, _ = deaf.members[2].list.Shutdown(), keen.members[2].list.Shutdown()
	if !poll(20*time.Second, func() bool {
		_, first := keen.members[0].death(keen.members[2].name)
		_, second := keen.members[1].death(keen.members[2].name)
		return first && second
	}) {
		t.Fatal("sealed: the dead member was not found within 20 s")
	}
	for _, m := range deaf.members[:2] {
		if _, dead := m.death(deaf.members[2].name); dead {
			t.Errorf("post: %s found the dead member, which its error types should prevent", m.name)
		}
	}
}

// newTrio starts three members from an address on.
func newTrio(t *testing.T, c contender, first int) *cluster {
	t.Helper()
	cl := &cluster{contender: c, net: newNetwork(), started: first, result: result{}}
	t.Cleanup(cl.stop)
	if err := cl.form(3); err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestVerdictsFollowTheBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target target
		value  float64
		want   string
	}{
		{target{atLeast: true, bound: 8}, 8.1, "ok"},
		{target{atLeast: true, bound: 8}, 7.9, "missed"},
		{target{bound: 20}, 20, "ok"},
		{target{bound: 20}, 20.1, "missed"},
	} {
		if got := c.target.verdict(c.value); got != c.want {
			t.Errorf("%v against %+v: %s, want %s", c.value, c.target, got, c.want)
		}
	}
}

var _ memberlist.NodeAwareTransport = (*post)(nil)

package link_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster/link"
)

// token reads on to a dial-back frame and returns what it asks for.
func (w *wire) token() string {
	w.t.Helper()
	for {
		kind, body := w.frame()
		var ask struct{ Token, Channel string }
		if kind == 3 && json.Unmarshal(body, &ask) == nil {
			return ask.Token
		}
	}
}

// present shakes hands with the member, with a token in message 1.
func (a *asked) present(self link.Self, channel, token string) *wire {
	a.packet.t.Helper()
	w := open(a.packet.t, a.member.url)
	w.shake(channel, fmt.Sprintf(`{"role":"client","channel":%q,"target":%q,"token":%q}`, channel, a.member.self.ID, token))
	w.introduce(channel, self)
	return w
}

// asked is a member that waits for a stream from a hand-made outbound-only node.
type asked struct {
	member *node
	hand   link.Self
	packet *wire
	token  string
	cancel context.CancelFunc
	stream chan net.Conn // nil came: it was given up
}

// ask makes a member want a stream.
func ask(t *testing.T) *asked {
	t.Helper()
	a := &asked{member: start(t, newSelf(t, "member")), hand: newSelf(t, "hand"), stream: make(chan net.Conn, 1)}
	a.packet = enter(t, a.member, "packet", a.hand)
	receive(t, "up", a.member.ups)
	a.want(t)
	return a
}

// want asks for one more stream.
func (a *asked) want(t *testing.T) {
	t.Helper()
	eventually(t, "the route", func() bool { up, _, _ := a.member.State(a.hand.ID); return up })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	a.cancel = cancel
	go func() {
		nc, _ := a.member.Stream(ctx, a.hand.ID)
		a.stream <- nc
	}()
	a.token = a.packet.token()
}

// refused checks that a connection with a token was closed and reached nobody.
func (a *asked) refused(t *testing.T, what string, w *wire) {
	t.Helper()
	w.data("ill")
	w.ending()
	if n := len(a.member.in.streams); n != 0 {
		t.Errorf("%s: %d streams reached the receiver", what, n)
	}
	eventually(t, what+": nothing but the packet link is up", func() bool {
		links := a.member.Links()
		return len(links) == 1 && links[0].Channel == link.ChannelPacket
	})
}

// honest presents the right token and checks that the member gets that connection.
func (a *asked) honest(t *testing.T) *wire {
	t.Helper()
	w := a.present(a.hand, "stream", a.token)
	nc := receive(t, "stream", a.stream)
	if nc == nil {
		t.Fatal("the stream was given up")
	}
	w.data("hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	return w
}

// TestADialBackTokenIsWorthNothingToOthers: a holder of the cookie with an identity of
// his own presents a token that he has seen, guessed, or has for another channel. The
// right node is served afterwards all the same.
func TestADialBackTokenIsWorthNothingToOthers(t *testing.T) {
	t.Parallel()
	a, mallory := ask(t), newSelf(t, "mallory")
	a.refused(t, "the token of another node", a.present(mallory, "stream", a.token))
	a.refused(t, "the token of another channel", a.present(a.hand, "rpc", a.token))
	for _, guess := range []string{"AAAAAAAAAAAAAAAAAAAAAAAAAA", strings.ToLower(a.token), a.token + "A", a.token[1:], strings.Repeat("A", 200)} {
		a.refused(t, "a guess", a.present(a.hand, "stream", guess))
	}
	select {
	case <-a.stream:
		t.Fatal("a wrong token ended the wait")
	default:
	}
	a.honest(t)
}

func TestADialBackTokenWorksOnce(t *testing.T) {
	t.Parallel()
	a := ask(t)
	a.honest(t).nc.Close()
	eventually(t, "the stream is over", func() bool { return len(a.member.Links()) <= 2 })
	w := a.present(a.hand, "stream", a.token)
	w.data("ill")
	w.ending()
	if n := len(a.member.in.streams); n != 0 {
		t.Errorf("%d streams reached the receiver", n)
	}
	old := a.token
	a.want(t) // the next stream has a token of its own
	if a.token == old {
		t.Error("the same token again")
	}
	again := a.present(a.hand, "stream", old)
	again.ending()
	a.honest(t)
}

// TestADialBackTokenEndsWithTheWait: who comes after the member gave up is sent away.
func TestADialBackTokenEndsWithTheWait(t *testing.T) {
	t.Parallel()
	a := ask(t)
	a.cancel()
	if nc := receive(t, "end of the wait", a.stream); nc != nil {
		t.Fatal("a stream out of nothing")
	}
	a.refused(t, "an expired token", a.present(a.hand, "stream", a.token))
}

// TestAMemberSendsAnOutboundOnlyNodeNowhereElse: a hand-made member asks a node that
// nobody can dial to dial back, a thousand times at once, in many wrong ways, and with
// an endpoint that is not its own to advertise. The node dials nobody but that member,
// 32 times at once at most, and nowhere that its policy forbids.
func TestAMemberSendsAnOutboundOnlyNodeNowhereElse(t *testing.T) {
	t.Parallel()
	var open, most, calls atomic.Int32
	var sent atomic.Bool
	hand := newSelf(t, "hand")
	done := make(chan struct{})
	url := listen(t, func(nc net.Conn) {
		if calls.Add(1) == 1 {
			if a := answerTo(t, nc, hand, "http://169.254.169.254"); a != nil {
				for i := range 1000 {
					_, _ = a.nc.Write(a.sealed(frameOf(3, fmt.Appendf(nil, `{"token":"t%d","channel":"stream"}`, i))))
				}
				for _, bad := range []string{`{"token":"t","channel":"packet"}`, `{"token":"t","channel":"x"}`, `{`, ``, `[]`,
					`{"token":"` + strings.Repeat("t", 100) + `","channel":"rpc"}`, `{"channel":"rpc","x":"` + strings.Repeat("t", 1000) + `"}`} {
					_, _ = a.nc.Write(a.sealed(frameOf(3, []byte(bad))))
				}
				sent.Store(true)
				<-done
			}
			return
		}
		n := open.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-done // never answers
		open.Add(-1)
	})
	defer close(done)
	out := start(t, newSelf(t, "out"), outboundOnly)
	out.Learn(hand.ID, url)
	_ = out.Send(hand.ID, []byte("x"))
	eventually(t, "the node dials back", func() bool { return open.Load() >= 32 })
	eventually(t, "the whole flood is taken", func() bool { return sent.Load() })
	if n := most.Load(); n > 32 {
		t.Errorf("%d connections at once, want 32 at most", n)
	}
}

// TestADialBackObeysTheDialPolicy: the asking member advertises places that are not to
// be dialled, one of them with somebody there.
func TestADialBackObeysTheDialPolicy(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	victim := listen(t, func(net.Conn) { hits.Add(1) })
	reg := prometheus.NewRegistry()
	out := start(t, newSelf(t, "out"), outboundOnly, measured(reg), func(c *link.Config) { c.Loopback = false })
	forbidden := []string{victim, "http://169.254.169.254", "http://0.0.0.0:9", "http://224.0.0.1:9", "http://[fe80::1]:9"}
	for i, endpoint := range forbidden {
		w := knock(t, out.url, "packet", out.self.ID)
		w.introduce("packet", newSelf(t, "hand"), func(m map[string]any) { m["endpoint"] = endpoint })
		w.record(frameOf(3, []byte(`{"token":"t","channel":"stream"}`)))
		eventually(t, endpoint+" is refused", func() bool {
			return metric(t, reg, "handshakes_total", "stream", "out", "address-not-allowed") == float64(i+1)
		})
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections to a forbidden address", n)
	}
}

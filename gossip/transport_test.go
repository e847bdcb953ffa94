package gossip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/internal/testnet"
)

// deaf is a link whose peers never answer: packets vanish, streams hang.
type deaf struct{ err error }

func (d deaf) Send(muster.NodeID, []byte) error { return d.err }

func (deaf) Stream(ctx context.Context, _ muster.NodeID) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (deaf) Learn(muster.NodeID, string) {}

func TestOnlyABareOpErrorReachesMemberlist(t *testing.T) {
	t.Parallel()
	down := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	for _, c := range []struct{ link, want error }{
		{nil, nil},
		{down, down},
		{fmt.Errorf("peer: %w", down), nil},
		{errors.New("no route"), nil},
	} {
		transport := gossip.NewTransport("self", deaf{c.link}, gossip.NewInbox())
		_, err := transport.WriteToAddress([]byte("x"), memberlist.Address{Name: "peer"})
		if err != c.want { //nolint:errorlint // identity is the point
			t.Errorf("link said %v: memberlist is told %v, want %v", c.link, err, c.want)
		}
		_ = transport.Shutdown()
	}
}

func TestCutOffPeerBlocksNeitherPacketsNorShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := gossip.NewTransport("self", deaf{}, gossip.NewInbox())
		peer := memberlist.Address{Name: "peer"}
		dialled := make(chan error, 1)
		go func() {
			_, err := transport.DialAddressTimeout(peer, time.Hour)
			dialled <- err
		}()
		synctest.Wait()
		start := time.Now()
		for range 1000 {
			if _, err := transport.WriteToAddress([]byte("x"), peer); err != nil {
				t.Fatal(err)
			}
		}
		if err := transport.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-dialled; !errors.Is(err, context.Canceled) {
			t.Errorf("dial ended with %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v of virtual time", took)
		}
	})
}

func TestDialGivesUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := gossip.NewTransport("self", deaf{}, gossip.NewInbox())
		start := time.Now()
		_, err := transport.DialAddressTimeout(memberlist.Address{Name: "peer"}, 150*time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 150*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_ = transport.Shutdown()
	})
}

func TestInboxDropsInsteadOfBlocking(t *testing.T) {
	t.Parallel()
	inbox := gossip.NewInbox()
	inbox.Packet("peer", []byte("too early"))
	transport := gossip.NewTransport("self", deaf{}, inbox)
	for i := range 2 * gossip.InboxPackets {
		inbox.Packet("peer", []byte{byte(i)})
	}
	if got := len(transport.PacketCh()); got != gossip.InboxPackets {
		t.Errorf("%d packets kept, want %d", got, gossip.InboxPackets)
	}
	first := <-transport.PacketCh()
	if first.Buf[0] != 0 || first.Timestamp.IsZero() {
		t.Errorf("first packet: %+v", first)
	}
	want := net.JoinHostPort(gossip.AddressOf("peer").String(), "1")
	if first.From.String() != want {
		t.Errorf("sender %s, want %s", first.From, want)
	}
	network := testnet.New(1)
	accepted := dialMany(t, network, 2*gossip.InboxStreams)
	for _, conn := range accepted {
		inbox.Stream("peer", conn)
	}
	if got := len(transport.StreamCh()); got != gossip.InboxStreams {
		t.Errorf("%d streams kept, want %d", got, gossip.InboxStreams)
	}
	last := accepted[len(accepted)-1]
	if _, err := last.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a stream too many: read says %v, want closed", err)
	}
	_ = transport.Shutdown()
	if _, err := accepted[0].Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a stream after shutdown: read says %v, want closed", err)
	}
}

func dialMany(t *testing.T, network *testnet.Network, n int) []net.Conn {
	t.Helper()
	l, err := network.Listen("a:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var accepted []net.Conn
	for range n {
		if _, err := network.Dial(t.Context(), "b", "a:1"); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, conn)
	}
	return accepted
}

func TestMadeUpAddressesArePrivateAndDiffer(t *testing.T) {
	t.Parallel()
	a, b := gossip.AddressOf("a"), gossip.AddressOf("b")
	if a.Equal(b) || !a.IsPrivate() || len(a) != net.IPv6len {
		t.Errorf("a %v, b %v", a, b)
	}
}

func TestMemberlistLogKeepsItsLevels(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	w := gossip.LogWriter(slog.New(slog.NewTextHandler(&out, options)))
	for _, line := range []string{
		"[DEBUG] memberlist: one", "[INFO] memberlist: two", "[WARN] memberlist: three",
		"[ERR] memberlist: four \x1b[31m", "five", "[DEBUG] memberlist: Stream connection from=self",
	} {
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	want := `level=DEBUG msg="memberlist reports" text=one
level=INFO msg="memberlist reports" text=two
level=WARN msg="memberlist reports" text=three
level=WARN msg="memberlist reports" text="four [31m"
level=INFO msg="memberlist reports" text=five
`
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if silent := gossip.LogWriter(slog.New(slog.DiscardHandler)); silent != io.Discard {
		t.Error("a silent logger still formats lines")
	}
	if strings.Contains(out.String(), "from=self") {
		t.Error("the package's own questions are logged")
	}
}

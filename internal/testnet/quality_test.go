package testnet_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testnet"
)

func TestDegradedCableIsSlowInOneDirection(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		n.Degrade("b", "a", testnet.Quality{Delay: time.Second, Jitter: time.Second})
		start := time.Now()
		send(t, far, "fast")
		receive(t, near, "fast")
		if took := time.Since(start); took != 0 {
			t.Errorf("the other direction took %v", took)
		}
		send(t, near, "slow")
		receive(t, far, "slow")
		if took := time.Since(start); took < time.Second || took >= 2*time.Second {
			t.Errorf("the degraded direction took %v, want 1-2s", took)
		}
		n.Degrade("b", "a", testnet.Quality{})
		start = time.Now()
		send(t, near, "well")
		receive(t, far, "well")
		if took := time.Since(start); took != 0 {
			t.Errorf("the mended direction took %v", took)
		}
	})
}

func TestLossCostsTimeAndNoData(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		n.Degrade("b", "a", testnet.Quality{Loss: 0.3})
		late := 0
		for range 200 {
			start := time.Now()
			send(t, near, "x")
			receive(t, far, "x")
			if took := time.Since(start); took >= 200*time.Millisecond {
				late++
			} else if took != 0 {
				t.Fatalf("took %v, want nothing or a retransmission", took)
			}
		}
		if late < 40 || late > 80 {
			t.Errorf("%d of 200 segments were sent again, want about 60", late)
		}
	})
}

func TestSentCountsTheBytesOfEachHost(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *testnet.Network, accepted <-chan net.Conn) {
		near := dial(t, n)
		far := <-accepted
		text := strings.Repeat("x", 1000)
		send(t, near, text)
		receive(t, far, text)
		send(t, far, "yes")
		if a, b := n.Sent("a"), n.Sent("b"); a != 3 || b != 1000 {
			t.Errorf("a sent %d and b %d bytes, want 3 and 1000", a, b)
		}
	})
}

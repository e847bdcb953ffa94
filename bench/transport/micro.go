package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// effort says how long to measure.
type effort struct {
	rounds           int
	flow             time.Duration // of each throughput measurement
	pings, streams   int
	stuck            time.Duration // sending to a peer that is cut off
	sizes            []int         // of clusters
	idle, load       time.Duration
	broadcasts       int
	kills            int
	detectionLimit   time.Duration
	skipTLSInCluster bool
}

const (
	packetSize = 1 << 10
	pingSize   = 64
)

// result holds the measured values of one contender by name of the value, one
// for each round.
type result map[string][]float64

func (r result) add(name string, v float64) { r[name] = append(r[name], v) }

// measureMicro measures one contender once.
func measureMicro(c contender, e effort, r result) error {
	a, b, err := startPair(c, place{ip: "127.0.0.1"})
	if err != nil {
		return err
	}
	defer a.end()
	defer b.end()
	if err := warmUp(a, b); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	flow(a, b, 64, e.flow, r)
	flow(a, b, 1, e.flow/2, r)
	if err := errors.Join(ping(a, b, e.pings, r), openStreams(a, b, e.streams, r)); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

func startPair(c contender, from place) (a, b endpoint, err error) {
	if b, err = c.start(place{ip: "127.0.0.1"}); err != nil {
		return a, b, err
	}
	if a, err = c.start(from); err != nil {
		return a, b, errors.Join(err, b.Shutdown())
	}
	return a, b, nil
}

func (e endpoint) send(b []byte, to endpoint) error {
	_, err := e.WriteToAddress(b, memberlist.Address{Addr: to.address, Name: to.address})
	return err
}

// warmUp opens the connections between two endpoints.
func warmUp(a, b endpoint) error {
	for _, way := range [][2]endpoint{{a, b}, {b, a}} {
		if err := way[0].send(make([]byte, pingSize), way[1]); err != nil {
			return err
		}
		if !arrives(way[1], 5*time.Second) {
			return errors.New("the first packet did not arrive")
		}
	}
	return nil
}

func arrives(e endpoint, limit time.Duration) bool {
	select {
	case <-e.PacketCh():
		return true
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-e.PacketCh():
		return true
	case <-timer.C:
		return false
	}
}

// flow sends packets one way and keeps a number of them under way, from one
// goroutine, as memberlist does. What takes longer than 100 ms is lost.
func flow(a, b endpoint, window int, d time.Duration, r result) {
	p := make([]byte, packetSize)
	sent, arrived, lost, underWay := 0, 0, 0, 0
	start := now()
	for time.Since(start.at) < d {
		for range 256 {
			for underWay >= window {
				if !arrives(b, 100*time.Millisecond) {
					lost += underWay
					underWay = 0
					break
				}
				arrived++
				underWay--
			}
			if a.send(p, b) == nil {
				sent++
				underWay++
			}
		}
	}
	for underWay > 0 && arrives(b, 100*time.Millisecond) {
		arrived++
		underWay--
	}
	wall, cpu, mallocs, bytes := now().since(start)
	n := float64(arrived)
	r.add(fmt.Sprintf("packets/s, %d under way", window), n/wall.Seconds())
	if window > 1 {
		r.add("CPU s per 100k packets", cpu.Seconds()/n*1e5)
		r.add("allocations per packet", mallocs/n)
		r.add("bytes allocated per packet", bytes/n)
		r.add("packets lost", float64(lost+underWay))
	}
}

// ping measures round trips.
func ping(a, b endpoint, n int, r result) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		for {
			select {
			case p := <-b.PacketCh():
				_ = b.send(p.Buf, a) // a loss shows at the other end
			case <-ctx.Done():
				return
			}
		}
	}()
	p, times := make([]byte, pingSize), []float64{}
	for range n {
		start := time.Now()
		if err := a.send(p, b); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		if arrives(a, time.Second) {
			times = append(times, us(time.Since(start)))
		}
	}
	cancel()
	<-echoed
	r.add("ping p50 µs", median(times))
	r.add("ping p99 µs", quantile(times, 0.99))
	return nil
}

// openStreams measures from the call to the first byte that comes back.
func openStreams(a, b endpoint, n int, r result) error {
	var times []float64
	for range n {
		go func() {
			if s, ok := within(b.StreamCh(), 10*time.Second); ok {
				serveOne(s)
			}
		}()
		start := time.Now()
		if err := tryStream(a, b); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		times = append(times, us(time.Since(start)))
	}
	r.add("stream open µs", median(times))
	return nil
}

func within(ch <-chan net.Conn, limit time.Duration) (net.Conn, bool) {
	select {
	case c := <-ch:
		return c, true
	case <-time.After(limit):
		return nil, false
	}
}

// serveOne sends one byte back.
func serveOne(s net.Conn) {
	defer s.Close()
	b := []byte{0}
	if _, err := s.Read(b); err == nil {
		_, _ = s.Write(b) // the other side tells
		_, _ = s.Read(b)  // until it closes
	}
}

func tryStream(a, b endpoint) error {
	s, err := a.DialAddressTimeout(memberlist.Address{Addr: b.address, Name: b.address}, 5*time.Second)
	if err != nil {
		return err
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := s.Write([]byte{1}); err != nil {
		return err
	}
	_, err = s.Read([]byte{0})
	return err
}

// measureStuck measures the worst call of WriteToAddress while the peer is cut off:
// behind a proxy that stops reading, and where a dial gets no answer at all.
// UDP knows no connections: for memberlist's own the peer is one that does not read.
func measureStuck(c contender, e effort, r result) error {
	dial, freeze, end := frozen()
	defer end()
	a, b, err := startPair(c, place{ip: "127.0.0.1", dial: dial})
	if err != nil {
		return err
	}
	if err := warmUp(a, b); err != nil {
		return err
	}
	freeze()
	r.add("worst write, peer frozen, ms", worstWrite(a, b, e.stuck))
	end()
	a.end()
	b.end()

	if a, b, err = startPair(c, place{ip: "127.0.0.1", dial: blackhole}); err != nil {
		return err
	}
	r.add("worst write, peer blackholed, ms", worstWrite(a, b, e.stuck))
	a.end()
	b.end()
	return nil
}

func worstWrite(a, b endpoint, d time.Duration) float64 {
	p, worst := make([]byte, packetSize), time.Duration(0)
	for start := time.Now(); time.Since(start) < d; time.Sleep(time.Millisecond) {
		call := time.Now()
		_ = a.send(p, b) // only how long it takes is of interest
		worst = max(worst, time.Since(call))
	}
	return ms(worst)
}

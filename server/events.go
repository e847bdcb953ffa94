package server

import (
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// maxEvents is how many events a node keeps in memory.
const maxEvents = 1000

// journal keeps the newest events of this node and wakes whoever waits for more.
type journal struct {
	node muster.NodeID

	mu     sync.Mutex
	events []muster.Event // the newest maxEvents, oldest first
	seq    uint64
	more   chan struct{} // closed at the next event
}

func newJournal(node muster.NodeID) *journal {
	return &journal{node: node, more: make(chan struct{})}
}

// add numbers the event, stamps it and publishes it.
func (j *journal) add(e muster.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.Node = j.seq, j.node
	if e.At.IsZero() {
		e.At = time.Now()
	}
	if len(j.events) == maxEvents {
		j.events = append(j.events[:0:0], j.events[1:]...)
	}
	j.events = append(j.events, e)
	close(j.more)
	j.more = make(chan struct{})
}

// After returns the kept events with a sequence number above seq, oldest first,
// and a channel that is closed at the next event.
func (j *journal) After(seq uint64) ([]muster.Event, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := len(j.events)
	for first > 0 && j.events[first-1].Seq > seq {
		first--
	}
	return append([]muster.Event{}, j.events[first:]...), j.more
}

// signal is a condition that can be awaited with select: Changed returns a
// channel that is closed by the next fire.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

func (s *signal) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

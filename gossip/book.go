package gossip

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

const (
	// meetLimit bounds the search for the node behind an address.
	meetLimit = 2 * time.Second
	// meetAgain is how long an address that did not answer is left alone.
	meetAgain = 500 * time.Millisecond
	// callWait is how long a member waits to be called before it calls.
	callWait = 300 * time.Millisecond
	// maxWaiting is how many packets wait for a meeting; what comes on top is dropped.
	maxWaiting = 64
)

// book knows which node lives at which address.
type book struct {
	mu     sync.Mutex // never held while calling out
	places map[string]*place
	closed bool
}

// place is one address.
type place struct {
	id        muster.NodeID // empty: not met yet
	endpoint  string        // URL to meet it at; empty: as the address says
	meeting   bool          // a search is under way
	found     chan struct{} // closed when somebody is met; nil: nobody waits for that
	waiting   [][]byte      // packets for whoever is found
	down      *net.OpError  // why the last search failed
	notBefore time.Time     // of the next one
}

func newBook() *book { return &book{places: map[string]*place{}} }

func (b *book) placeLocked(address string) *place {
	p := b.places[address]
	if p == nil {
		p = &place{}
		b.places[address] = p
	}
	return p
}

// route returns the node at an address. Without one it keeps a copy of the packet and
// says whether a search must begin, or returns a bare *net.OpError, as memberlist
// wants it, while the address is left alone.
func (b *book) route(address string, packet []byte) (id muster.NodeID, begin bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.placeLocked(address)
	switch {
	case p.id != "":
		return p.id, false, nil
	case b.closed:
		return "", false, dialError(errStopped)
	case time.Now().Before(p.notBefore):
		return "", false, p.down
	}
	if len(p.waiting) < maxWaiting {
		p.waiting = append(p.waiting, slices.Clone(packet))
	}
	begin = !p.meeting
	p.meeting = true
	return "", begin, nil
}

func dialError(err error) *net.OpError { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }

// settle ends a search and returns what waited for it, if somebody was found.
func (b *book) settle(address string, err error) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.placeLocked(address)
	waiting := p.waiting
	p.meeting, p.waiting = false, nil
	if err == nil {
		return waiting
	}
	p.down, p.notBefore = dialError(err), time.Now().Add(meetAgain)
	return nil
}

// id returns the node at an address, or nothing.
func (b *book) id(address string) muster.NodeID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.placeLocked(address).id
}

// endpoint returns the URL that an address stands for, or nothing.
func (b *book) endpoint(address string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.placeLocked(address).endpoint
}

// enter makes an address stand for a URL.
func (b *book) enter(address, endpoint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.placeLocked(address).endpoint = endpoint
}

// met stores who lives at an address.
func (b *book) met(address string, id muster.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.placeLocked(address)
	p.id, p.notBefore = id, time.Time{}
	if p.found != nil {
		close(p.found)
		p.found = nil
	}
}

// await waits until somebody at an address has been met, and returns who; empty
// after the time.
func (b *book) await(ctx context.Context, address string, limit time.Duration) muster.NodeID {
	b.mu.Lock()
	p := b.placeLocked(address)
	if p.found == nil {
		p.found = make(chan struct{})
	}
	found, id := p.found, p.id
	b.mu.Unlock()
	if id != "" {
		return id
	}
	select {
	case <-found:
	case <-time.After(limit):
	case <-ctx.Done():
	}
	return b.id(address)
}

// forget takes a node off an address, unless somebody else lives there already.
func (b *book) forget(address string, id muster.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.placeLocked(address); p.id == id {
		p.id = ""
	}
}

// ifOpen runs f unless the book is closed; close waits for f.
func (b *book) ifOpen(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		f()
	}
}

func (b *book) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

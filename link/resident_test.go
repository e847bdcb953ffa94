package link_test

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// resident reads from a hand-made peer's link until it ends, and answers pings or not.
type resident struct {
	*wire
	code chan int // how it ended: the close code, 0 without one

	mu      sync.Mutex
	pings   []time.Time
	records int
}

// live lets a wire read on in the background.
func (w *wire) live(pong bool) *resident {
	r := &resident{wire: w, code: make(chan int, 1)}
	go r.read(pong)
	return r
}

func (r *resident) read(pong bool) {
	code := 0
	for {
		op, payload, err := r.next()
		if err != nil {
			r.code <- code
			return
		}
		switch op {
		case 2:
			r.note(func() { r.records++ })
		case 8:
			code = int(binary.BigEndian.Uint16(payload))
		case 9:
			r.note(func() { r.pings = append(r.pings, time.Now()) })
			if pong {
				_, _ = r.nc.Write(webFrame(0x8A, !r.serving, payload))
			}
		}
	}
}

func (r *resident) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// pinged returns when pings came.
func (r *resident) pinged() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.pings...)
}

// ended reports whether and how the link has ended.
func (r *resident) ended() (code int, over bool) {
	select {
	case code := <-r.code:
		r.code <- code
		return code, true
	default:
		return 0, false
	}
}

// alone runs a test with one node in a bubble.
func alone(t *testing.T, test func(t *testing.T, nw *network, a *node)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nw := &network{listeners: make(map[string]*listener), cut: make(map[string]bool)}
		a := startVirtual(t, nw, newSelf(t, "a"))
		test(t, nw, a)
		a.stop()
		synctest.Wait()
	})
}

// called waits in a bubble until a node has dialled a hand-made one.
func called(t *testing.T, nw *network, self link.Self, call func()) *answerer {
	t.Helper()
	ln := nw.listen(self.Name + ":9113")
	nc := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			nc <- c
		}
	}()
	call()
	a := answerTo(t, <-nc, self, "")
	if a == nil {
		t.FailNow()
	}
	_ = ln.Close()
	return a
}

// selfBeside makes an identity whose id is smaller or greater than another one.
func selfBeside(t *testing.T, name string, id muster.NodeID, smaller bool) link.Self {
	t.Helper()
	for {
		if s := newSelf(t, name); (s.ID < id) == smaller {
			return s
		}
	}
}

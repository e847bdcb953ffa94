package link

import (
	"slices"
	"sync"
	"time"
)

// Bounds of a peer's packet queue.
const (
	maxQueueBytes   = 256 << 10
	maxQueuePackets = 512
	maxQueueAge     = time.Second // while no link is up
)

// queue holds packets as the frames that they become. It takes its memory from a
// pool while it is not empty. Its owner locks it.
type queue struct {
	pool  *sync.Pool
	buf   *buffer // nil while empty
	marks []mark  // one per packet
}

// mark says when the packet that starts at an offset began to wait for a link; zero
// while one is up.
type mark struct {
	offset int
	at     time.Time
}

// batch is what goes out in one write.
type batch struct {
	buf     *buffer
	packets int
	failed  time.Time // when the first attempt failed; zero before
}

func (q *queue) size() int {
	if q.buf == nil {
		return 0
	}
	return len(q.buf.b)
}

// add appends a packet, or reports that the queue is full.
func (q *queue) add(packet []byte, at time.Time) bool {
	size := q.size()
	if len(q.marks) >= maxQueuePackets || size+frameHead+len(packet) > maxQueueBytes {
		return false
	}
	if q.buf == nil {
		q.buf = getBuffer(q.pool)
	}
	q.marks = append(q.marks, mark{size, at})
	q.buf.b = append(appendFrameHead(q.buf.b, framePacket, len(packet)), packet...)
	return true
}

// take empties the queue into a batch.
func (q *queue) take() *batch {
	b := &batch{buf: q.buf, packets: len(q.marks)}
	q.buf, q.marks = nil, q.marks[:0]
	return b
}

func (q *queue) clear() {
	if q.buf != nil {
		putBuffer(q.pool, q.buf)
	}
	q.buf, q.marks = nil, q.marks[:0]
}

// waitSince says that all packets wait for a link from now on.
func (q *queue) waitSince(now time.Time) {
	for i := range q.marks {
		q.marks[i].at = now
	}
}

// dropStale throws away what has waited too long and returns how many packets.
func (q *queue) dropStale(now time.Time) int {
	n := slices.IndexFunc(q.marks, func(m mark) bool { return now.Sub(m.at) <= maxQueueAge })
	if n < 0 {
		n = len(q.marks)
		q.clear()
	}
	if n == 0 || q.buf == nil {
		return n
	}
	start := q.marks[n].offset
	q.buf.b = append(q.buf.b[:0], q.buf.b[start:]...)
	q.marks = slices.Delete(q.marks, 0, n)
	for i := range q.marks {
		q.marks[i].offset -= start
	}
	return n
}

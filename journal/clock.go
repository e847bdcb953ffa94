package journal

import (
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// MaxAhead is how far before our own time another node's clock is followed. What is
// further ahead is a broken clock, and would spoil ours for as long.
const MaxAhead = time.Hour

// Clock is a hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva, Leone:
// Logical Physical Clocks, 2014). It follows the time of day, and is never behind
// anything this node has heard. The zero value is ready; it is safe for concurrent
// use.
type Clock struct {
	mu   sync.Mutex
	last muster.Clock
}

// Tick returns the next value, for something that happens here or is sent.
func (c *Clock) Tick() muster.Clock {
	now := muster.ClockAt(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, now) // a full counter runs into the milliseconds, which is as good
	return c.last
}

// Observe takes what another node has sent. It reports false, and changes nothing,
// if that is more than MaxAhead of our time.
func (c *Clock) Observe(heard muster.Clock) bool {
	if heard > muster.ClockAt(time.Now().Add(MaxAhead)) {
		return false
	}
	c.restore(heard)
	return true
}

// restore makes the clock not less than a value that it had before.
func (c *Clock) restore(value muster.Clock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, value)
}

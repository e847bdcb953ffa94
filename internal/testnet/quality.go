package testnet

import "time"

// retransmit is how long TCP waits before it sends something lost again; the
// pause doubles with each further loss.
const (
	retransmit = 200 * time.Millisecond
	maxLosses  = 6 // of one segment in a row
)

// Quality is how one direction of a cable treats what is sent, on top of the
// network's own delay. The zero value is a perfect cable.
type Quality struct {
	Delay, Jitter time.Duration
	Loss          float64 // share of segments that TCP has to send again: lost time, never lost data
}

// Degrade sets the quality of one direction.
func (n *Network) Degrade(from, to string, q Quality) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.qualities[path{from, to}] = q
}

// Sent returns how many bytes a host has written to its connections.
func (n *Network) Sent(host string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent[host]
}

// travelLocked returns how long the next segment on a path is under way.
func (n *Network) travelLocked(p path) time.Duration {
	q := n.qualities[p]
	return n.randomLocked(n.delay, n.jitter) + n.randomLocked(q.Delay, q.Jitter) + n.resendLocked(q.Loss)
}

func (n *Network) randomLocked(delay, jitter time.Duration) time.Duration {
	if jitter <= 0 {
		return delay
	}
	return delay + time.Duration(n.rng.Int64N(int64(jitter)))
}

// resendLocked returns the time that losses cost.
func (n *Network) resendLocked(loss float64) (total time.Duration) {
	pause := retransmit
	for i := 0; i < maxLosses && loss > 0 && n.rng.Float64() < loss; i++ {
		total += pause
		pause *= 2
	}
	return total
}

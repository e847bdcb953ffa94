package server

import (
	"time"

	"github.com/musterhq/muster"
)

// clockHeader carries what the answering node's clock shows.
const clockHeader = "Muster-Clock"

// skewOfConcern is how far two clocks may be apart before anybody is told.
const skewOfConcern = 2 * time.Second

// skew is the difference between two clocks, and how wrong it may be: half of the round
// trip in which it was measured (Cristian, 1989).
type skew struct {
	by, within time.Duration
	known      bool
}

// skewOf measures a peer's clock by the time of an answer.
func skewOf(asked, answered time.Time, clock string) skew {
	shown, err := time.Parse(time.RFC3339Nano, clock)
	if err != nil {
		return skew{}
	}
	return skewBetween(asked, answered, shown)
}

// skewBetween measures a peer's clock by what it showed between two times of ours.
func skewBetween(asked, answered, shown time.Time) skew {
	half := answered.Sub(asked) / 2
	return skew{by: shown.Sub(asked.Add(half)), within: half, known: true}
}

// add takes over a newer measurement, unless it is far coarser and contradicts nothing.
func (s *skew) add(newer skew) {
	off := (newer.by - s.by).Abs()
	if newer.known && (!s.known || newer.within <= 2*s.within || off > newer.within+s.within) {
		*s = newer
	}
}

// milliseconds is the difference, or 0 while it is within the error.
func (s skew) milliseconds() float64 {
	if !s.known || s.by.Abs() <= s.within {
		return 0
	}
	return float64(s.by.Milliseconds())
}

// skewed warns of clocks that are far apart. Membership does not mind.
func skewed(members []muster.Member) (list []muster.Problem) {
	for _, m := range members {
		by := time.Duration(m.ClockSkew) * time.Millisecond
		if by.Abs() <= skewOfConcern || m.State.Gone() {
			continue
		}
		word := "ahead of"
		if by < 0 {
			word = "behind"
		}
		info, _ := muster.CodeClockSkew.Info()
		list = append(list, muster.Problem{
			Code: muster.CodeClockSkew, Fix: info.Fix, Since: m.Since,
			Text: "the clock of " + m.Name + " is " + by.Abs().Round(100*time.Millisecond).String() + " " + word + " this node's",
		})
	}
	return list
}

// skewOfMember returns what was measured of a member's clock, in milliseconds.
func (l *lookout) skewOfMember(id muster.NodeID) float64 { return l.skewWith(id).milliseconds() }

// skewWith returns what was measured of a member's clock.
func (l *lookout) skewWith(id muster.NodeID) skew {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.peers[id]; w != nil {
		return w.skew
	}
	return skew{}
}

package health

import (
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster"
)

// Times of damping.
const (
	FlapWindow  = time.Minute      // what happened in it counts
	flapCalm    = 10 * time.Second // of life before a member that has died twice is shown alive
	flapCalmMax = 12 * time.Second // the same after more deaths: within the 15 s in which a cluster recovers
)

// Bounds of damping, in a FlapWindow.
const (
	flapDeaths    = 2 // deaths from which on a member flaps
	flapRestarts  = 4 // deaths from which on restarts explain them no longer
	flapSuspects  = 2 // shown changes from which on suspicions are not shown: room for a death and an end of it
	flapRecovered = 2 // shown changes beyond which a return must prove itself, so that there is room for a death
)

// Flap is what is shown of a member that may come and go. It is a value without a
// clock: See returns the next one. A death is always shown at once, a return only when
// it has lasted, if there were several.
type Flap struct {
	Shown muster.State
	Since time.Time // of Shown

	actual  muster.State
	since   time.Time // of actual
	boot    muster.Boot
	deaths  []time.Time // in the window
	changes []time.Time // of Shown, in the window
}

// See takes in how the member is now, and reports whether something else is shown.
func (f Flap) See(now time.Time, state muster.State, boot muster.Boot) (next Flap, changed bool) {
	f.deaths, f.changes = recent(now, f.deaths), recent(now, f.changes)
	if state != f.actual {
		f.actual, f.since = state, now
		if state == muster.StateDead {
			f.deaths = append(f.deaths, now)
		}
	}
	restarted := boot != f.boot
	if state != muster.StateDead {
		f.boot = boot
	}
	if state == f.Shown && restarted {
		f.Since = now // the same state of another run
	}
	if state == f.Shown || !f.shows(now, restarted) {
		return f, false
	}
	if f.Shown != "" {
		f.changes = append(f.changes, now)
	}
	f.Shown, f.Since = state, now
	return f, true
}

// recent returns a copy of the times that are in the window.
func recent(now time.Time, times []time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return now.Sub(t) >= FlapWindow })
}

// shows reports whether the actual state may be shown.
func (f Flap) shows(now time.Time, restarted bool) bool {
	switch {
	case f.Shown == "" || f.actual.Gone():
		return true
	case f.actual == muster.StateSuspect:
		return f.Shown == muster.StateAlive && len(f.changes) < flapSuspects
	case restarted && len(f.deaths) < flapRestarts:
		return true
	case len(f.deaths) < flapDeaths && len(f.changes) <= flapRecovered:
		return true
	}
	return now.Sub(f.since) >= f.calm()
}

// calm is how long a return must last to be believed.
func (f Flap) calm() time.Duration {
	if len(f.deaths) > flapDeaths {
		return flapCalmMax
	}
	return flapCalm
}

// Held reports whether the member lives and is not shown so.
func (f Flap) Held() bool { return f.actual == muster.StateAlive && f.Shown != f.actual }

// Settled reports whether nothing is left to be remembered of the member.
func (f Flap) Settled(now time.Time) bool {
	return f.actual == f.Shown && len(recent(now, f.changes)) == 0
}

// Deaths counts those in the window, if they are enough to call the member flapping.
func (f Flap) Deaths(now time.Time) int {
	if n := len(recent(now, f.deaths)); n >= flapDeaths {
		return n
	}
	return 0
}

// Reason says why a member that answers is not shown as alive.
func (f Flap) Reason() string {
	return fmt.Sprintf("flapping: %d deaths within a minute; it answers since %s and counts as alive after %s without another one",
		max(len(f.deaths), 1), f.since.UTC().Format(time.RFC3339), f.calm())
}

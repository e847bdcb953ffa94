// Package health turns evidence into verdicts: whether one member is healthy, and
// how the cluster as a whole is doing. It is the only place that judges.
//
// Everything here is a pure function of its arguments: no clock, no goroutine, no
// I/O. Evidence is ranked: what a node says of its own drain outranks what its
// links show, and both outrank gossip.
package health

import (
	"fmt"
	"time"

	"github.com/musterhq/muster"
)

// Evidence is what one node knows about one member.
type Evidence struct {
	Self     bool
	Draining bool // the member's own claim

	Gossip muster.State // what SWIM says: alive, suspect, dead, left or expelled
	Since  time.Time    // of the gossip state
	Reason string       // of the gossip state

	Shown Flap // what was shown of it so far; the zero value if nothing was

	LinkDown  bool      // the last connection broke and a new one was refused
	LinkSince time.Time // since when
	LinkError string    // why
}

// Verdict is the judgement of one member.
type Verdict struct {
	State   muster.State
	Healthy bool
	Since   time.Time
	Reason  string
}

// Judge weighs the evidence about one member.
func Judge(e Evidence) Verdict {
	v := Verdict{State: e.Gossip, Since: e.Since, Reason: e.Reason}
	if e.Shown.Shown == e.Gossip {
		v.Since = e.Shown.Since
	}
	switch {
	case e.Gossip.Gone():
		return v
	case e.Shown.Held():
		return Verdict{State: e.Shown.Shown, Since: e.Shown.Since, Reason: e.Shown.Reason()}
	case e.Gossip == muster.StateSuspect && e.Shown.Shown != "" && !e.Self:
		v.State, v.Since = e.Shown.Shown, e.Shown.Since // not shown as suspect perhaps, and not healthy
		return v
	case e.Draining:
		v.State = muster.StateDraining
		v.Reason = "asked to take no new work"
		return v
	case e.Self:
		v.State, v.Healthy = muster.StateAlive, true
		return v
	case e.LinkDown:
		v.Since = e.LinkSince
		v.Reason = fmt.Sprintf("the link is down: %s", muster.Printable(e.LinkError))
		return v
	}
	v.Healthy = e.Gossip == muster.StateAlive
	return v
}

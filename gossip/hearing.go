package gossip

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/musterhq/muster"
)

// A node that is deaf, mute, starved or has just been paused finds that others do not
// answer, and blames them. memberlist makes such a node slower (Dadgar, Phillips and
// Currey, Lifeguard, 2018), which delays the accusations and does not stop them. So this
// package lets an accusation of this node's own out only while answers to its probes come
// in: whoever hears nobody knows nothing of others. What it repeats of others passes.

// Times of hearing, in probe intervals.
const (
	silenceProbes    = 8  // without any answer, after which nothing is believed
	quarantineProbes = 12 // after a silence, in which memberlist's old accusations run dry
	deafProbes       = 20 // without any answer, after which the node calls itself isolated
)

// Where so many members leave this node's probes unanswered, and at least half of the
// last probes were lost, the fault is sought here.
const (
	silentMany  = 3
	lastOutcome = 10
)

// Hearing is how well the others answer this node.
type Hearing string

// The words for hearing.
const (
	HearingWell Hearing = "well"
	HearingLate Hearing = "late" // answers come, but for all members later than a probe waits
	HearingNone Hearing = "none" // nothing comes: deaf, mute, or cut off
)

// hearing is what this node hears of answers to its probes.
type hearing struct {
	probe time.Duration

	mu     sync.Mutex
	word   time.Time                   // when the last answer came in, late or not
	answer time.Time                   // when the last probe was answered in time
	quiet  time.Time                   // no accusations before
	pinged map[muster.NodeID]time.Time // when each member was asked first of those times that it left unanswered
	told   map[muster.NodeID]bool      // whose suspicion was let out since it last answered: it could refute it
	silent map[muster.NodeID]bool      // who has not answered in time since answer
	last   []outcome                   // the last probes, oldest first
	late   time.Time                   // since when most probes are lost; zero: they are not
}

// outcome is what became of a probe.
type outcome struct {
	id     muster.NodeID
	missed bool
}

func newHearing(probe time.Duration) *hearing {
	return &hearing{probe: probe, pinged: map[muster.NodeID]time.Time{}, told: map[muster.NodeID]bool{}, silent: map[muster.NodeID]bool{}}
}

// begin is called when this node begins to probe.
func (h *hearing) begin(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.word, h.answer = now, now
}

// heard notes that an answer came in.
func (h *hearing) heard(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.word) > silenceProbes*h.probe {
		h.quiet = now.Add(quarantineProbes * h.probe)
	}
	h.word = now
}

// answered notes that a member answered a probe in time.
func (h *hearing) answered(id muster.NodeID, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = now
	delete(h.pinged, id)
	delete(h.told, id)
	clear(h.silent)
	h.noteLocked(outcome{id, false}, now)
}

// missed notes that a member did not answer a probe in time.
func (h *hearing) missed(id muster.NodeID, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent[id] = true
	h.noteLocked(outcome{id, true}, now)
}

func (h *hearing) noteLocked(o outcome, now time.Time) {
	h.last = append(h.last, o)
	h.last = h.last[max(0, len(h.last)-lastOutcome):]
	lost, members := 0, map[muster.NodeID]bool{}
	for _, o := range h.last {
		if o.missed {
			lost++
			members[o.id] = true
		}
	}
	switch {
	case len(members) < silentMany || 2*lost < len(h.last):
		h.late = time.Time{}
		return
	case h.late.IsZero():
		h.late = now
	}
	h.quiet = now.Add(quarantineProbes * h.probe)
}

// asked notes that a probe was sent. What was left unanswered long ago says nothing of
// now.
func (h *hearing) asked(id muster.NodeID, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first, waiting := h.pinged[id]; !waiting || now.Sub(first) > silenceProbes*h.probe {
		h.pinged[id] = now
	}
}

func (h *hearing) forget(id muster.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pinged, id)
	delete(h.told, id)
	delete(h.silent, id)
}

// mayAccuse reports whether this node hears enough to blame a member: somebody has
// answered since the member first left a question unanswered, nobody else has fallen
// silent with it, and there was no silence of late.
func (h *hearing) mayAccuse(id muster.NodeID, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.soundLocked(now) && !h.pinged[id].After(h.word)
}

// mayTell reports whether a suspicion or the death of a member may be told now. A
// death is told of members only whose suspicion was: they could have refuted it.
func (h *hearing) mayTell(id muster.NodeID, death bool, now time.Time) bool {
	if !h.mayAccuse(id, now) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !death {
		h.told[id] = true
	}
	return h.told[id]
}

func (h *hearing) soundLocked(now time.Time) bool {
	// late stays as it is while nobody is probed, as all are held dead.
	return h.late.IsZero() && now.After(h.quiet) && now.Sub(h.word) <= silenceProbes*h.probe
}

// sound reports whether this node may blame anybody.
func (h *hearing) sound(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.soundLocked(now)
}

// state says how this node hears, given the other members that it does not know to be
// well or down for reasons of their own.
func (h *hearing) state(now time.Time, others int, excused func(muster.NodeID) bool) (Hearing, time.Time) {
	h.mu.Lock()
	silent := slices.Collect(maps.Keys(h.silent))
	word, answer, late := h.word, h.answer, h.late
	h.mu.Unlock()
	silent = slices.DeleteFunc(silent, excused)
	deaf := deafProbes * h.probe
	many := len(silent) >= 2 && len(silent) >= min(silentMany, others)
	switch {
	case many && now.Sub(word) > deaf:
		return HearingNone, word
	case many && now.Sub(answer) > deaf:
		return HearingLate, answer
	case !late.IsZero() && now.Sub(late) > deaf:
		return HearingLate, late
	}
	return HearingWell, answer
}

// Hearing says how well the others answer this node, and since when. A node that hears
// none of several members, not even a refused connection, is itself at fault.
func (g *Gossip) Hearing() (Hearing, time.Time) {
	others := 0
	for _, v := range g.table.list() {
		if !v.Self && v.State != muster.StateLeft {
			others++
		}
	}
	return g.hearing.state(time.Now(), others, g.refuses)
}

// refuses reports whether a member's host refused the last connection: then the way to
// it and back works.
func (g *Gossip) refuses(id muster.NodeID) bool {
	err := g.contacts.failure(id).err
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

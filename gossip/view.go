package gossip

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// View is a member as this node sees it.
type View struct {
	ID       muster.NodeID
	Name     string
	Endpoint string // empty: cannot be dialled
	Zone     string
	Version  string
	Role     muster.Role
	Draining bool
	Boot     muster.Boot
	State    muster.State // alive, suspect, dead, left, expelled
	Since    time.Time    // of the state, by this node's clock
	Reason   string       // for the state, in words
	RTT      time.Duration
	Self     bool

	// Misses counts this node's probes since the last one that the member answered
	// itself, in time; MissedSince is when the first of them was lost. The member may
	// be alive all the same: others may have reached it.
	Misses      int
	MissedSince time.Time
}

// Event is one change of one member.
type Event struct {
	Member   View          // after the change
	From, To muster.State  // From is empty for a new member
	Updated  bool          // what the member tells about itself changed, its boot perhaps
	Took     time.Duration // it spent in From; 0 for a new member
}

const (
	// lookInterval is how often the view is taken when nothing seems to change.
	lookInterval = 2 * time.Second
	// lookPause is the time between two views when much changes.
	lookPause = 20 * time.Millisecond
	// ownMiss is how long a missed probe of this node's counts as the reason of
	// a suspicion.
	ownMiss = 2 * time.Second
)

// watch keeps the table current and tells of changes until ctx ends.
func (g *Gossip) watch(ctx context.Context) {
	buffer := &bytes.Buffer{}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		var asked chan struct{}
		select {
		case <-ctx.Done():
			return
		case id := <-g.missed:
			g.table.missed(id, time.Now())
			continue
		case <-g.changed:
		case <-tick.C:
		case asked = <-g.looks:
		}
		if err := g.update(ctx, buffer); err != nil {
			buffer = &bytes.Buffer{} // memberlist may still hold the old one
		}
		if asked != nil {
			close(asked)
		}
		sleep(ctx, lookPause)
	}
}

func (g *Gossip) update(ctx context.Context, buffer *bytes.Buffer) error {
	records, err := g.snapshot(ctx, buffer)
	if err != nil {
		if ctx.Err() == nil {
			g.log.Warn("member view not taken", "error", err)
		}
		return err
	}
	for _, e := range g.table.merge(time.Now(), records) {
		g.tell(e)
	}
	return nil
}

func (g *Gossip) tell(e Event) {
	m := e.Member
	if moved := e.From == "" || e.Updated; moved && !m.Self && m.Endpoint != "" && m.State != muster.StateLeft && m.State != muster.StateExpelled {
		g.cfg.Link.Learn(m.ID, m.Endpoint)
	}
	g.metrics.observe(e)
	g.log.Debug("member changed", "member", m.Name, "from", e.From, "to", e.To, "updated", e.Updated, "reason", m.Reason)
	if g.cfg.OnEvent != nil {
		g.cfg.OnEvent(e)
	}
}

// look returns when the table is as new as this call, or ctx ends.
func (g *Gossip) look(ctx context.Context) {
	done := make(chan struct{})
	select {
	case g.looks <- done:
	case <-ctx.Done():
		return
	case <-g.ended:
		return
	}
	select {
	case <-done:
	case <-g.ended:
	case <-ctx.Done():
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// entry is a member in the table.
type entry struct {
	View
	raw    string    // encoded meta that View was read from
	missed time.Time // when a probe of this node's got no answer
}

// table is the view, fed with snapshots. Members stay until forgotten.
type table struct {
	self     muster.NodeID
	contacts *contacts
	expelled func(muster.NodeID) (string, bool)

	mu        sync.Mutex // never held while calling out
	entries   map[muster.NodeID]*entry
	forgotten map[muster.NodeID]bool // dropped, but memberlist still remembers them
}

func newTable(self muster.NodeID, contacts *contacts) *table {
	return &table{
		self:      self,
		contacts:  contacts,
		entries:   map[muster.NodeID]*entry{},
		forgotten: map[muster.NodeID]bool{},
		expelled:  func(muster.NodeID) (string, bool) { return "", false },
	}
}

// merge takes in a snapshot and returns what changed.
func (t *table) merge(now time.Time, records []record) []Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	var events []Event
	seen := map[muster.NodeID]bool{}
	for _, r := range records {
		seen[r.id] = true
		if e, changed := t.mergeOneLocked(now, r); changed {
			events = append(events, e)
		}
	}
	maps.DeleteFunc(t.forgotten, func(id muster.NodeID, _ bool) bool { return !seen[id] })
	return append(events, t.mergeUnseenLocked(now, seen)...)
}

// mergeUnseenLocked takes in who was expelled or readmitted of those that memberlist
// remembers no more.
func (t *table) mergeUnseenLocked(now time.Time, seen map[muster.NodeID]bool) (events []Event) {
	for id, e := range t.entries {
		_, expelled := t.expelled(id)
		if seen[id] || expelled == (e.State == muster.StateExpelled) {
			continue
		}
		if event, changed := t.mergeOneLocked(now, record{id: id, state: muster.StateDead, meta: []byte(e.raw)}); changed {
			events = append(events, event)
		}
	}
	return events
}

func (t *table) mergeOneLocked(now time.Time, r record) (Event, bool) {
	why, expelled := t.expelled(r.id)
	if expelled {
		r.state = muster.StateExpelled
	} else {
		why = ""
	}
	if t.forgotten[r.id] && r.state.Gone() {
		return Event{}, false
	}
	delete(t.forgotten, r.id)
	e := t.entries[r.id]
	if e == nil {
		e = &entry{View: View{ID: r.id, Self: r.id == t.self}}
		t.entries[r.id] = e
	}
	before := e.View
	event := Event{From: before.State, To: r.state}
	event.Updated = e.read(r.meta) && before.State != ""
	restarted := event.Updated && e.Boot != before.Boot
	if event.From == event.To && !event.Updated {
		return Event{}, false
	}
	if event.From != "" {
		event.Took = now.Sub(before.Since)
	}
	if event.From != event.To || restarted {
		e.Reason = cmp.Or(why, e.refusal(r.state, t.contacts.failure(r.id)), e.reason(now, r.state, restarted))
		e.State, e.Since = r.state, now
	}
	event.Member = e.View
	return event, true
}

// read takes over a meta and reports whether it is a new one.
func (e *entry) read(raw []byte) bool {
	if e.raw == string(raw) {
		return false
	}
	m, err := parseMeta(raw)
	if err != nil {
		return false // cannot be: the gate has let it pass
	}
	e.raw = string(raw)
	e.Name, e.Endpoint, e.Zone, e.Version = m.Name, m.Endpoint, m.Zone, m.Version
	e.Role, e.Draining, e.Boot = m.Role, m.Draining, m.Boot
	return true
}

func (e *entry) reason(now time.Time, to muster.State, restarted bool) string {
	switch {
	case to == muster.StateLeft:
		return "said good-bye"
	case to == muster.StateDead && e.State == muster.StateExpelled:
		return "readmitted, and not heard of since"
	case to == muster.StateDead:
		return "no answer within the suspicion time"
	case to == muster.StateSuspect && now.Sub(e.missed) < ownMiss:
		return "no answer to probes of this node"
	case to == muster.StateSuspect:
		return "no answer to probes of another member"
	case restarted:
		return "restarted"
	case e.State == muster.StateSuspect:
		return "answered in time"
	case e.State.Gone():
		return "came back"
	}
	return "joined"
}

// refusal is what the link said of the last contacts, where that explains the state.
func (e *entry) refusal(to muster.State, f failure) string {
	if f.err == nil || (to != muster.StateSuspect && to != muster.StateDead) {
		return ""
	}
	at := ""
	if u, err := url.Parse(e.Endpoint); err == nil && u.Host != "" {
		at = " at " + u.Host
	}
	return "does not answer: " + link.Words(f.err) + at + " since " + f.since.UTC().Format(time.RFC3339)
}

// answered stores a round trip; the average follows it by a quarter.
func (t *table) answered(id muster.NodeID, rtt time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[id]
	switch {
	case e == nil:
	case e.RTT == 0:
		e.RTT = rtt
	default:
		e.RTT += (rtt - e.RTT) / 4
	}
	if e != nil {
		e.Misses, e.MissedSince = 0, time.Time{}
	}
}

// missed stores that a probe of this node's was not answered.
func (t *table) missed(id muster.NodeID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[id]
	if e == nil {
		return
	}
	if e.missed = now; e.Misses == 0 {
		e.MissedSince = now
	}
	e.Misses++
}

func (t *table) forget(id muster.NodeID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[id]
	if e == nil || e.Self || !e.State.Gone() {
		return false
	}
	delete(t.entries, id)
	t.forgotten[id] = true
	return true
}

func (t *table) list() []View {
	t.mu.Lock()
	defer t.mu.Unlock()
	views := make([]View, 0, len(t.entries))
	for _, e := range t.entries {
		views = append(views, e.View)
	}
	slices.SortFunc(views, func(a, b View) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return views
}

// in returns the ids of the members in a state, sorted, without this node.
func (t *table) in(state muster.State) []muster.NodeID {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []muster.NodeID
	for id, e := range t.entries {
		if e.State == state && !e.Self {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

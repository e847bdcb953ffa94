package server

import (
	"context"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/health"
)

// logPause is how long a second line of one class about one member is kept back.
const logPause = 10 * time.Second

// damper keeps members that come and go from flooding whoever watches.
type damper struct {
	node *node

	mu     sync.Mutex
	flaps  map[muster.NodeID]health.Flap
	logged map[logClass]logLines
}

// logClass is one kind of line about one member.
type logClass struct {
	id muster.NodeID
	to muster.State
}

type logLines struct {
	at      time.Time // of the last one
	dropped int       // since
}

func newDamper(n *node) *damper {
	return &damper{node: n, flaps: map[muster.NodeID]health.Flap{}, logged: map[logClass]logLines{}}
}

// see takes in a change of a member and returns it as it is to be shown, and false if
// there is nothing to show.
func (d *damper) see(e gossip.Event) (gossip.Event, bool) {
	if e.Member.Self {
		return e, true
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.flaps[e.Member.ID]
	after, changed := before.See(now, e.Member.State, e.Member.Boot)
	d.flaps[e.Member.ID] = after
	e.From, e.To = before.Shown, after.Shown
	if after.Held() {
		e.Member.Reason = after.Reason()
	}
	return e, changed || e.Updated
}

// shown is what is shown of a member that gossip sees so.
func (d *damper) shown(v gossip.View) (f health.Flap, deaths int) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	f, _ = d.flaps[v.ID].See(now, v.State, v.Boot)
	return f, f.Deaths(now)
}

// run shows those as alive that have been calm for long enough, until ctx ends.
func (d *damper) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, e := range d.released(now) {
				d.node.showMember(e)
			}
		}
	}
}

// released returns the returns that are believed now, and forgets what is over.
func (d *damper) released(now time.Time) (list []gossip.Event) {
	views := d.node.gossip.Members()
	d.mu.Lock()
	defer d.mu.Unlock()
	for class, lines := range d.logged {
		if now.Sub(lines.at) >= health.FlapWindow {
			delete(d.logged, class)
		}
	}
	known := make(map[muster.NodeID]bool, len(views))
	for _, v := range views {
		known[v.ID] = true
		f, ok := d.flaps[v.ID]
		if !ok || !f.Held() || v.State != muster.StateAlive {
			continue
		}
		next, changed := f.See(now, v.State, v.Boot)
		if d.flaps[v.ID] = next; changed {
			v.Reason = "calm again after it came and went"
			list = append(list, gossip.Event{Member: v, From: f.Shown, To: next.Shown})
		}
	}
	for id := range d.flaps {
		if !known[id] {
			delete(d.flaps, id)
		}
	}
	return list
}

// mayLog reports whether a line about a member is due, and how many of its class were
// kept back since the last one.
func (d *damper) mayLog(id muster.NodeID, to muster.State) (dropped int, due bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	class := logClass{id, to}
	lines := d.logged[class]
	if now.Sub(lines.at) < logPause {
		lines.dropped++
		d.logged[class] = lines
		return 0, false
	}
	d.logged[class] = logLines{at: now}
	return lines.dropped, true
}

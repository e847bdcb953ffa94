package journal

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster"
)

// Events returns what a query asks for of what is held, and a channel that is
// closed at the next event.
func (j *Journal) Events(q muster.EventQuery) (muster.EventPage, <-chan struct{}) {
	j.mu.Lock()
	known, resumed := q.After[j.cfg.Node.Short()]
	if known.Compare(j.last) > 0 { // no position of ours
		known, resumed = muster.EventID{}, false
	}
	first := j.afterLocked(known)
	items, more, newest := j.items[first:len(j.items):len(j.items)], j.more, j.last
	j.mu.Unlock()
	page := pageOf(items, q, cursor{known, resumed})
	next := muster.EventCursor{}
	next.Advance(known)
	next.Advance(page.reached)
	page.Next, page.More = next.String(), page.reached.Compare(newest) < 0
	return page.EventPage, more
}

// cursor is where a reader stands with this node's events, if anywhere.
type cursor struct {
	at      muster.EventID
	resumed bool
}

// scan is a page, and the last event that was looked at for it.
type scan struct {
	muster.EventPage

	reached muster.EventID
}

// pageOf picks from items. Gaps are told whether or not the events beside them are
// wanted: a reader cannot know what was lost.
func pageOf(items []item, q muster.EventQuery, from cursor) scan {
	s := scan{EventPage: muster.EventPage{Events: []muster.Event{}, Gaps: []muster.EventGap{}, Missing: []string{}, Complete: true}}
	s.reached = from.at
	for _, i := range items {
		if q.Limit > 0 && from.resumed && len(s.Events) >= q.Limit {
			return s
		}
		if known := s.reached != (muster.EventID{}); known && i.follows != s.reached {
			s.Gaps = append(s.Gaps, gap(s.reached, i))
		}
		s.reached = i.id()
		if q.Wants(i.Event) {
			s.Events = append(s.Events, i.Event)
		}
	}
	if extra := len(s.Events) - q.Limit; q.Limit > 0 && extra > 0 { // the newest ones
		s.Events = s.Events[extra:]
		oldest := s.Events[0]
		s.Gaps = slices.DeleteFunc(s.Gaps, func(g muster.EventGap) bool {
			id, err := muster.ParseEventID(g.Before)
			return err != nil || id.Compare(item{Event: oldest}.id()) < 0
		})
	}
	return s
}

// gap describes what is missing before an item.
func gap(after muster.EventID, before item) muster.EventGap {
	g := muster.EventGap{Node: before.NodeName, After: after.String(), Before: before.ID}
	switch {
	case after.Boot == before.Boot:
		g.Lost = before.Seq - after.Seq - 1
		g.Text = fmt.Sprintf("%d events of %s are lost", g.Lost, g.Node)
	case before.Seq > 1:
		g.Lost = before.Seq - 1
		g.Text = fmt.Sprintf("at least %d events of %s are lost", g.Lost, g.Node)
	default:
		g.Text = g.Node + " did not end in order: the last events before that may be lost"
	}
	return g
}

// Merge makes one page of those of several nodes, and tells whose is missing.
func Merge(pages []muster.EventPage, after muster.EventCursor, missing []string) muster.EventPage {
	all := muster.EventPage{Events: []muster.Event{}, Gaps: []muster.EventGap{}, Missing: []string{}, Complete: len(missing) == 0}
	all.Missing = append(all.Missing, missing...)
	slices.Sort(all.Missing)
	next := muster.EventCursor{}
	for _, id := range after {
		next.Advance(id)
	}
	for _, p := range pages {
		all.Events = append(all.Events, p.Events...)
		all.Gaps = append(all.Gaps, p.Gaps...)
		all.More = all.More || p.More
		reached, _ := muster.ParseEventCursor(p.Next) // what another node says is checked where it comes in
		for _, id := range reached {
			next.Advance(id)
		}
	}
	muster.SortEvents(all.Events)
	all.Next = next.String()
	return all
}

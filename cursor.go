package muster

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EventID names one event. Its text is node.boot.seq, the node by the first eight
// digits of its id.
type EventID struct {
	Node      string // NodeID.Short
	Boot, Seq uint64
}

// String returns the text of the id, or "" for the zero value.
func (id EventID) String() string {
	if id == (EventID{}) {
		return ""
	}
	return fmt.Sprintf("%s.%d.%d", id.Node, id.Boot, id.Seq)
}

// Compare orders the events of one node.
func (id EventID) Compare(other EventID) int {
	return cmp.Or(cmp.Compare(id.Boot, other.Boot), cmp.Compare(id.Seq, other.Seq))
}

// ParseEventID reads the text of an id.
func ParseEventID(text string) (EventID, error) {
	fields := strings.Split(text, ".")
	if len(fields) != 3 || len(fields[0]) != 8 {
		return EventID{}, errNoEventID
	}
	boot, err1 := strconv.ParseUint(fields[1], 10, 64)
	seq, err2 := strconv.ParseUint(fields[2], 10, 64)
	if err1 != nil || err2 != nil {
		return EventID{}, errNoEventID
	}
	return EventID{Node: fields[0], Boot: boot, Seq: seq}, nil
}

var errNoEventID = errors.New("want node.boot.seq")

// EventCursor says how far a reader has come with the events of each node: the
// last one that it knows, by EventID.Node.
type EventCursor map[string]EventID

// maxCursor bounds the nodes of a cursor.
const maxCursor = 1024

// ParseEventCursor reads ids separated by commas. An empty text is the beginning.
func ParseEventCursor(text string) (EventCursor, error) {
	c := EventCursor{}
	if text == "" {
		return c, nil
	}
	for field := range strings.SplitSeq(text, ",") {
		id, err := ParseEventID(field)
		if err != nil || len(c) >= maxCursor {
			return nil, fmt.Errorf("%q is no position among events: %w", Printable(field), errNoEventID)
		}
		c[id.Node] = id
	}
	return c, nil
}

// String returns what ParseEventCursor reads.
func (c EventCursor) String() string {
	ids := make([]string, 0, len(c))
	for _, node := range slices.Sorted(maps.Keys(c)) {
		ids = append(ids, c[node].String())
	}
	return strings.Join(ids, ",")
}

// Advance moves the cursor to an event. It never moves back.
func (c EventCursor) Advance(id EventID) {
	if id != (EventID{}) && id.Compare(c[id.Node]) > 0 {
		c[id.Node] = id
	}
}

// EventQuery says which events are wanted; a zero field wants all.
type EventQuery struct {
	After  EventCursor
	Since  time.Time
	Kind   string // a kind, or its first words: member for member.state
	Member string // name of the member they are about
	Limit  int    // per node: the first ones after After, without it the last ones
}

// Wants reports whether an event passes the filters.
func (q EventQuery) Wants(e Event) bool {
	return !e.At.Before(q.Since) && (q.Member == "" || q.Member == e.Subject) &&
		(q.Kind == "" || string(e.Kind) == q.Kind || strings.HasPrefix(string(e.Kind), q.Kind+"."))
}

// EventPage is an answer to an EventQuery: events in an order that no cause
// contradicts, and what is known to be missing among them.
type EventPage struct {
	Events   []Event    `json:"events"`
	Gaps     []EventGap `json:"gaps"`
	Next     string     `json:"next"`     // the cursor after this page
	More     bool       `json:"more"`     // there are more events after Next by now
	Complete bool       `json:"complete"` // every member of the cluster that was asked has answered
	Missing  []string   `json:"missing"`  // names of those that have not
}

// EventGap says that events of a node are gone for good.
type EventGap struct {
	Node   string `json:"node"`   // its name
	After  string `json:"after"`  // id of the last event before the gap
	Before string `json:"before"` // id of the first event after it
	Lost   uint64 `json:"lost"`   // how many at least; 0: nobody can say, perhaps none
	Text   string `json:"text"`
}

// SortEvents orders events so that whatever may have caused an event stands before
// it; where no cause is known, by time.
func SortEvents(events []Event) {
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Clock, b.Clock), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq))
	})
}

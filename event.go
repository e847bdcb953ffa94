package muster

import "time"

// EventKind names what happened. The kinds are dotted, most general word first.
type EventKind string

// The kinds of events.
const (
	EventMemberState  EventKind = "member.state"  // From and To are states
	EventMemberUpdate EventKind = "member.update" // endpoint, boot or tags changed
	EventMemberExpel  EventKind = "member.expel"  // To is expelled, or empty: readmitted
	EventConfigChange EventKind = "config.change" // Rev, Subject = kind/name
	EventClusterForm  EventKind = "cluster.form"
	EventClusterAlarm EventKind = "cluster.alarm" // Code says which
	EventStoreState   EventKind = "store.state"
	EventJoin         EventKind = "join"
	EventNodeStart    EventKind = "node.start"      // the first one of each boot
	EventNodeStop     EventKind = "node.stop"       // the last one of a boot that ended in order
	EventMemberDrain  EventKind = "member.drain"    // of this node, by order of an operator
	EventMemberResume EventKind = "member.resume"   // of this node, by order of an operator
	EventMemberRemove EventKind = "member.remove"   // from the durable list, by order of an operator
	EventMemberReap   EventKind = "member.reap"     // from the durable list, by its age
	EventLeaseChange  EventKind = "lease.change"    // Subject is its name; From and To are node ids, empty: nobody
	EventNameTakeover EventKind = "member.takeover" // a new node has the name of one that is gone; From and To are node ids
)

// Event is one thing that happened, as one node saw it. Node, Boot and Seq name it
// for ever; Seq grows by one per event of one boot. Clock orders the events of all
// nodes: what may have caused an event has a lower one.
type Event struct {
	ID       string    `json:"id"` // the EventID as text
	Seq      uint64    `json:"seq"`
	Boot     uint64    `json:"boot"` // Boot.Counter of the node
	Clock    Clock     `json:"clock"`
	At       time.Time `json:"at"`
	Kind     EventKind `json:"kind"`
	Node     NodeID    `json:"node_id"`
	NodeName string    `json:"node"`
	Subject  string    `json:"subject"` // member name, kind/name, or empty
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"`
	Rev      int64     `json:"rev,omitempty"`
	Code     Code      `json:"code,omitempty"`
	Text     string    `json:"text"`
}

// Problem is one thing that is wrong now and what to do about it. It is shown in
// /cluster/status, /ready, the dashboard and by the command line.
type Problem struct {
	Code  Code      `json:"code"`
	Text  string    `json:"text"`
	Fix   string    `json:"fix"`
	Since time.Time `json:"since"`
}

// Condition is one named requirement of readiness.
type Condition struct {
	Code  Code      `json:"code"`
	OK    bool      `json:"ok"`
	Since time.Time `json:"since"`
	Text  string    `json:"text"`
	Fix   string    `json:"fix"`
}

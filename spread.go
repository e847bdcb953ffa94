package muster

import "time"

// Wait says how many members a write waits for. Members of the durable list count,
// also those that are down.
type Wait string

// The words of ?wait on writes.
const (
	WaitNone   Wait = "none"   // the write is durable in the store and served by the node that took it
	WaitQuorum Wait = "quorum" // more than half of the members serve it too
	WaitAll    Wait = "all"    // every member serves it too
)

// Need returns how many of n members must confirm.
func (w Wait) Need(n int) int {
	switch w {
	case WaitAll:
		return n
	case WaitQuorum:
		return n/2 + 1
	}
	return 0
}

// Confirmation says which members serve a revision with the same epoch and chain as
// the node that asked them. The lists hold names, in order; together they are the
// durable member list.
type Confirmation struct {
	Met       bool     `json:"met"`       // as many as were wanted
	Confirmed []string `json:"confirmed"` // serve it
	Lagging   []string `json:"lagging"`   // are alive and have not said in time that they serve it
	Dead      []string `json:"dead"`      // are dead or stopped
}

// Way is how a revision came to a node.
type Way string

// The ways of a revision.
const (
	WayWrite  Way = "write"  // the node itself wrote it to the store
	WayHint   Way = "hint"   // the writer pushed it
	WayStore  Way = "store"  // pulled from the store
	WayPeer   Way = "peer"   // pulled from a peer
	WayDigest Way = "digest" // pulled because a peer's digest told of it
	WayCopy   Way = "copy"   // part of the first copy after the start of the node
)

// Trace is the way of one revision through the cluster. All times of the store and of
// the nodes are by their own clocks; delays are corrected by measured skews, and
// therefore approximate.
type Trace struct {
	Rev       int64       `json:"rev"`
	Change    *Change     `json:"change,omitempty"`   // without its specification; absent if the log is compacted
	Committed time.Time   `json:"committed,omitzero"` // by the clock of the answering node
	Reference string      `json:"reference"`          // write: when the first writer heard of the commit; store: the store's clock
	Nodes     []TraceNode `json:"nodes"`              // the first to serve it first
	P50       float64     `json:"p50_ms"`             // of the delays that are known
	P99       float64     `json:"p99_ms"`
	Max       float64     `json:"max_ms"`
	Complete  bool        `json:"complete"` // every member that was asked has answered
	Missing   []string    `json:"missing"`  // names of those that have not
}

// TraceNode is how a revision came to one node.
type TraceNode struct {
	ID       NodeID    `json:"id"`
	Name     string    `json:"name"`
	Serves   int64     `json:"serves"`             // revision that it serves now
	Way      Way       `json:"way"`                // empty: it does not serve the revision yet, or has forgotten
	From     string    `json:"from"`               // store, mirror, or the name of the peer that sent it
	Received time.Time `json:"received,omitzero"`  // own clock
	Applied  time.Time `json:"applied,omitzero"`   // own clock; served since then
	Delay    *float64  `json:"delay_ms,omitempty"` // from the commit to Applied; absent where it says nothing
	Error    float64   `json:"error_ms"`           // how wrong Delay may be
	Skew     float64   `json:"clock_skew_ms"`      // its clock less that of the answering node
	Text     string    `json:"text"`               // for people
}

// Drift is who serves what.
type Drift struct {
	Same    bool          `json:"same"` // every member has answered and serves the same
	Verdict string        `json:"verdict"`
	Newest  Position      `json:"newest"`  // the position that the others are compared with
	Members []DriftMember `json:"members"` // ordered by name
	Missing []string      `json:"missing"` // names of members that have not answered
}

// DriftMember is what one member serves.
type DriftMember struct {
	ID         NodeID   `json:"id"`
	Name       string   `json:"name"`
	State      State    `json:"state"`
	Answered   bool     `json:"answered"` // what follows is empty otherwise
	Position   Position `json:"position"`
	Digest     Hash     `json:"state_digest"` // of the documents that it serves
	Documents  int      `json:"documents"`
	Source     string   `json:"source"`         // store, peer, mirror; empty before its first sync
	Store      string   `json:"store_state"`    // fresh, stale, diverged, unknown
	Behind     int64    `json:"behind"`         // revisions
	BehindFor  float64  `json:"behind_seconds"` // as far as the answering node knows
	Diverged   bool     `json:"diverged"`       // its history is another one, or that of the store
	Damaged    bool     `json:"damaged"`        // same history, other documents
	Difference string   `json:"difference"`     // in words; empty: none
}

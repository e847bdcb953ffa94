package muster

import "time"

// Mark is one cell of a Matrix.
type Mark string

// The marks beside the states of a member.
const (
	MarkSelf     Mark = "self"
	MarkLinkDown Mark = "link-down" // alive, but neither of the two reaches the other
	MarkOneWay   Mark = "one-way"   // alive, but the observer does not reach it; the other way works
	MarkUnknown  Mark = "unknown"   // the observer has not said, or not for a while
)

// Matrix is who sees whom how, as one node has heard it from all others.
type Matrix struct {
	Members []MatrixMember `json:"members"` // ordered by name; the columns
	Rows    []MatrixRow    `json:"rows"`    // in the same order
	Broken  []BrokenLink   `json:"broken"`  // links that do not work, worst first
}

// MatrixMember is a column of a Matrix.
type MatrixMember struct {
	ID   NodeID `json:"id"`
	Name string `json:"name"`
}

// MatrixRow is what one observer says. Marks are in the order of the members.
type MatrixRow struct {
	ID       NodeID    `json:"id"`
	Name     string    `json:"name"`
	Heard    time.Time `json:"heard"`    // when it said so; zero: never
	Isolated bool      `json:"isolated"` // it hears nobody and says so itself
	Marks    []Mark    `json:"marks"`
}

// BrokenLink is a member that another one does not reach, though it lives.
type BrokenLink struct {
	From     string    `json:"from"` // name
	FromID   NodeID    `json:"from_id"`
	To       string    `json:"to"`
	ToID     NodeID    `json:"to_id"`
	OneWay   bool      `json:"one_way"`  // the other direction works
	Channels []string  `json:"channels"` // packet, stream, rpc: those that fail
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"` // by the clock of From
}

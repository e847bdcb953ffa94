package muster

import "time"

// NodeKeys is what a member says of the cookies it accepts. Cookies are named by
// their key ids.
type NodeKeys struct {
	ID       NodeID       `json:"id"`
	Name     string       `json:"name"`
	State    State        `json:"state"`    // as the node that was asked sees it
	Accepted []string     `json:"accepted"` // key ids; the first one signs and dials
	Retired  []RetiredKey `json:"retired"`  // dropped by the member, the latest first
	Links    []LinkKey    `json:"links"`    // of the member to others
	Tokens   []TokenUse   `json:"tokens"`   // shown to the member in the last 24 hours
	Error    string       `json:"error"`    // why the member did not tell; the lists are empty then
}

// RetiredKey is a cookie that is not accepted any more.
type RetiredKey struct {
	KID   string    `json:"kid"`
	Since time.Time `json:"since"`
}

// LinkKey says under which cookie a connection was made.
type LinkKey struct {
	Peer    string `json:"peer"`    // name of the node at the other end
	Channel string `json:"channel"` // packet, stream, rpc
	KID     string `json:"kid"`
}

// TokenUse sums up the tokens signed with one cookie that were shown to a node
// lately and have not expired.
type TokenUse struct {
	KID      string   `json:"kid"`
	Count    int      `json:"count"`
	Subjects []string `json:"subjects"` // at most eight of their bearers
}

package muster

import "time"

// State is what a node says about a member, in the words of SWIM (Das, Gupta
// and Motivala, 2002) plus those of an operator.
type State string

// The states of a member.
const (
	StateAlive    State = "alive"    // answers probes
	StateSuspect  State = "suspect"  // missed probes; the suspicion timer runs
	StateDead     State = "dead"     // suspicion confirmed
	StateLeft     State = "left"     // said good-bye
	StateDraining State = "draining" // alive, and asked not to receive new work
	StateExpelled State = "expelled" // removed by an operator; may not return
)

// Role says whether a member takes part in forming the cluster.
type Role string

// The roles of a node.
const (
	RoleVoter    Role = "voter"    // counts for bootstrap-expect, may own work
	RoleObserver Role = "observer" // joins, never forms, never counts
)

// Member is a node as one other node sees it. Since, State and Reason are that
// observer's own view; Healthy is its verdict.
type Member struct {
	ID              NodeID            `json:"id"`
	Name            string            `json:"name"`
	Endpoint        string            `json:"endpoint"`
	State           State             `json:"state"`
	Since           time.Time         `json:"since"`
	Reason          string            `json:"reason"`
	Region          string            `json:"region"`
	Zone            string            `json:"zone"`
	Role            Role              `json:"role"`
	Tags            map[string]string `json:"tags"`
	Version         string            `json:"version"`
	Boot            Boot              `json:"boot"`
	RTT             float64           `json:"rtt_ms"` // milliseconds; 0 = not measured yet
	Healthy         bool              `json:"healthy"`
	AppliedRevision int64             `json:"applied_revision"`
	DiscoveredBy    string            `json:"discovered_by"`
	Self            bool              `json:"self"`
	Flapping        int               `json:"flapping"`      // deaths in the last minute; 0 = calm
	ClockSkew       float64           `json:"clock_skew_ms"` // its clock less ours, in milliseconds; 0 = none or not measured
	Observers       []Observer        `json:"observers"`     // how other nodes see it
}

// LinkWord says whether one node reaches another.
type LinkWord string

// The words for a link.
const (
	LinkUp     LinkWord = "up"
	LinkDown   LinkWord = "down"    // neither of the two reaches the other
	LinkOneWay LinkWord = "one-way" // only the member reaches the observer
)

// Observer is how another node says that it sees a member.
type Observer struct {
	ID     NodeID    `json:"id"`
	Name   string    `json:"name"`
	State  State     `json:"state"`
	Since  time.Time `json:"since"` // by the observer's clock
	Link   LinkWord  `json:"link"`
	Reason string    `json:"reason"` // what of the link is broken; empty when it is up
}

// Gone reports whether the state means that the member no longer takes part.
func (s State) Gone() bool { return s == StateDead || s == StateLeft || s == StateExpelled }

package muster

import "time"

// Order is what an operator asks of a member.
type Order struct {
	By     string `json:"by"`     // the actor: who asked
	Reason string `json:"reason"` // why; may be empty
}

// String says by whom and why.
func (o Order) String() string {
	if o.Reason == "" {
		return "by " + o.By
	}
	return "by " + o.By + ": " + o.Reason
}

// ClusterInfo is a cluster as one of its nodes knows it.
type ClusterInfo struct {
	ID        ClusterID `json:"cluster_id"` // empty until the cluster is formed
	Name      string    `json:"name"`
	Size      int       `json:"size"`      // durable member list
	Members   int       `json:"members"`   // known to the node, those that are gone too
	Formation string    `json:"formation"` // where the node looks for the cluster's identity: alone, promise, store, none
	Expect    int       `json:"expect"`    // of --bootstrap-expect; 0 = not given
	Store     string    `json:"store"`     // kind of the config store
	HomeID    NodeID    `json:"home_id"`   // whose disk is the config store; empty for a database
	HomeName  string    `json:"home_name"`
	Epoch     int64     `json:"epoch"`
	NodeID    NodeID    `json:"node_id"` // of the node that says so
	LocalNode string    `json:"local_node"`
	Accepted  []string  `json:"accepted"` // key ids of the node's cookies; the first one signs and dials
}

// ReapPlan says which members are taken off the durable list, when and why.
type ReapPlan struct {
	LeftAfter float64    `json:"left_after_seconds"` // 0 = never
	DeadAfter float64    `json:"dead_after_seconds"` // 0 = never
	Size      int        `json:"size"`               // of the durable list
	Most      int        `json:"most"`               // one sweep may take
	Held      string     `json:"held"`               // why nothing is reaped at all now
	By        string     `json:"by"`                 // name of the node that sweeps
	Members   []Reapable `json:"members"`            // gone and still on the list, by due time
}

// Reapable is a member that is gone and still on the durable list.
type Reapable struct {
	ID     NodeID    `json:"id"`
	Name   string    `json:"name"`
	State  State     `json:"state"`
	SeenAt time.Time `json:"seen_at"` // its last sign of life, by the clock of the store
	Due    time.Time `json:"due"`     // when it may be reaped
	Never  bool      `json:"never"`   // members in its state are never reaped
	Next   bool      `json:"next"`    // the next sweep takes it
	Reason string    `json:"reason"`
}

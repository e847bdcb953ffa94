package muster

import "time"

// LeaderLease is the lease whose holder leads the cluster.
const LeaderLease = "leader"

// LeaseInfo is what a node says of a lease: the right of one node at a time to do
// something.
type LeaseInfo struct {
	Name      string    `json:"name"`
	HolderID  NodeID    `json:"holder_id"`  // empty: nobody holds it
	Holder    string    `json:"holder"`     // name of that node
	Term      int64     `json:"term"`       // of this or the last holder; only grows
	Since     time.Time `json:"since"`      // when it was taken, by the clock of the config store
	ExpiresIn float64   `json:"expires_in"` // seconds; a live holder prolongs it
}

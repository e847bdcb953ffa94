package muster

import "time"

// Health is the verdict on the cluster as one node sees it.
type Health string

// The verdicts.
const (
	Healthy   Health = "HEALTHY"   // every expected member is healthy, all serve the same revision
	Degraded  Health = "DEGRADED"  // serving, something to watch
	Unhealthy Health = "UNHEALTHY" // not formed, isolated, or at most half of the members healthy
)

// NodeState is the stage of a node's own life.
type NodeState string

// The stages of a node.
const (
	NodeStarting NodeState = "starting" // reading its data directory
	NodeForming  NodeState = "forming"  // waits to form a cluster with others
	NodeJoining  NodeState = "joining"  // waits for a member that admits it
	NodeSyncing  NodeState = "syncing"  // a member; has no configuration yet
	NodeReady    NodeState = "ready"
	NodeDraining NodeState = "draining" // shutting down or drained by an operator
	NodeExpelled NodeState = "expelled" // told to go; the process ends
)

// Status is one node's answer to "how is the cluster?".
type Status struct {
	LocalNode      string            `json:"local_node"`
	NodeID         NodeID            `json:"node_id"`
	ClusterID      ClusterID         `json:"cluster_id"`
	ClusterName    string            `json:"cluster_name"`
	Members        int               `json:"members"` // known, not left
	HealthyMembers int               `json:"healthy_members"`
	ClusterSize    int               `json:"cluster_size"` // durable member list
	ClusterHealth  Health            `json:"cluster_health"`
	Summary        string            `json:"summary"` // the verdict in one sentence
	Mode           string            `json:"mode"`    // standalone, cluster
	State          NodeState         `json:"state"`
	IsLeader       bool              `json:"is_leader"`
	LeaderID       NodeID            `json:"leader_id"`
	LeaderAddress  string            `json:"leader_address"`
	Config         ConfigStatus      `json:"config"`
	Store          StoreStatus       `json:"store"`
	Discovery      []DiscoveryStatus `json:"discovery"`
	Tolerates      int               `json:"tolerates"` // further losses before UNHEALTHY
	Converged      bool              `json:"converged"`
	ViewHash       string            `json:"view_hash"` // equal where the member views are equal
	Problems       []Problem         `json:"problems"`
	Version        string            `json:"version"`
	Uptime         float64           `json:"uptime"` // seconds
}

// ConfigStatus says which configuration a node serves.
type ConfigStatus struct {
	Epoch  int64    `json:"epoch"`
	Rev    int64    `json:"rev"`
	Chain  Hash     `json:"chain"`
	Source string   `json:"source"` // store, peer, mirror; empty before the first sync
	Behind []string `json:"behind"` // names of live members that serve an older revision
}

// StoreStatus says how the config store looks from a node.
type StoreStatus struct {
	Kind      string    `json:"kind"`  // postgres, sqlite, peer, memory; empty before it is known
	State     string    `json:"state"` // fresh, stale, diverged, unknown
	Since     time.Time `json:"since"`
	LastError string    `json:"last_error"`
}

// DiscoveryStatus is the last answer of one discovery method.
type DiscoveryStatus struct {
	Method    string    `json:"method"`
	At        time.Time `json:"at"`
	Found     int       `json:"found"`
	LastError string    `json:"last_error"`
}

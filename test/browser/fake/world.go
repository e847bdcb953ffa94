// Package fake is a node that is not there: it serves the dashboard and the
// part of the HTTP API that the dashboard uses, with made-up but plausible
// data. It is for developing and testing the page.
package fake

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/musterhq/muster"
)

// World is what a node knows.
type World struct {
	Status  muster.Status
	Members []muster.Member
	Docs    []muster.Document
	Events  []muster.Event
	Skew    time.Duration // how far the node's clock is ahead
}

const (
	clusterID = "5b1c2f0e-6f0a-4f57-9d0e-0c5d3a7e9b21"
	chainHex  = "9f3a41c07be2d8846610aa52f1c93e7d02b46f18c95ad3e07714be29a0cd5f63"
)

// Healthy is a cluster of three with some configuration, and nothing to report.
func Healthy() *World {
	now := time.Now().UTC()
	w := &World{Status: status(now)}
	for i, zone := range []string{"a", "b", "c"} {
		w.Members = append(w.Members, member(i+1, zone, now))
	}
	w.document("route", "checkout", `{"backends":["edge-1","edge-2","edge-3"],"timeout":"2.50s","weight":90}`, 42, 7, now.Add(-4*time.Minute))
	w.document("route", "search", `{"backends":["edge-2","edge-3"],"timeout":"800ms","weight":100}`, 39, 2, now.Add(-3*time.Hour))
	w.document("limit", "tenant-default", `{"algorithm":"sliding_window","limit":200,"mode":"standard","window":"1s"}`, 31, 3, now.Add(-26*time.Hour))
	w.document("flag", "new-basket", `{"enabled":true,"percent":25,"salt":9007199254740993}`, 40, 5, now.Add(-51*time.Minute))
	w.document("service", "payments", `{"health":{"interval":"5s","path":"/healthz"},"port":8443,"tags":{"team":"money"}}`, 12, 1, now.Add(-9*24*time.Hour))
	w.event(muster.Event{At: now.Add(-9 * 24 * time.Hour), Kind: muster.EventClusterForm, Text: "cluster prod-eu formed by edge-1, edge-2 and edge-3"})
	w.event(muster.Event{At: now.Add(-52 * time.Hour), Kind: muster.EventMemberState, Subject: "edge-3", From: "suspect", To: "alive", Text: "edge-3 answers again after 3 s"})
	w.event(muster.Event{At: now.Add(-3 * time.Hour), Kind: muster.EventConfigChange, Subject: "route/search", Rev: 39, Text: "ops@anna changed route/search: raise the timeout"})
	w.event(muster.Event{At: now.Add(-51 * time.Minute), Kind: muster.EventConfigChange, Subject: "flag/new-basket", Rev: 40, Text: "ci@deploy changed flag/new-basket: 25 percent"})
	w.event(muster.Event{At: now.Add(-4 * time.Minute), Kind: muster.EventConfigChange, Subject: "route/checkout", Rev: 42, Text: "ops@anna changed route/checkout: shift traffic to eu-central"})
	return w
}

// Empty is a fresh node on its own, before the first write.
func Empty() *World {
	now := time.Now().UTC()
	w := &World{Status: status(now)}
	w.Members = []muster.Member{member(1, "a", now)}
	s := &w.Status
	s.Members, s.HealthyMembers, s.ClusterSize, s.Tolerates = 1, 1, 1, 0
	s.Mode, s.LeaderID, s.LeaderAddress, s.IsLeader = "standalone", "", "", false
	s.Summary = "The one member is healthy and serves revision 0."
	s.Config = muster.ConfigStatus{Epoch: 1, Source: "store", Behind: []string{}}
	return w
}

// Degraded is a cluster of five with one dead, one suspect and one draining
// member, a revision behind on one, and a member that left.
func Degraded() *World {
	w, now := Healthy(), time.Now().UTC()
	w.Members = append(w.Members, member(4, "b", now), member(5, "a", now), member(6, "c", now))
	w.turn(2, muster.StateSuspect, 7*time.Second, "no answer to 3 probes from edge-1 and edge-2; edge-4 still reaches it")
	w.turn(3, muster.StateDraining, 42*time.Second, "drained by ops@anna: kernel update")
	w.turn(4, muster.StateDead, 192*time.Second, "no answer for 9 s to any member; last seen at revision 38")
	w.turn(5, muster.StateLeft, 26*time.Hour, "said good-bye")
	w.Members[2].AppliedRevision, w.Members[4].AppliedRevision = 40, 38
	s := &w.Status
	s.Members, s.HealthyMembers, s.ClusterSize, s.Tolerates = 5, 3, 5, 1
	s.ClusterHealth, s.Converged = muster.Degraded, false
	s.Summary = "3 of 5 members healthy; edge-3 suspect for 7s (no answer to 3 probes from edge-1 and edge-2; edge-4 still reaches it); edge-5 dead for 3m12s (no answer for 9 s to any member; last seen at revision 38); edge-3 not yet at revision 42; edge-5 (https://10.0.2.15:9113) does not answer any member; edge-3 serves revision 40, the store holds 42."
	s.Config.Behind = []string{"edge-3"}
	s.Problems = []muster.Problem{
		{Code: muster.CodeMembersMissing, Text: "edge-5 (https://10.0.2.15:9113) does not answer any member",
			Fix: "start it again, or take it off the list: muster node remove edge-5", Since: now.Add(-192 * time.Second)},
		{Code: muster.CodeConfigLag, Text: "edge-3 serves revision 40, the store holds 42",
			Fix: "look at its link: muster status --node edge-3", Since: now.Add(-7 * time.Second)},
	}
	w.event(muster.Event{At: now.Add(-192 * time.Second), Kind: muster.EventMemberState, Subject: "edge-5", From: "suspect", To: "dead", Text: "edge-5 is dead: no answer for 9 s"})
	w.event(muster.Event{At: now.Add(-42 * time.Second), Kind: muster.EventMemberState, Subject: "edge-4", From: "alive", To: "draining", Text: "edge-4 is draining: kernel update"})
	w.event(muster.Event{At: now.Add(-20 * time.Second), Kind: muster.EventClusterAlarm, Code: muster.CodeClusterMismatch, Text: "10.0.9.4 belongs to another cluster that has our cookie"})
	w.event(muster.Event{At: now.Add(-7 * time.Second), Kind: muster.EventMemberState, Subject: "edge-3", From: "alive", To: "suspect", Text: "edge-3 is suspect: no answer to 3 probes"})
	return w
}

// Large is a cluster of n, one of them dead, with n documents.
func Large(n int) *World {
	w, now := Healthy(), time.Now().UTC()
	for i := len(w.Members); i < n; i++ {
		w.Members = append(w.Members, member(i+1, string(rune('a'+i%3)), now))
		w.document("tenant", fmt.Sprintf("customer-%03d", i), `{}`, 42, 1, now.Add(-time.Hour))
	}
	w.turn(n-1, muster.StateDead, time.Minute, "no answer for 9 s")
	s := &w.Status
	s.Members, s.ClusterSize, s.HealthyMembers, s.Tolerates = n, n, n-1, n/2-2
	s.ClusterHealth, s.Summary = muster.Degraded, fmt.Sprintf("%d of %d members healthy; edge-%d dead for 1m0s.", n-1, n, n)
	return w
}

func status(now time.Time) muster.Status {
	var chain muster.Hash
	_ = chain.UnmarshalText([]byte(chainHex)) // a constant of the right length
	return muster.Status{
		LocalNode: "edge-1", NodeID: nodeID(1), ClusterID: clusterID, ClusterName: "prod-eu",
		Members: 3, HealthyMembers: 3, ClusterSize: 3, ClusterHealth: muster.Healthy,
		Summary: "All 3 members are healthy and serve revision 42.", Mode: "cluster", State: muster.NodeReady,
		LeaderID: nodeID(2), LeaderAddress: "https://10.0.2.12:9113",
		Config:    muster.ConfigStatus{Epoch: 1, Rev: 42, Chain: chain, Source: "store", Behind: []string{}},
		Store:     muster.StoreStatus{Kind: "postgres", State: "fresh", Since: now.Add(-31 * time.Hour)},
		Discovery: []muster.DiscoveryStatus{{Method: "dns", At: now.Add(-4 * time.Second), Found: 3}},
		Tolerates: 1, Converged: true, ViewHash: "c1d4a7e0", Problems: []muster.Problem{},
		Version: "0.4.0", Uptime: (31 * time.Hour).Seconds(),
	}
}

func nodeID(n int) muster.NodeID {
	return muster.NodeID(fmt.Sprintf("%08x-2f6b-8c1d-9a44-5f0e7d3c%04x", uint32(0x3fa91c00+n*0x01010101), n))
}

func member(n int, zone string, now time.Time) muster.Member {
	return muster.Member{
		ID: nodeID(n), Name: fmt.Sprintf("edge-%d", n), Endpoint: fmt.Sprintf("https://10.0.2.%d:9113", 10+n),
		State: muster.StateAlive, Since: now.Add(-time.Duration(30+n) * time.Hour), Region: "eu-central", Zone: zone,
		Role: muster.RoleVoter, Tags: map[string]string{}, Version: "0.4.0", Boot: muster.Boot{Counter: 3, Random: uint64(n)},
		RTT: 0.4 + 0.3*float64(n), Healthy: true, AppliedRevision: 42, DiscoveredBy: "dns", Self: n == 1,
	}
}

func (w *World) turn(i int, state muster.State, since time.Duration, reason string) {
	m := &w.Members[i]
	m.State, m.Since, m.Reason = state, time.Now().UTC().Add(-since), reason
	m.Healthy = !state.Gone() && state != muster.StateSuspect
}

func (w *World) document(kind, name, spec string, rev, generation int64, at time.Time) {
	w.Docs = append(w.Docs, muster.Document{
		Kind: kind, Name: name, Spec: json.RawMessage(spec), Rev: rev, Generation: generation,
		CreatedRev: rev - generation, UpdatedAt: at, UpdatedBy: "ops@anna", Reason: "as discussed",
	})
}

func (w *World) event(e muster.Event) {
	e.Seq, e.Node = uint64(len(w.Events)+1), nodeID(1)
	w.Events = append(w.Events, e)
}

// Package replica keeps one node's converged copy of the configuration. It is the
// only writer of the snapshot that every read on this node is answered from.
//
// The store orders changes and makes them durable; a Replica brings them here and
// carries this node's writes there:
//
//   - the combiner takes all waiting writes to the store in one call and applies
//     the result here before it answers;
//   - hints push each applied batch to all live peers, which apply it without
//     reading the store;
//   - the puller asks the store, or a peer that is further, for what is missing;
//   - digests on every message between nodes tell each side where the other one
//     stands, so a lost hint is repaired by the next message of any kind;
//   - the keeper reads the head of the store every few seconds and judges it:
//     fresh, stale or diverged;
//   - the mirror is written before a change is served, so a restarted node never
//     goes backwards and serves with the store down.
//
// Every change is checked against the chain, so a peer is as good a source as the
// store. A Replica never rewinds: if the store lost history, it goes on serving
// what it has, refuses writes and says so.
//
// Reads take no lock:
//
//	doc, ok := r.View().Get("route", "demo")
package replica

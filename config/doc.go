// Package config is the pure part of the configuration: canonical JSON, the
// chain of changes, and the immutable snapshot that reads are answered from.
//
// It performs no I/O, starts no goroutine and knows no clock. Package store makes
// changes durable; package replica moves them between nodes and keeps the atomic
// pointer to the newest Snapshot.
//
// # The chain
//
// Every change carries a hash that covers it and all changes before it. Two nodes
// with equal revision and chain have applied the same history. The bytes below
// are a contract between nodes, stores and versions; they never change:
//
//	chain(0) = SHA-256(cluster id)
//	chain(r) = SHA-256(chain(r-1) | r as int64 | op as byte |
//	                   len(kind) as uint32 | kind | len(name) as uint32 | name |
//	                   digest)
//	digest   = SHA-256(spec), or 32 zero bytes for a delete
//
// Integers are big-endian, the cluster id is its 36 characters, kind and name are
// UTF-8. Who made a change, when and why is on record but not in the chain.
//
// # The state digest
//
// The chain proves that two nodes read the same log; the state digest proves that
// they serve the same documents. It is the XOR, over all live documents, of
//
//	SHA-256(len(kind) as uint32 | kind | len(name) as uint32 | name | rev as int64 | digest)
//
// It finds faults. It is no defence against somebody who may write configuration.
package config

// Package journal is a node's memory of what it has seen happen. It keeps the
// newest events in memory and on disk, numbers them, and stamps them with a hybrid
// logical clock, so that the events of many nodes can be put into an order that
// respects cause and effect.
//
// The disk is served off the hot path and may fail: then events are kept in memory
// alone, and what a later start cannot find is told to readers as a gap.
package journal

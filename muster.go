// Package muster holds the words that every other package of this module
// speaks: node and cluster identities, members, configuration documents and
// their changes, events, and the list of error codes.
//
// It is a leaf: it imports the standard library only and performs no I/O.
// Programs that embed a node import the server package; programs that talk to
// a running cluster import the client package.
package muster

// DefaultPort is the TCP port of the management plane. One port carries
// everything: the HTTP API, the dashboard and the sealed links between members.
const DefaultPort = 9113

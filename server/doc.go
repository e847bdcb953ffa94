// Package server assembles a node: it opens the data directory and the listener,
// builds the parts in order, wires each to the few functions of the others that it
// needs, supervises them and takes them down again.
//
// It is what programs import that want to be a member themselves:
//
//	s, err := server.New(server.Config{DataDir: "data", Bind: "127.0.0.1:9113", Cookies: ring})
//	...
//	err = s.Run(ctx) // until ctx ends; leaves gracefully
//
// The parts that need a cluster (store, mirror, replica: the core) are built when
// the cluster is known, at start from the data directory or later by the seeker.
package server

// Command transport compares transports for memberlist in one run: memberlist's own
// (UDP and TCP), a POST for each packet, and muster's sealed links without and with
// TLS. It prints absolute values, ratios to memberlist's own, and which of the
// targets are met.
//
//	go run ./transport           # some minutes
//	go run ./transport -quick    # less than a minute
//
// The contenders take turns, so that a change of the machine's load hits all of
// them. Everything runs in one process on loopback; Linux only, because each member
// of a cluster has an address of its own in 127.0.0.0/8.
package main

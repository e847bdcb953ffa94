// Package link is the sealed connection between two nodes.
//
// Everything that nodes say to each other travels through GET {endpoint}/cluster/v1/gossip
// on the management port, as a WebSocket, so that any reverse proxy that passes
// WebSockets passes it. Inside the WebSocket runs a Noise session
// (Noise_NNpsk0_25519_AESGCM_SHA256) whose pre-shared key is derived from the
// cluster cookie: the cookie itself is never sent, a listener learns nothing to
// replay, and old traffic stays secret if the cookie leaks. Inside the session each
// side sends a HELLO signed with its node key; nothing has any effect outside the
// connection before the other side's HELLO has verified.
//
// A link has one of three channels:
//
//   - packet: small datagrams in both directions over one connection per pair of
//     members, queued and batched. Send never blocks and never dials in the caller.
//   - stream: one connection per conversation, a net.Conn.
//   - rpc: plain HTTP/1.1, served by the handler in Config.RPC, which finds the
//     verified caller with PeerFrom.
//
// Refusals arrive as *muster.Error with the code and the advice of the side that
// refused. DESIGN.md in this directory explains the wire format.
package link

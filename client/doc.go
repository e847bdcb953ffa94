// Package client talks to a node of a muster cluster over its HTTP API, in the
// words of package muster.
//
// A Client asks one node, once: it neither retries nor looks for another node.
// Whatever goes wrong is a *muster.Error with a code, a text and advice: a refusal
// by the node has the node's own words, a node that does not answer is
// CodePeerUnreachable, and something else that answers is CodeNotMuster.
//
//	c, err := client.New(client.Config{Addr: "http://127.0.0.1:9113", Token: token})
//	...
//	doc, err := c.ConfigGet(ctx, "route", "demo")
package client

// Package mgmt is the HTTP surface of a node: it turns requests into calls and
// errors into problem documents. It owns nothing but open streams: the node, the
// configuration and the events come through the interfaces in Config.
//
// routes.go lists the whole surface with the credential each route asks for; a
// route that is not listed there answers nobody. Parameters and bodies are read
// by the code generated from openapi.yaml (packages api and api/server).
//
// Every request passes, in this order: the path must have its one spelling, the
// Host must be ours, a browser must come from our own origin, the route must
// exist, and the credential must allow it. Only then is a body read.
package mgmt

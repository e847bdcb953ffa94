// Package web holds the dashboard: one page of static files, built from src
// into dist and embedded. The page is a client of the public HTTP API like any
// other; this package serves bytes and knows nothing about clusters.
//
// To change the page, edit src and run go generate ./web (Node and npm are
// needed for that, not for building muster).
package web

import "embed"

//go:generate go -C internal/build run .

//go:embed dist
var dist embed.FS

// CSP is the content security policy that the page lives under: nothing is
// loaded from elsewhere, no inline script or style, no string becomes markup.
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'"

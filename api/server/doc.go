// Package server is the server side of the HTTP API, generated from openapi.yaml
// for the chi router: it reads parameters and bodies, and package mgmt does the
// work. Apart from this file nothing here is written by hand.
package server

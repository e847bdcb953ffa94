// Package api holds the types and the HTTP client that are generated from
// openapi.yaml at the root of the repository; api/server holds the server side.
// Apart from this file and generate.go nothing here is written by hand: change
// openapi.yaml and run go generate ./api.
//
// Types that exist in package muster are used from there. Programs usually want
// package client, a thin layer on top that speaks in the words of package muster.
package api

package main

import (
	"context"

	"github.com/musterhq/muster"
)

// node is a running member, as serve and dev need it.
type node interface {
	// Run lives until ctx ends and returns nil, or fails to start.
	Run(ctx context.Context) error
	// Started is closed when the port answers; the methods below are good then.
	Started() <-chan struct{}
	// Ready is closed when the node serves the configuration for the first time.
	Ready() <-chan struct{}

	// Reload reads the cookie and certificate files again, at once.
	Reload() error

	Addr() string
	Endpoint() string
	Name() string
	LoginCode() string
	Status() muster.Status
}

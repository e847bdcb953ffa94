// Package freeport finds loopback ports for tests that must name a port before
// its server listens, and again after a restart of that server.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken below the range from which the kernel gives ports to outgoing
// connections; there another process's connection could take one while its server
// restarts.
const (
	first = 15000
	last  = 32000
)

// Next returns a port of 127.0.0.1 that nobody listens on now.
func Next() (int, error) {
	var err error
	for range 100 {
		port := first + rand.IntN(last-first)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.Join(errors.New("no free port found"), err)
}

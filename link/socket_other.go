//go:build !linux

package link

import (
	"net"
	"time"
)

// setUserTimeout does nothing: write deadlines and pings notice a vanished peer.
func setUserTimeout(*net.TCPConn, time.Duration) {}

package mgmt

import (
	"net/http"
	"time"
)

// Limits of one connection. Long polls and streams extend the write deadline for
// themselves.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 90 * time.Second
	maxHeader     = 16 << 10
)

// NewHTTPServer returns a server with every timeout and limit set, connections without
// a whole header among them. The handler is
// usually an API; give its Drain to RegisterOnShutdown.
func NewHTTPServer(handler http.Handler) *http.Server {
	srv := &http.Server{
		Handler:                      handler,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
	}
	guardHalfOpen(srv)
	return srv
}

package postgres

import (
	"errors"
	"syscall"
)

// isRefused reports whether nobody listens where the server should.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

package link

import (
	"errors"
	"io"
	"syscall"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
)

// Words says in a few words for people why a node was not reached. Unlike the error
// itself it names no address and none of the functions that failed; what a node refused
// for reasons of its own keeps its text.
func Words(err error) string {
	if err == nil {
		return ""
	}
	if f, ok := certs.Explain(err); ok {
		return muster.Printable(f.Text)
	}
	switch class := Class(err); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || isEOF(err):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return "no route to the host"
	case class == "dns":
		return "its name does not resolve"
	case class == "timeout":
		return "no answer in time"
	case errors.Is(err, errNoRoute):
		return "no address is known"
	case errors.Is(err, errSilent):
		return "the connection went silent"
	case errors.Is(err, io.ErrClosedPipe):
		return "connection closed"
	}
	if e, ok := errors.AsType[*muster.Error](err); ok && e.Err == nil {
		return muster.Printable(e.Text)
	}
	return muster.Printable(root(err))
}

// root returns the text of the innermost error.
func root(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

package muster

import (
	"errors"
	"fmt"
)

// Code is the stable, kebab-case name of a kind of failure. The same code is
// used in HTTP problem bodies, refusals between nodes, readiness conditions, the
// command line and the logs. Codes lists them all.
type Code string

// Error is a failure that a caller, another process or a person must be able to
// tell from others. Text says what happened to whom; Fix says what to do next.
type Error struct {
	Code Code
	Text string
	Fix  string // empty: the fix of the code's entry in Codes applies
	Err  error  // cause, may be nil
}

// Errorf makes an Error of a code. A %w verb sets its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Text: err.Error(), Err: errors.Unwrap(err)}
}

// Error returns the text followed by the code.
func (e *Error) Error() string { return e.Text + " [" + string(e.Code) + "]" }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an Error of the same code, so that
// errors.Is(err, &Error{Code: c}) asks for a code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Text == ""
}

// WithFix returns a copy of e that tells the user to do fix.
func (e *Error) WithFix(format string, args ...any) *Error {
	c := *e
	c.Fix = fmt.Sprintf(format, args...)
	return &c
}

// Advice returns what to do next: the error's own fix or that of its code.
func (e *Error) Advice() string {
	if e.Fix != "" {
		return e.Fix
	}
	info, _ := e.Code.Info()
	return info.Fix
}

// CodeOf returns the code of the first Error in err's tree, or CodeInternal
// when there is none, or "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

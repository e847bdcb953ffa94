// Package house holds the rules of this code base as ordinary Go tests: which
// package may import which, how long a function may be, what must be documented.
// It contains no other code. CONTRIBUTING.md explains the rules.
package house

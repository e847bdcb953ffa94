// Package e2e tests the program from outside: it builds the binary, starts real
// processes on loopback and speaks to them over HTTP, as an operator would. It
// contains no other code.
package e2e

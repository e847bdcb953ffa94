// Package hosts tests the program on several hosts: real processes in network
// namespaces, with a network between them whose every direction can lose, delay or
// stop packets. It contains no other code.
package hosts

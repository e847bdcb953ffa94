// Package auth turns the cluster cookie into everything that is proved with it:
// the pre-shared keys of links between nodes, and the tokens, login codes and
// sessions of operators.
//
// The cookie itself never leaves the machine. Every use has a key of its own,
// derived with HKDF-SHA256, so that a key which leaks in one place opens nothing
// elsewhere. A Ring holds the cookies a node accepts; its first cookie signs.
//
// The package reads cookie files and the clock and does no other I/O. Whoever
// holds the cookie can make an admin token: that is by design.
package auth

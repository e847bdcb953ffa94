// Package certs owns a node's certificates: it reads certificate, key and
// authorities from their files, reads them again when they change, and says in
// one line why a TLS handshake failed. It is a leaf: it knows nothing of nodes.
package certs

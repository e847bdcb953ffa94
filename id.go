package muster

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
)

// NodeID identifies one node for the life of its data directory. It is the
// textual form of a version 8 UUID (RFC 9562, section 5.8) made from the
// SHA-256 of the node's Ed25519 public key, so nobody without the private key
// can prove to be that node.
type NodeID string

// ClusterID identifies one cluster for ever. It is a random UUID minted exactly
// once, when the cluster forms. The empty value means "not formed".
type ClusterID string

// Boot tells one run of a node from the next. Counter grows by one at each
// start and is synced to disk before use; Random is drawn anew at each start,
// so that two copies of one data directory can be told apart.
type Boot struct {
	Counter uint64 `json:"counter"`
	Random  uint64 `json:"random"`
}

// NodeIDOf returns the identity that belongs to a public key.
func NodeIDOf(key ed25519.PublicKey) NodeID {
	sum := sha256.Sum256(key)
	var id [16]byte
	copy(id[:], sum[:16])
	return NodeID(formatUUID(id, 8))
}

// NewClusterID mints a random cluster identity.
func NewClusterID() ClusterID { return ClusterID(NewUUID()) }

// NewUUID returns a random version 4 UUID in its textual form.
func NewUUID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand aborts the program instead
	return formatUUID(id, 4)
}

func formatUUID(id [16]byte, version byte) string {
	id[6] = id[6]&0x0f | version<<4
	id[8] = id[8]&0x3f | 0x80
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

var (
	uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
)

// Valid reports whether id has the shape of a node identity.
func (id NodeID) Valid() bool { return uuidPattern.MatchString(string(id)) }

// Short returns the first eight characters, for logs and tables.
func (id NodeID) Short() string { return string(id[:min(8, len(id))]) }

// Valid reports whether id has the shape of a cluster identity.
func (id ClusterID) Valid() bool { return uuidPattern.MatchString(string(id)) }

// CheckName reports why s cannot be the name of a node, a cluster, a
// configuration kind or a document, or nil if it can: 1 to 63 characters of
// letters, digits, dot, underscore and hyphen.
func CheckName(s string) error {
	if namePattern.MatchString(s) {
		return nil
	}
	return fmt.Errorf("name %q: want 1 to 63 of letters, digits, '.', '_' and '-'", Printable(s))
}

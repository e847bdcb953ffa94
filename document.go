package muster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// MaxSpec is the largest specification of one document, in bytes of canonical JSON.
const MaxSpec = 256 << 10

// Hash is a SHA-256 sum. Its text and JSON form is lower-case hexadecimal.
type Hash [sha256.Size]byte

// String returns the hexadecimal form.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short returns the first eight hexadecimal digits, for logs and tables.
func (h Hash) Short() string { return hex.EncodeToString(h[:4]) }

// MarshalText returns the hexadecimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the hexadecimal form.
func (h *Hash) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(h) {
		return fmt.Errorf("hash of %d characters, want %d", len(text), 2*len(h))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Op is what a change does to a document.
type Op uint8

// The operations of a change. The numbers are part of the chain hash.
const (
	OpPut    Op = 1
	OpDelete Op = 2
)

// Document is one configuration document with its envelope. Spec is canonical
// JSON (see package config) and must not be modified.
type Document struct {
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`
	Spec       json.RawMessage `json:"spec"`
	Rev        int64           `json:"rev"`         // revision of the last change
	Generation int64           `json:"generation"`  // 1 at creation, +1 per change
	CreatedRev int64           `json:"created_rev"` // revision of the creation
	UpdatedAt  time.Time       `json:"updated_at"`
	UpdatedBy  string          `json:"updated_by"`
	Reason     string          `json:"reason"`
}

// Change is one step of the configuration history. Revisions are dense: the
// change after Rev is Rev+1. Chain covers this and every earlier change.
type Change struct {
	Rev        int64           `json:"rev"`
	Op         Op              `json:"op"`
	Kind       string          `json:"kind"`
	Name       string          `json:"name"`
	Spec       json.RawMessage `json:"spec,omitempty"` // nil for OpDelete
	Digest     Hash            `json:"digest"`         // SHA-256 of Spec; zero for OpDelete
	Chain      Hash            `json:"chain"`
	Generation int64           `json:"generation"`
	CreatedRev int64           `json:"created_rev"`
	Actor      string          `json:"actor"`   // who asked: subject and id of the token
	Node       NodeID          `json:"node_id"` // the node that took the request
	Reason     string          `json:"reason"`
	RequestID  string          `json:"request_id"`
	At         time.Time       `json:"at"` // clock of the store
}

// Position says how far a copy of the configuration has come. Two copies with
// equal positions have applied the same history.
type Position struct {
	Epoch int64 `json:"epoch"` // grows at promote, adopt and restore
	Rev   int64 `json:"rev"`
	Chain Hash  `json:"chain"`
}

// String returns epoch/rev/chain in short form, for logs.
func (p Position) String() string {
	return fmt.Sprintf("%d/%d/%s", p.Epoch, p.Rev, p.Chain.Short())
}

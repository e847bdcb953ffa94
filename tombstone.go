package muster

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// TombstoneKind is the kind of the documents that expel nodes, named by node id.
// Who deletes one readmits the node.
const TombstoneKind = "tombstone"

// ProvisionalFor is how long a tombstone counts that only a member has signed.
const ProvisionalFor = 24 * time.Hour

// Bounds of what a tombstone says, in bytes and elements.
const (
	maxTombstoneText = 200
	maxTombstoneKIDs = 16
)

// Tombstone says that a node was expelled and may not come back with its key.
type Tombstone struct {
	NodeID NodeID    `json:"node_id"`
	Name   string    `json:"name,omitempty"` // that it had
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`             // the operator, as in the history
	Via    NodeID    `json:"via,omitempty"`  // the node that took the order
	KIDs   []string  `json:"kids,omitempty"` // cookies that the expelled machine knows
}

// ParseTombstone reads the specification of a document strictly. The error has
// CodeBadDocument.
func ParseTombstone(spec []byte) (Tombstone, error) {
	var t Tombstone
	decoder := json.NewDecoder(bytes.NewReader(spec))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&t); err != nil {
		return t, badTombstone("it wants node_id, at (RFC 3339) and by, and may have name, reason, via and kids: %v", err)
	}
	return t, t.Check()
}

// Check returns an error with CodeBadDocument if the tombstone says too little, or
// what cannot be shown.
func (t Tombstone) Check() error {
	switch {
	case !t.NodeID.Valid():
		return badTombstone("node_id %q is no node id", Printable(string(t.NodeID)))
	case t.Via != "" && !t.Via.Valid():
		return badTombstone("via %q is no node id", Printable(string(t.Via)))
	case t.At.IsZero():
		return badTombstone("at is missing: when was the node expelled?")
	case t.By == "":
		return badTombstone("by is missing: who expelled the node?")
	case len(t.KIDs) > maxTombstoneKIDs:
		return badTombstone("kids: want at most %d", maxTombstoneKIDs)
	}
	for _, text := range append([]string{t.Name, t.Reason, t.By}, t.KIDs...) {
		if len(text) > maxTombstoneText || Printable(text) != text {
			return badTombstone("want texts of up to %d printable bytes", maxTombstoneText)
		}
	}
	return nil
}

func badTombstone(format string, args ...any) *Error {
	return Errorf(CodeBadDocument, TombstoneKind+": "+format, args...)
}

// Refusal is what the expelled node is told: who expelled it, when, and why.
func (t Tombstone) Refusal() *Error {
	return Errorf(CodeExpelled, "%s", t.Sentence())
}

// Sentence says who expelled the node, when, and why.
func (t Tombstone) Sentence() string {
	who := t.NodeID.Short()
	if t.Name != "" {
		who = t.Name + " (" + who + ")"
	}
	by, _, _ := strings.Cut(t.By, "/") // without the id of the token
	text := fmt.Sprintf("%s was expelled by %s at %s", who, by, t.At.UTC().Format(time.RFC3339))
	if t.Reason != "" {
		text += ": " + t.Reason
	}
	return Printable(text)
}

// SignedTombstone is a tombstone that a member made while the config store was
// down. It counts for ProvisionalFor, or until the history after Rev says more of
// the node.
type SignedTombstone struct {
	Tombstone

	Cluster   ClusterID         `json:"cluster_id"`
	Rev       int64             `json:"rev"` // that Via served when it signed
	PublicKey ed25519.PublicKey `json:"public_key"`
	Signature []byte            `json:"signature"`
}

// SignTombstone signs a tombstone with the key of the node that took the order.
func SignTombstone(s SignedTombstone, key ed25519.PrivateKey) SignedTombstone {
	s.PublicKey = ed25519.PublicKey(key[ed25519.SeedSize:])
	s.Via = NodeIDOf(s.PublicKey)
	s.At = s.At.UTC().Truncate(time.Second)
	s.Signature = ed25519.Sign(key, s.signed())
	return s
}

// signed is what the signature covers.
func (s SignedTombstone) signed() []byte {
	body, _ := json.Marshal(s.Tombstone) // a tombstone always has a JSON form
	return fmt.Appendf(nil, "muster-tombstone-1\x00%s\x00%d\x00%s", s.Cluster, s.Rev, body)
}

// clockLeeway is how far the clock of a signer may be ahead.
const clockLeeway = 10 * time.Minute

// Verify returns why the tombstone does not count in a cluster now: it was not
// signed by the node that it names, for another cluster, or too long ago. Whether
// that node may sign is for the caller to know.
func (s SignedTombstone) Verify(cluster ClusterID, now time.Time) error {
	switch err := s.Check(); {
	case err != nil:
		return err
	case s.Cluster != cluster:
		return Errorf(CodeForbidden, "the tombstone is of cluster %s", Printable(string(s.Cluster)))
	case len(s.PublicKey) != ed25519.PublicKeySize || NodeIDOf(s.PublicKey) != s.Via:
		return Errorf(CodeForbidden, "the tombstone names %s and holds the key of another node", s.Via.Short())
	case !ed25519.Verify(s.PublicKey, s.signed(), s.Signature):
		return Errorf(CodeForbidden, "the tombstone is not signed by %s", s.Via.Short())
	case s.At.After(now.Add(clockLeeway)):
		return Errorf(CodeForbidden, "the tombstone is of %s, which is in the future", s.At.UTC().Format(time.RFC3339))
	case !now.Before(s.Expires()):
		return Errorf(CodeForbidden, "the tombstone has lapsed at %s", s.Expires().UTC().Format(time.RFC3339))
	}
	return nil
}

// Expires returns when the tombstone ceases to count.
func (s SignedTombstone) Expires() time.Time { return s.At.Add(ProvisionalFor) }

// Expulsion is a tombstone that counts now, and by whose authority.
type Expulsion struct {
	Tombstone

	Provisional bool      `json:"provisional"`      // a member has signed it; the store knows nothing of it yet
	Expires     time.Time `json:"expires,omitzero"` // of a provisional one
	Rev         int64     `json:"rev"`              // of the document; 0 if it is provisional
}

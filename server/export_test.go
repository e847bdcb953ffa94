package server

import (
	"crypto/ed25519"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
)

// MaxKeys is the size of the keybook.
const MaxKeys = maxKeys

// Keybook is the memory for the public keys of peers.
type Keybook struct{ k *keybook }

// NewKeybook makes an empty one.
func NewKeybook(live func() []muster.NodeID) Keybook { return Keybook{newKeybook(live)} }

// Add remembers a key.
func (k Keybook) Add(id muster.NodeID, key ed25519.PublicKey) { k.k.add(id, key) }

// Verify checks a signature.
func (k Keybook) Verify(id muster.NodeID, message, sig []byte) bool {
	return k.k.verify(id, message, sig)
}

// Len is how many keys it holds.
func (k Keybook) Len() int {
	k.k.mu.Lock()
	defer k.k.mu.Unlock()
	return len(k.k.keys)
}

// Dissenting is dissenting.
func Dissenting(self muster.NodeID, members []muster.Member, outlooks map[muster.NodeID]health.Outlook) []muster.Member {
	return dissenting(self, members, outlooks)
}

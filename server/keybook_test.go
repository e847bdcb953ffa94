package server_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

// TestInventedNodesDoNotFillTheKeybook: a holder of the cookie comes with 5,000
// identities. The book stays bounded, and a member's signature is known throughout.
func TestInventedNodesDoNotFillTheKeybook(t *testing.T) {
	t.Parallel()
	node := func(i int) (muster.NodeID, ed25519.PrivateKey) {
		seed := sha256.Sum256(fmt.Append(nil, i))
		key := ed25519.NewKeyFromSeed(seed[:])
		return muster.NodeIDOf(key.Public().(ed25519.PublicKey)), key
	}
	member, key := node(0)
	book := server.NewKeybook(func() []muster.NodeID { return []muster.NodeID{member} })
	book.Add(member, key.Public().(ed25519.PublicKey))
	message := []byte("revision 7")
	for i := range 5000 {
		id, other := node(i + 1)
		book.Add(id, other.Public().(ed25519.PublicKey))
		if !book.Verify(id, message, ed25519.Sign(other, message)) {
			t.Fatalf("node %d has just come and is not known", i)
		}
		if n := book.Len(); n > server.MaxKeys {
			t.Fatalf("%d keys, want %d at most", n, server.MaxKeys)
		}
		if !book.Verify(member, message, ed25519.Sign(key, message)) {
			t.Fatalf("the member was forgotten for node %d", i)
		}
	}
}

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/musterhq/muster"
)

// Errors of changes that do not continue a history.
var (
	// ErrGap means that changes are missing before the ones given: ask for more.
	ErrGap = errors.New("the changes do not follow the revision on hand")
	// ErrChain means that the changes belong to another history, or are damaged.
	ErrChain = errors.New("the chain of changes is broken")
)

// DigestOf returns the digest of a canonical specification.
func DigestOf(spec []byte) muster.Hash { return sha256.Sum256(spec) }

// Genesis returns the chain of a cluster without changes.
func Genesis(cluster muster.ClusterID) muster.Hash { return sha256.Sum256([]byte(cluster)) }

// Next returns the chain after change c, where prev is the chain before it. It
// uses Rev, Op, Kind, Name and Digest of c.
func Next(prev muster.Hash, c muster.Change) muster.Hash {
	b := make([]byte, 0, 2*len(prev)+17+len(c.Kind)+len(c.Name))
	b = append(b, prev[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Rev))
	b = append(b, byte(c.Op))
	b = appendName(b, c.Kind, c.Name)
	b = append(b, c.Digest[:]...)
	return sha256.Sum256(b)
}

func appendName(b []byte, kind, name string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(kind)))
	b = append(b, kind...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	return append(b, name...)
}

// Verify checks that changes follow one another and the chain prev, and that
// each specification has the digest it claims. It wraps ErrGap or ErrChain.
func Verify(prev muster.Hash, changes []muster.Change) error {
	for i, c := range changes {
		if i > 0 && c.Rev != changes[i-1].Rev+1 {
			return fmt.Errorf("revision %d after %d: %w", c.Rev, changes[i-1].Rev, ErrGap)
		}
		if err := verifyDigest(c); err != nil {
			return err
		}
		if prev = Next(prev, c); prev != c.Chain {
			return fmt.Errorf("revision %d has chain %s, computed %s: %w", c.Rev, c.Chain.Short(), prev.Short(), ErrChain)
		}
	}
	return nil
}

func verifyDigest(c muster.Change) error {
	var want muster.Hash
	switch c.Op {
	case muster.OpPut:
		want = DigestOf(c.Spec)
	case muster.OpDelete:
		if c.Spec != nil {
			return fmt.Errorf("revision %d deletes and has a specification: %w", c.Rev, ErrChain)
		}
	default:
		return fmt.Errorf("revision %d has the unknown operation %d: %w", c.Rev, c.Op, ErrChain)
	}
	if c.Digest != want {
		return fmt.Errorf("revision %d: the specification is not the one that was written: %w", c.Rev, ErrChain)
	}
	return nil
}

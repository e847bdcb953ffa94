package config

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/musterhq/muster"
)

// shardCount trades the cost of a change (it copies the shards it touches)
// against the cost of a batch (it copies the array of shards once).
const shardCount = 256

// Snapshot is all live documents at one position. It is immutable: readers share
// it without locks, and a reader that keeps one sees one revision for as long as
// it likes. Apply makes the next one and shares all that did not change.
type Snapshot struct {
	cluster muster.ClusterID
	at      muster.Position
	digest  muster.Hash
	live    int
	shards  [shardCount]map[key]*entry
}

type key struct{ kind, name string }

// entry is one document. It is never modified, but for the memo of Typed.
type entry struct {
	doc   muster.Document
	sum   muster.Hash // contribution to the state digest
	typed atomic.Pointer[memo]
}

// New returns the snapshot of a cluster at a position. The documents may come in
// any order. An empty one is at revision 0 and has the Genesis chain.
func New(cluster muster.ClusterID, at muster.Position, docs []muster.Document) (*Snapshot, error) {
	if at.Rev == 0 && at.Chain != Genesis(cluster) {
		return nil, fmt.Errorf("snapshot at revision 0 of cluster %s: %w", cluster, ErrChain)
	}
	s := &Snapshot{cluster: cluster, at: at}
	for _, doc := range docs {
		if doc.Rev < 1 || doc.Rev > at.Rev {
			return nil, fmt.Errorf("snapshot at revision %d holds %s/%s of revision %d", at.Rev, doc.Kind, doc.Name, doc.Rev)
		}
		k := key{doc.Kind, doc.Name}
		i := shardOf(k)
		if _, twice := s.shards[i][k]; twice {
			return nil, fmt.Errorf("snapshot holds %s/%s twice", doc.Kind, doc.Name)
		}
		if s.shards[i] == nil {
			s.shards[i] = make(map[key]*entry)
		}
		s.put(i, k, newEntry(doc, DigestOf(doc.Spec)))
	}
	return s, nil
}

func newEntry(doc muster.Document, digest muster.Hash) *entry {
	b := make([]byte, 0, 16+len(doc.Kind)+len(doc.Name)+len(digest))
	b = appendName(b, doc.Kind, doc.Name)
	b = binary.BigEndian.AppendUint64(b, uint64(doc.Rev))
	b = append(b, digest[:]...)
	return &entry{doc: doc, sum: sha256.Sum256(b)}
}

// shardOf is FNV-1a, folded to a byte.
func shardOf(k key) uint8 {
	h := uint32(2166136261)
	for i := range len(k.kind) {
		h = (h ^ uint32(k.kind[i])) * 16777619
	}
	h *= 16777619 // kind and name do not run into one another
	for i := range len(k.name) {
		h = (h ^ uint32(k.name[i])) * 16777619
	}
	return uint8(h ^ h>>8 ^ h>>16 ^ h>>24)
}

// Get returns one document. It takes no lock and allocates nothing.
func (s *Snapshot) Get(kind, name string) (muster.Document, bool) {
	if e := s.find(kind, name); e != nil {
		return e.doc, true
	}
	return muster.Document{}, false
}

func (s *Snapshot) find(kind, name string) *entry {
	k := key{kind, name}
	return s.shards[shardOf(k)][k]
}

// List returns the documents of a kind, or all of them for "", ordered by kind
// and name.
func (s *Snapshot) List(kind string) []muster.Document {
	docs := make([]muster.Document, 0, s.live)
	for _, shard := range s.shards {
		for k, e := range shard {
			if kind == "" || k.kind == kind {
				docs = append(docs, e.doc)
			}
		}
	}
	slices.SortFunc(docs, func(a, b muster.Document) int {
		if c := strings.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return slices.Clip(docs)
}

// Cluster returns the cluster whose configuration this is.
func (s *Snapshot) Cluster() muster.ClusterID { return s.cluster }

// Position returns the epoch, revision and chain of the snapshot.
func (s *Snapshot) Position() muster.Position { return s.at }

// Len returns the number of live documents.
func (s *Snapshot) Len() int { return s.live }

// StateDigest returns the digest over what is served. It is kept from change to
// change; Audit computes it anew.
func (s *Snapshot) StateDigest() muster.Hash { return s.digest }

// AtEpoch returns the same documents at another epoch: a promotion or a restore
// of the store that kept the chain.
func (s *Snapshot) AtEpoch(epoch int64) *Snapshot {
	next := *s
	next.at.Epoch = epoch
	return &next
}

// Apply returns the snapshot after changes, which must continue it without gaps;
// s stays as it is. It wraps ErrGap or ErrChain if they do not. Generation and
// CreatedRev of the documents follow from the history and not from what the
// changes claim, since the chain does not cover them.
func (s *Snapshot) Apply(changes []muster.Change) (*Snapshot, error) {
	if len(changes) == 0 {
		return s, nil
	}
	if changes[0].Rev != s.at.Rev+1 {
		return nil, fmt.Errorf("revision %d after %d: %w", changes[0].Rev, s.at.Rev, ErrGap)
	}
	if err := Verify(s.at.Chain, changes); err != nil {
		return nil, err
	}
	next := *s
	var own [shardCount]bool
	for _, c := range changes {
		next.apply(c, &own)
	}
	last := changes[len(changes)-1]
	next.at.Rev, next.at.Chain = last.Rev, last.Chain
	return &next, nil
}

// apply makes one change. own tells which shards belong to s alone.
func (s *Snapshot) apply(c muster.Change, own *[shardCount]bool) {
	k := key{c.Kind, c.Name}
	i := shardOf(k)
	if !own[i] {
		own[i] = true
		s.shards[i] = maps.Clone(s.shards[i])
		if s.shards[i] == nil {
			s.shards[i] = make(map[key]*entry)
		}
	}
	old := s.shards[i][k]
	if c.Op == muster.OpDelete {
		s.remove(i, k)
		return
	}
	var before *muster.Document
	if old != nil {
		before = &old.doc
	}
	s.put(i, k, newEntry(DocumentOf(c, before), c.Digest))
}

func (s *Snapshot) put(i uint8, k key, e *entry) {
	s.remove(i, k)
	s.shards[i][k] = e
	s.digest = xor(s.digest, e.sum)
	s.live++
}

func (s *Snapshot) remove(i uint8, k key) {
	if old := s.shards[i][k]; old != nil {
		delete(s.shards[i], k)
		s.digest = xor(s.digest, old.sum)
		s.live--
	}
}

func xor(a, b muster.Hash) muster.Hash {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}

// Audit hashes every document that is served and reports whether the result is
// the digest that was kept from change to change.
func (s *Snapshot) Audit() error {
	var sum muster.Hash
	for _, shard := range s.shards {
		for _, e := range shard {
			sum = xor(sum, newEntry(e.doc, DigestOf(e.doc.Spec)).sum)
		}
	}
	if sum != s.digest {
		return fmt.Errorf("the documents at revision %d have digest %s, expected %s", s.at.Rev, sum.Short(), s.digest.Short())
	}
	return nil
}

// DocumentOf returns the document that change c, a put, makes of before, which
// is nil if there was none.
func DocumentOf(c muster.Change, before *muster.Document) muster.Document {
	doc := muster.Document{
		Kind: c.Kind, Name: c.Name, Spec: c.Spec, Rev: c.Rev, Generation: 1, CreatedRev: c.Rev,
		UpdatedAt: c.At, UpdatedBy: c.Actor, Reason: c.Reason,
	}
	if before != nil {
		doc.Generation, doc.CreatedRev = before.Generation+1, before.CreatedRev
	}
	return doc
}

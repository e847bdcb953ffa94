package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/musterhq/muster"
)

// Typed reads the documents of one kind as values of T. A document is decoded
// once per change, however many snapshots share it and however often it is read.
// Make one Typed per kind and keep it: a second one decodes for itself.
type Typed[T any] struct{ kind string }

// NewTyped returns the reader for a kind.
func NewTyped[T any](kind string) *Typed[T] { return &Typed[T]{kind: kind} }

// memo is one decoded form of a document, in a list with one element per Typed.
type memo struct {
	owner any // the *Typed[T]
	value any // *T, nil if it did not decode
	err   error
	next  *memo
}

// Get returns the value of a document, shared with all other readers: it must
// not be modified. It is false if there is no such document or if its
// specification does not fit T; Observe tells the two apart.
func (t *Typed[T]) Get(s *Snapshot, name string) (*T, bool) {
	e := s.find(t.kind, name)
	if e == nil {
		return nil, false
	}
	v, err := t.decoded(e)
	return v, err == nil
}

// All yields the names and values of the kind that decode, in no order.
func (t *Typed[T]) All(s *Snapshot) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		for _, shard := range s.shards {
			for k, e := range shard {
				if k.kind != t.kind {
					continue
				}
				if v, err := t.decoded(e); err == nil && !yield(k.name, v) {
					return
				}
			}
		}
	}
}

// Observe decodes what changes put into s, so that no reader has to, and reports
// the documents that do not fit T. Call it with each batch before s is published.
func (t *Typed[T]) Observe(s *Snapshot, changes []muster.Change) error {
	var errs []error
	for _, c := range changes {
		if c.Kind != t.kind {
			continue
		}
		if e := s.find(c.Kind, c.Name); e != nil && e.doc.Rev == c.Rev {
			_, err := t.decoded(e)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (t *Typed[T]) decoded(e *entry) (*T, error) {
	head := e.typed.Load()
	for m := head; m != nil; m = m.next {
		if m.owner == any(t) {
			return m.value.(*T), m.err
		}
	}
	v := new(T)
	m := &memo{owner: t, value: v}
	if err := json.Unmarshal(e.doc.Spec, v); err != nil {
		m.value, m.err = (*T)(nil), fmt.Errorf("decode %s/%s at revision %d: %w", e.doc.Kind, e.doc.Name, e.doc.Rev, err)
	}
	for {
		m.next = e.typed.Load()
		if e.typed.CompareAndSwap(m.next, m) {
			return m.value.(*T), m.err
		}
	}
}

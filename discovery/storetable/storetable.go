// Package storetable is the discovery method of nodes that share a config store:
// each keeps its row in the member table fresh, and all read it.
package storetable

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/store"
)

// Name is the name of the method.
const Name = "store"

// freshFor is how long after the last sign of life a row counts, by the clock of
// the store.
const freshFor = 30 * time.Second

// Table is the part of a store.Store that is read.
type Table interface {
	Members(ctx context.Context) ([]store.Member, error)
}

// Source reads a member table. It implements discovery.Source.
type Source struct {
	table Table
}

// New makes a source of a table.
func New(table Table) *Source { return &Source{table: table} }

// Name returns "store".
func (s *Source) Name() string { return Name }

// Find returns the members with a fresh row and an endpoint.
func (s *Source) Find(ctx context.Context) ([]discovery.Candidate, error) {
	rows, err := s.table.Members(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the member table: %w", err)
	}
	var now time.Time // the clock of the store, as far as rows show it
	for _, m := range rows {
		if m.SeenAt.After(now) {
			now = m.SeenAt
		}
	}
	var found []discovery.Candidate
	for _, m := range rows {
		if m.Endpoint != "" && m.Fresh(now, freshFor) {
			found = append(found, discovery.Candidate{Endpoint: m.Endpoint, ID: m.ID, Source: Name})
		}
	}
	return found, nil
}

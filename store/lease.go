package store

import (
	"context"
	"time"

	"github.com/musterhq/muster"
)

// Leases gives one node at a time the right to do something alone. Only the clock of
// the store decides when a lease ends, so the clocks of nodes do not matter. What a
// holder does elsewhere should carry the term: a higher one has replaced it.
type Leases interface {
	// Acquire gives the lease to the claim's holder if it is free, and returns what
	// is on record then: Lease.HeldBy tells whether that is the holder. Whoever
	// holds it already keeps it with its term, so a lost answer may be asked for
	// again. Claim.Term is not looked at.
	Acquire(ctx context.Context, c Claim) (Lease, error)
	// Renew prolongs the lease if holder, boot and term hold it and it has not
	// ended, and returns what is on record then.
	Renew(ctx context.Context, c Claim) (Lease, error)
	// Release frees the lease if holder, boot and term hold it.
	Release(ctx context.Context, c Claim) error
	// Leases returns all leases that were ever taken, ordered by name.
	Leases(ctx context.Context) ([]Lease, error)
}

// Limits of Claim.TTL.
const (
	MinTTL = 100 * time.Millisecond
	MaxTTL = time.Minute
)

// Claim is one process that wants a lease, or has it at a term.
type Claim struct {
	Name   string        `json:"name"`
	Holder muster.NodeID `json:"holder_id"`
	Boot   muster.Boot   `json:"boot"`
	Term   int64         `json:"term"`
	TTL    time.Duration `json:"ttl"`
}

// Check reports a claim that no store accepts.
func (c Claim) Check() error {
	if err := muster.CheckName(c.Name); err != nil {
		return muster.Errorf(muster.CodeBadRequest, "lease: %w", err)
	}
	if !c.Holder.Valid() {
		return muster.Errorf(muster.CodeBadRequest, "lease %s: %q is not a node identity", c.Name, muster.Printable(string(c.Holder)))
	}
	if c.TTL < MinTTL || c.TTL > MaxTTL || c.TTL%time.Microsecond != 0 {
		return muster.Errorf(muster.CodeBadRequest, "lease %s: a time to live of %s, want whole microseconds from %s to %s", c.Name, c.TTL, MinTTL, MaxTTL)
	}
	return nil
}

// Lease is what is on record of a lease.
type Lease struct {
	Name    string        `json:"name"`
	Holder  muster.NodeID `json:"holder_id"` // empty: it was released
	Boot    muster.Boot   `json:"boot"`
	Term    int64         `json:"term"` // of the last holder; grows with each
	TTL     time.Duration `json:"ttl"`
	Since   time.Time     `json:"since"` // the holder has it; by the clock of the store
	Expires time.Time     `json:"expires"`
	// Left is how long it was still held when the store answered. 0: it is free.
	Left time.Duration `json:"left"`
}

// HeldBy reports whether the process of a claim held the lease when the store
// answered. It does not look at the term.
func (l Lease) HeldBy(c Claim) bool { return l.Left > 0 && l.Holder == c.Holder && l.Boot == c.Boot }

// The rest decides for stores that decide in this process.

// At returns the lease as it is at a moment of the clock of the store.
func (l Lease) At(now time.Time) Lease {
	// A clock that was set back does not prolong what is held.
	if l.Holder != "" && l.Expires.Sub(now) > l.TTL {
		l.Expires = now.Add(l.TTL)
	}
	l.Left = 0
	if l.Holder != "" {
		l.Left = max(0, l.Expires.Sub(now))
	}
	return l
}

// Acquired returns the lease after a claim to it.
func (l Lease) Acquired(c Claim, now time.Time) Lease {
	l = l.At(now)
	switch {
	case l.HeldBy(c):
		c.Term = l.Term
		return l.Renewed(c, now)
	case l.Left > 0:
		return l
	}
	return Lease{
		Name: c.Name, Holder: c.Holder, Boot: c.Boot, Term: max(l.Term+1, now.UnixMicro()), TTL: c.TTL,
		Since: now, Expires: now.Add(c.TTL), Left: c.TTL,
	}
}

// Renewed returns the lease after its holder, or whoever was, prolonged it.
func (l Lease) Renewed(c Claim, now time.Time) Lease {
	if l = l.At(now); l.HeldBy(c) && l.Term == c.Term {
		l.TTL, l.Expires, l.Left = c.TTL, now.Add(c.TTL), c.TTL
	}
	return l
}

// Released returns the lease after its holder, or whoever was, gave it up.
func (l Lease) Released(c Claim, now time.Time) Lease {
	if l = l.At(now); l.HeldBy(c) && l.Term == c.Term {
		l.Holder, l.Boot, l.Expires, l.Left = "", muster.Boot{}, now, 0
	}
	return l
}

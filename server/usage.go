package server

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/auth"
)

const (
	usageWindow = 24 * time.Hour
	maxUsage    = 4096 // tokens that are remembered
)

// usage remembers which tokens were shown to this node lately, so that nobody
// drops a cookie that programs still rely on.
type usage struct {
	mu   sync.Mutex
	seen map[string]shown // by token id
}

type shown struct {
	kid, subject string
	at, expires  time.Time
}

func newUsage() *usage { return &usage{seen: map[string]shown{}} }

// note counts a token that was accepted.
func (u *usage) note(c auth.Claims) {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.seen[c.ID]; !known && len(u.seen) >= maxUsage {
		u.forgetLocked(now)
	}
	if _, known := u.seen[c.ID]; known || len(u.seen) < maxUsage {
		u.seen[c.ID] = shown{kid: c.KID, subject: c.Subject, at: now, expires: c.Expires}
	}
}

// forgetLocked drops what does not count any more.
func (u *usage) forgetLocked(now time.Time) {
	for id, s := range u.seen {
		if now.Sub(s.at) > usageWindow || now.After(s.expires) {
			delete(u.seen, id)
		}
	}
}

// tokenUse is what a node knows of the tokens signed with one cookie.
type tokenUse struct {
	KID      string   `json:"kid"`
	Count    int      `json:"count"`    // shown in the last 24 h and not expired
	Subjects []string `json:"subjects"` // of them, at most eight
}

// list sums up the tokens of the last 24 hours that are still good, by cookie.
func (u *usage) list() []tokenUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forgetLocked(time.Now())
	sums := map[string]*tokenUse{}
	for _, s := range u.seen {
		sum := sums[s.kid]
		if sum == nil {
			sum = &tokenUse{KID: s.kid}
			sums[s.kid] = sum
		}
		sum.Count++
		if !slices.Contains(sum.Subjects, s.subject) {
			sum.Subjects = append(sum.Subjects, s.subject)
		}
	}
	list := []tokenUse{}
	for _, sum := range sums {
		slices.Sort(sum.Subjects)
		sum.Subjects = sum.Subjects[:min(len(sum.Subjects), 8)]
		list = append(list, *sum)
	}
	slices.SortFunc(list, func(a, b tokenUse) int { return cmp.Compare(a.KID, b.KID) })
	return list
}

package server

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

const (
	usageWindow = 24 * time.Hour
	maxUsage    = 4096 // tokens that are remembered
	shortLived  = 15 * time.Minute
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

// note counts a token that was accepted. Sessions and tokens of a single command
// do not count: dropping their cookie costs a login or nothing.
func (u *usage) note(c auth.Claims) {
	now := time.Now()
	if c.Session || c.Expires.Sub(now) < shortLived {
		return
	}
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

// list sums up the tokens of the last 24 hours that are still good, by cookie.
func (u *usage) list() []muster.TokenUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forgetLocked(time.Now())
	sums := map[string]*muster.TokenUse{}
	for _, s := range u.seen {
		sum := sums[s.kid]
		if sum == nil {
			sum = &muster.TokenUse{KID: s.kid}
			sums[s.kid] = sum
		}
		sum.Count++
		if !slices.Contains(sum.Subjects, s.subject) {
			sum.Subjects = append(sum.Subjects, s.subject)
		}
	}
	list := []muster.TokenUse{}
	for _, sum := range sums {
		slices.Sort(sum.Subjects)
		sum.Subjects = sum.Subjects[:min(len(sum.Subjects), 8)]
		list = append(list, *sum)
	}
	slices.SortFunc(list, func(a, b muster.TokenUse) int { return cmp.Compare(a.KID, b.KID) })
	return list
}

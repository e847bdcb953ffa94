package server

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
)

// lagOfConcern is how long a live member may serve an older revision before anybody is
// told. The slowest way to a change takes five seconds.
const lagOfConcern = 10 * time.Second

// lagging names the healthy members that have served an older revision than this node
// for too long, and this node if others serve more.
func (n *node) lagging(members []muster.Member, own muster.Position) (list []muster.Problem) {
	c := n.core.Load()
	if c == nil {
		return nil
	}
	if behind, since := c.replica.Stuck(); behind > 0 && n.cfg.Now().Sub(since) > lagOfConcern {
		list = append(list, lagProblem(n.self.Name, behind, since))
	}
	positions := n.positions()
	for _, m := range members {
		at, heard := positions[m.ID]
		since, passed := c.replica.PassedSince(at.Rev)
		hidden := n.endpoint == "" && m.Endpoint == "" // nothing passes between two nodes that nobody can dial
		if m.Self || !m.Healthy || hidden || !heard || at.Rev >= own.Rev || !passed {
			continue
		}
		if since.Before(m.Since) {
			since = m.Since // it was away before
		}
		if lag := n.cfg.Now().Sub(since); lag > lagOfConcern {
			list = append(list, lagProblem(m.Name, own.Rev-at.Rev, since))
		}
	}
	return list
}

func lagProblem(name string, behind int64, since time.Time) muster.Problem {
	info, _ := muster.CodeConfigLag.Info()
	return muster.Problem{
		Code: muster.CodeConfigLag, Fix: info.Fix, Since: since,
		Text: fmt.Sprintf("%s is alive and %s behind since %s", name, revisions(behind), since.UTC().Format(time.TimeOnly)),
	}
}

func revisions(count int64) string {
	if count == 1 {
		return "1 revision"
	}
	return fmt.Sprintf("%d revisions", count)
}

// Drift asks all members what they serve. See mgmt.Spread.
func (n *node) Drift(ctx context.Context) (muster.Drift, error) {
	c := n.core.Load()
	if c == nil {
		return muster.Drift{}, n.notFormed()
	}
	own := c.replica.Head()
	heads := c.replica.Heads(ctx, n.live(), own.Position.Rev)
	heads[n.self.ID] = own
	counted := n.counted()
	d := muster.Drift{Same: true, Newest: newest(heads), Members: []muster.DriftMember{}, Missing: []string{}}
	v := comparison{replica: c.replica, own: own.Position, heads: heads, newest: d.Newest, digest: usual(heads, d.Newest), now: n.cfg.Now()}
	for _, m := range n.members() {
		if !counted[m.ID] {
			continue
		}
		one := v.member(m)
		d.Members = append(d.Members, one)
		d.Same = d.Same && one.Answered && one.Difference == ""
		if !one.Answered {
			d.Missing = append(d.Missing, m.Name)
		}
	}
	d.Verdict = driftVerdict(d)
	return d, nil
}

// newest is the position that is furthest.
func newest(heads map[muster.NodeID]replica.Head) (top muster.Position) {
	for _, h := range heads {
		p := h.Position
		if c := cmp.Or(cmp.Compare(p.Epoch, top.Epoch), cmp.Compare(p.Rev, top.Rev), strings.Compare(p.Chain.String(), top.Chain.String())); c > 0 {
			top = p
		}
	}
	return top
}

// usual is the state digest that most of those who stand at a position have.
func usual(heads map[muster.NodeID]replica.Head, at muster.Position) (most muster.Hash) {
	count := map[muster.Hash]int{}
	for _, h := range heads {
		if h.Position == at {
			count[h.Digest]++
		}
	}
	for digest, times := range count {
		if times > count[most] || times == count[most] && digest.String() < most.String() {
			most = digest
		}
	}
	return most
}

// comparison is what members are compared with.
type comparison struct {
	replica *replica.Replica
	own     muster.Position
	heads   map[muster.NodeID]replica.Head
	newest  muster.Position
	digest  muster.Hash // usual at newest
	now     time.Time
}

func (v comparison) member(m muster.Member) muster.DriftMember {
	d := muster.DriftMember{ID: m.ID, Name: m.Name, State: m.State}
	h, ok := v.heads[m.ID]
	if !ok {
		d.Difference = "did not answer"
		return d
	}
	d.Answered, d.Position, d.Digest, d.Documents = true, h.Position, h.Digest, h.Documents
	d.Source, d.Store = muster.Printable(h.Source), muster.Printable(string(h.Store))
	at := h.Position
	if d.Behind = max(0, v.newest.Rev-at.Rev); d.Behind > 0 {
		d.BehindFor = v.behindFor(at.Rev).Seconds()
	}
	d.Diverged = h.Store == replica.Diverged || v.replica.Contradicts(at) || at.Rev == v.newest.Rev && at.Chain != v.newest.Chain
	d.Damaged = at == v.newest && h.Digest != v.digest
	d.Difference = v.difference(d)
	return d
}

// behindFor is how long this node has served more than a revision; or, if it does not,
// how long anybody has.
func (v comparison) behindFor(rev int64) time.Duration {
	if since, ok := v.replica.PassedSince(rev); ok {
		return max(0, v.now.Sub(since))
	}
	var longest time.Duration
	for _, h := range v.heads { // they were asked about the revision that this node serves
		if h.Position.Rev > rev {
			longest = max(longest, h.Passed)
		}
	}
	return longest
}

func (v comparison) difference(d muster.DriftMember) string {
	switch {
	case d.Store == string(replica.Diverged):
		return "the store has another history than this member"
	case d.Diverged:
		return "another history at revision " + fmt.Sprint(d.Position.Rev)
	case d.Source == "":
		return "has no copy yet"
	case d.Behind > 0:
		return fmt.Sprintf("%s behind, for %s", revisions(d.Behind), time.Duration(d.BehindFor*float64(time.Second)).Round(100*time.Millisecond))
	case d.Position.Epoch < v.newest.Epoch:
		return fmt.Sprintf("still of epoch %d", d.Position.Epoch)
	case d.Damaged:
		return "same history, other documents than most"
	}
	return ""
}

// driftVerdict is the answer in one sentence.
func driftVerdict(d muster.Drift) string {
	var parts []string
	for _, m := range d.Members {
		if m.Answered && m.Difference != "" {
			parts = append(parts, m.Name+": "+m.Difference)
		}
	}
	if len(d.Missing) > 0 {
		parts = append(parts, "no answer from "+strings.Join(d.Missing, ", "))
	}
	if len(parts) > 0 {
		return strings.Join(parts, "; ") + "."
	}
	if len(d.Members) == 1 {
		return fmt.Sprintf("The one member serves revision %d.", d.Newest.Rev)
	}
	return fmt.Sprintf("All %d members serve revision %d of epoch %d.", len(d.Members), d.Newest.Rev, d.Newest.Epoch)
}

package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// reapEvery is the time between two sweeps, and before the first one.
const reapEvery = time.Minute

// reap takes members that have been gone for long off the durable list.
func (n *node) reap(ctx context.Context) error {
	if n.cfg.ReapLeftAfter == 0 && n.cfg.ReapDeadAfter == 0 {
		return nil
	}
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			n.sweep(ctx)
		}
	}
}

// sweep does what the plan says, if it is this node's turn.
func (n *node) sweep(ctx context.Context) {
	plan := n.Reapable()
	if plan.Held != "" || plan.By != n.self.Name {
		return
	}
	for _, m := range plan.Members {
		if !m.Next {
			continue
		}
		if err := n.strike(ctx, m.ID); err != nil {
			n.log.WarnContext(ctx, "member not reaped", "member", m.Name, "error", err)
			return
		}
		n.log.InfoContext(ctx, "member reaped", "member", m.Name, "member_id", m.ID, "reason", m.Reason)
		n.journal.add(muster.Event{
			Kind: muster.EventMemberReap, Subject: m.Name, From: string(m.State),
			Text: m.Name + " taken off the member list: " + m.Reason,
		})
	}
}

// Reapable says what the next sweep would take off the durable list. See
// mgmt.Lifecycle.
func (n *node) Reapable() muster.ReapPlan {
	rows := n.roster.list()
	s := survey{rows: rows, self: n.self.ID, left: n.cfg.ReapLeftAfter, dead: n.cfg.ReapDeadAfter, seen: map[muster.NodeID]muster.Member{}}
	for _, m := range n.members() {
		s.seen[m.ID] = m
	}
	s.now = time.Now()
	if i := slices.IndexFunc(rows, func(m store.Member) bool { return m.ID == n.self.ID }); i >= 0 {
		s.now = rows[i].SeenAt // written just now, by the clock of the store
	}
	return s.plan()
}

// survey is what a plan is made from.
type survey struct {
	rows       []store.Member
	seen       map[muster.NodeID]muster.Member // what this node sees
	self       muster.NodeID
	now        time.Time // by the clock that stamped the rows
	left, dead time.Duration
}

func (s survey) plan() muster.ReapPlan {
	plan := muster.ReapPlan{
		LeftAfter: s.left.Seconds(), DeadAfter: s.dead.Seconds(),
		Size: len(s.rows), Most: max(0, (len(s.rows)-1)/2), Members: []muster.Reapable{},
	}
	plan.By, plan.Held = s.sweeper(), s.held()
	for _, row := range s.rows {
		if m := s.seen[row.ID]; row.ID != s.self && m.State.Gone() {
			plan.Members = append(plan.Members, s.judge(row, m))
		}
	}
	slices.SortFunc(plan.Members, func(a, b muster.Reapable) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	taken := 0
	for i := range plan.Members {
		m := &plan.Members[i]
		m.Next = plan.Held == "" && !m.Never && !m.Due.After(s.now) && taken < plan.Most
		if m.Next {
			taken++
		}
	}
	return plan
}

// judge says when one member is due.
func (s survey) judge(row store.Member, m muster.Member) muster.Reapable {
	after, state := s.dead, muster.StateDead
	if row.State == muster.StateLeft {
		after, state = s.left, muster.StateLeft
	}
	age := max(0, s.now.Sub(row.SeenAt)).Round(time.Second)
	r := muster.Reapable{
		ID: row.ID, Name: row.Name, State: m.State, SeenAt: row.SeenAt, Due: row.SeenAt.Add(after), Never: after == 0,
		Reason: fmt.Sprintf("%s for %s", state, age),
	}
	if r.Never {
		r.Reason += fmt.Sprintf("; members that are %s are never reaped", state)
	} else {
		r.Reason += fmt.Sprintf("; the limit is %s", after)
	}
	return r
}

// sweeper is the live member with the lowest id: one is enough.
func (s survey) sweeper() (name string) {
	var lowest muster.NodeID
	for _, m := range s.seen {
		if !m.State.Gone() && (lowest == "" || m.ID < lowest) {
			lowest, name = m.ID, m.Name
		}
	}
	return name
}

// held says why nothing may be reaped now. A node that sees less than a majority
// healthy may be the one that is cut off.
func (s survey) held() string {
	healthy := 0
	for _, row := range s.rows {
		if m := s.seen[row.ID]; m.Healthy || m.State == muster.StateDraining {
			healthy++
		}
	}
	switch {
	case s.left == 0 && s.dead == 0:
		return "reaping is switched off"
	case len(s.rows) == 0:
		return "the durable member list is not known yet"
	case 2*healthy <= len(s.rows):
		return fmt.Sprintf("%d of %d members on the durable list are healthy as this node sees it, and that is no majority: it may be the one that is cut off", healthy, len(s.rows))
	}
	return ""
}

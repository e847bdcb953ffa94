package server

import (
	"cmp"
	"fmt"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

// isolatedUnready is how long a node must hear nobody before it is not ready any more:
// what lasts a few seconds mends itself before a balancer has reacted.
const isolatedUnready = 10 * time.Second

// isolated reports whether this node hears nobody in time: what it says of others is
// worth nothing.
func (n *node) isolated() bool {
	h, _ := n.gossip.Hearing()
	return h != gossip.HearingWell
}

// isolation says that this node hears nobody.
func (n *node) isolation() []muster.Problem {
	h, since := n.gossip.Hearing()
	info, _ := muster.CodeIsolated.Info()
	p := muster.Problem{Code: muster.CodeIsolated, Since: since, Fix: info.Fix}
	switch h {
	case gossip.HearingWell:
		return nil
	case gossip.HearingLate:
		p.Text = fmt.Sprintf("%s gets the answers to its probes too late: it blames nobody, and what it shows of the others may be stale", n.self.Name)
		p.Fix = "give the machine of this node more CPU time; if it is far away from the others, start all nodes with --profile wan"
	default:
		p.Text = fmt.Sprintf("%s is isolated: nobody answers it; it blames nobody, and what it shows of the others is stale", n.self.Name)
	}
	return []muster.Problem{p}
}

// hears is the condition of readiness that somebody answers this node.
func (n *node) hears() muster.Condition {
	h, since := n.gossip.Hearing()
	c := muster.Condition{Code: muster.CodeIsolated, OK: true, Since: n.begun, Text: "not isolated"}
	if h == gossip.HearingNone && time.Since(since) > isolatedUnready {
		c.OK, c.Since, c.Text = false, since, "nobody answers this node"
	}
	return c
}

// stale marks what a node that hears nobody shows of the others.
func (n *node) stale(members []muster.Member) {
	h, since := n.gossip.Hearing()
	if h != gossip.HearingNone {
		return
	}
	for i, m := range members {
		if !m.Self {
			members[i].Healthy = false
			members[i].Reason = "stale: this node hears nobody since " + since.UTC().Format(time.RFC3339) + "; before: " + cmp.Or(m.Reason, string(m.State))
		}
	}
}

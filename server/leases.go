package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// Where members tell each other of leases.
const (
	leaseNewsPath = "/peer/v1/leases/news" // one was released, or has a new holder
	leaseDownPath = "/peer/v1/leases/down" // give one up
)

// leaseNotice is what they say.
type leaseNotice struct {
	Name  string       `json:"name"`
	Order muster.Order `json:"order"`
}

// tellLease tells all live members that this node has released a lease, or taken it.
func (n *node) tellLease(name string) {
	for _, id := range n.live() {
		n.group.run("lease", func(ctx context.Context) error {
			if err := n.tell(ctx, id, leaseNewsPath, leaseNotice{Name: name}); err != nil {
				n.log.DebugContext(ctx, "member not told of a lease; it finds out by itself", "member", id, "lease", name, "error", err)
			}
			return nil
		})
	}
}

// serveLeaseNews lets this node try at once, and look if it does not contend now.
func (n *node) serveLeaseNews(w http.ResponseWriter, r *http.Request) {
	notice, ok := readNotice(w, r)
	if !ok {
		return
	}
	n.leader.keeper.Nudge(notice.Name)
	n.group.run("look", func(ctx context.Context) error {
		n.leader.look(ctx)
		return nil
	})
	w.WriteHeader(http.StatusNoContent)
}

// serveLeaseDown gives a lease up by order of another member.
func (n *node) serveLeaseDown(w http.ResponseWriter, r *http.Request) {
	notice, ok := readNotice(w, r)
	if !ok {
		return
	}
	o := muster.Order{By: muster.Printable(notice.Order.By), Reason: muster.Printable(notice.Order.Reason)}
	if err := n.stepDown(r.Context(), notice.Name, o); err != nil {
		peer.WriteProblem(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func readNotice(w http.ResponseWriter, r *http.Request) (notice leaseNotice, ok bool) {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFacts)).Decode(&notice)
	if err == nil {
		err = muster.CheckName(notice.Name)
	}
	if err != nil {
		peer.WriteProblem(w, muster.Errorf(muster.CodeBadRequest, "the notice of a lease cannot be read: %w", err))
	}
	return notice, err == nil
}

// stepDown gives up a lease of this node.
func (n *node) stepDown(ctx context.Context, name string, o muster.Order) error {
	n.log.InfoContext(ctx, "asked to give up a lease", "lease", name, "by", o.By, "reason", o.Reason)
	if err := n.leader.keeper.StepDown(ctx, name); err != nil {
		return muster.Errorf(muster.CodeTimeout, "%s: %w", n.self.Name, err)
	}
	return nil
}

// Leases lists what is on record. See mgmt.Leases.
func (n *node) Leases(ctx context.Context) ([]muster.LeaseInfo, error) {
	c := n.core.Load()
	if c == nil {
		return nil, n.notFormed()
	}
	held, err := c.store.Leases(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]muster.LeaseInfo, 0, len(held))
	for _, l := range held {
		list = append(list, n.leaseInfo(l))
	}
	return list, nil
}

func (n *node) leaseInfo(l store.Lease) muster.LeaseInfo {
	info := muster.LeaseInfo{Name: l.Name, Term: l.Term, Since: l.Since, ExpiresIn: l.Left.Round(time.Millisecond).Seconds()}
	if l.Left > 0 {
		info.HolderID, info.Holder = l.Holder, n.memberName(l.Holder)
	}
	return info
}

// ReleaseLease lets the holder give a lease up. See mgmt.Leases.
func (n *node) ReleaseLease(ctx context.Context, name string, o muster.Order) error {
	list, err := n.Leases(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(l muster.LeaseInfo) bool { return l.Name == name })
	if i < 0 {
		return muster.Errorf(muster.CodeNotFound, "no lease has the name %s", name)
	}
	switch l := list[i]; l.HolderID {
	case "":
		return nil
	case n.self.ID:
		return n.stepDown(ctx, name, o)
	default:
		return n.passDown(ctx, l, o)
	}
}

// passDown sends the order to the holder.
func (n *node) passDown(ctx context.Context, l muster.LeaseInfo, o muster.Order) error {
	err := n.tell(ctx, l.HolderID, leaseDownPath, leaseNotice{Name: l.Name, Order: o})
	if err == nil || muster.CodeOf(err) != muster.CodeInternal {
		return err
	}
	return muster.Errorf(muster.CodePeerUnreachable, "%s holds the lease %s and cannot be told from %s: %w", l.Holder, l.Name, n.self.Name, err).
		WithFix("if it is gone, the lease ends by itself within %s; otherwise ask %s itself", max(0, time.Duration(l.ExpiresIn*float64(time.Second))), l.Holder)
}

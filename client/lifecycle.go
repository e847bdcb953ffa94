package client

import (
	"context"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// Filter narrows a list of members; an empty field picks all.
type Filter struct {
	Region, Zone, Role string
	Tags               []string // key or key=value; all must fit
	States             []string // one must fit
}

// All reports whether the filter picks every member.
func (f Filter) All() bool {
	return f.Region+f.Zone+f.Role == "" && len(f.Tags)+len(f.States) == 0
}

// MembersWhere returns the members that a filter picks, ordered by name.
func (c *Client) MembersWhere(ctx context.Context, f Filter) ([]muster.Member, error) {
	var list api.MemberList
	resp, err := c.api.ListMembers(ctx, &api.ListMembersParams{
		Region: text(f.Region), Zone: text(f.Zone), Role: text(f.Role), Tag: f.Tags, State: f.States,
	})
	_, err = c.take(resp, err, &list)
	return list.Members, err
}

// Order is what to tell a member.
type Order struct {
	Reason string        // why
	Wait   time.Duration // for the node to see that it is done; 0: not at all
}

// Drain lets a member take no new work, Resume lets it take work again. Both return
// the member as the node sees it then.
func (c *Client) Drain(ctx context.Context, idOrName string, o Order) (m muster.Member, err error) {
	if err := checkNames(idOrName); err != nil {
		return m, err
	}
	resp, err := c.api.DrainMember(ctx, idOrName, &api.DrainMemberParams{Reason: text(o.Reason), Wait: duration(o.Wait)})
	_, err = c.take(resp, err, &m)
	return m, err
}

// Resume is the opposite of Drain.
func (c *Client) Resume(ctx context.Context, idOrName string, o Order) (m muster.Member, err error) {
	if err := checkNames(idOrName); err != nil {
		return m, err
	}
	resp, err := c.api.ResumeMember(ctx, idOrName, &api.ResumeMemberParams{Reason: text(o.Reason), Wait: duration(o.Wait)})
	_, err = c.take(resp, err, &m)
	return m, err
}

// Remove takes a member that is dead or has left off the durable list.
func (c *Client) Remove(ctx context.Context, idOrName, reason string) error {
	if err := checkNames(idOrName); err != nil {
		return err
	}
	resp, err := c.api.RemoveMember(ctx, idOrName, &api.RemoveMemberParams{Reason: text(reason)})
	_, err = c.take(resp, err, nil)
	return err
}

// Reapable says which members the next sweep would take off the durable list.
func (c *Client) Reapable(ctx context.Context) (plan muster.ReapPlan, err error) {
	resp, err := c.api.ListReapable(ctx)
	_, err = c.take(resp, err, &plan)
	return plan, err
}

// Cluster describes the cluster of the node.
func (c *Client) Cluster(ctx context.Context) (info muster.ClusterInfo, err error) {
	resp, err := c.api.GetCluster(ctx)
	_, err = c.take(resp, err, &info)
	return info, err
}

// Form forms a cluster on the node alone. It needs the role admin.
func (c *Client) Form(ctx context.Context) (info muster.ClusterInfo, err error) {
	resp, err := c.api.FormCluster(ctx)
	_, err = c.take(resp, err, &info)
	return info, err
}

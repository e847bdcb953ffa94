package client

import (
	"context"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// ExpelOrder says why a node is expelled. Force expels the node that answers, too,
// and one without which at most half of the rest is healthy.
type ExpelOrder struct {
	Reason string
	Force  bool
}

// Expel takes a node out of the cluster for good, by id or name. It needs the role
// admin.
func (c *Client) Expel(ctx context.Context, idOrName string, o ExpelOrder) (e muster.Expulsion, err error) {
	if err := checkNames(idOrName); err != nil {
		return e, err
	}
	resp, err := c.api.ExpelMember(ctx, idOrName, api.ExpelOrder{Reason: o.Reason, Force: &o.Force})
	_, err = c.take(resp, err, &e)
	return e, err
}

// Readmit lets an expelled node come back, and returns the revision of that change.
// It needs the role admin.
func (c *Client) Readmit(ctx context.Context, idOrName, reason string) (int64, error) {
	if err := checkNames(idOrName); err != nil {
		return 0, err
	}
	resp, err := c.api.ReadmitMember(ctx, idOrName, &api.ReadmitMemberParams{Reason: text(reason)})
	header, err := c.take(resp, err, nil)
	if err != nil {
		return 0, err
	}
	return revisionOf(header), nil
}

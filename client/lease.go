package client

import (
	"context"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// Leases says who holds which lease, ordered by name.
func (c *Client) Leases(ctx context.Context) ([]muster.LeaseInfo, error) {
	var list api.LeaseList
	resp, err := c.api.ListLeases(ctx)
	_, err = c.take(resp, err, &list)
	return list.Leases, err
}

// ReleaseLease lets the holder of a lease step down, so that another one takes it. It
// needs the role operator.
func (c *Client) ReleaseLease(ctx context.Context, name, reason string) error {
	if err := checkNames(name); err != nil {
		return err
	}
	resp, err := c.api.ReleaseLease(ctx, name, &api.ReleaseLeaseParams{Reason: text(reason)})
	_, err = c.take(resp, err, nil)
	return err
}

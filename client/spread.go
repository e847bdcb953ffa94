package client

import (
	"context"

	"github.com/musterhq/muster"
)

// Trace returns how a revision came to each member.
func (c *Client) Trace(ctx context.Context, rev int64) (t muster.Trace, err error) {
	resp, err := c.api.TraceRevision(ctx, rev)
	_, err = c.take(resp, err, &t)
	return t, err
}

// Drift returns what each member serves.
func (c *Client) Drift(ctx context.Context) (d muster.Drift, err error) {
	resp, err := c.api.GetDrift(ctx)
	_, err = c.take(resp, err, &d)
	return d, err
}

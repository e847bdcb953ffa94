package mgmt

import (
	"context"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
)

// Leases is what operators ask about the leases of the cluster.
type Leases interface {
	// Leases lists all leases on record, ordered by name.
	Leases(ctx context.Context) ([]muster.LeaseInfo, error)
	// ReleaseLease lets the holder give a lease up. It returns when the lease is
	// free; a free one is left as it is.
	ReleaseLease(ctx context.Context, name string, o muster.Order) error
}

// ListLeases says who holds which lease.
func (h *handlers) ListLeases(ctx context.Context, _ server.ListLeasesRequestObject) (server.ListLeasesResponseObject, error) {
	list, err := h.cfg.Node.Leases(ctx)
	return server.ListLeases200JSONResponse(api.LeaseList{Leases: orEmpty(list)}), err
}

// ReleaseLease lets the holder of a lease step down.
func (h *handlers) ReleaseLease(ctx context.Context, q server.ReleaseLeaseRequestObject) (server.ReleaseLeaseResponseObject, error) {
	o, err := order(ctx, q.Params.Reason)
	if err != nil {
		return nil, err
	}
	if err := checkName("name", q.Name); err != nil {
		return nil, err
	}
	scopeOf(ctx).note("lease", q.Name, "reason", o.Reason)
	if err := h.cfg.Node.ReleaseLease(ctx, q.Name, o); err != nil {
		return nil, err
	}
	return server.ReleaseLease204Response{}, nil
}

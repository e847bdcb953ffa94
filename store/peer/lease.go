package peer

import (
	"context"
	"net/http"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// maxLeases bounds the answer that lists leases, in bytes.
const maxLeases = 1 << 20

// Acquire asks for a lease. The target takes it for this node only, whose name it
// knows from the connection. Asking twice does no harm.
func (s *Store) Acquire(ctx context.Context, c store.Claim) (store.Lease, error) {
	return claim(ctx, s, "acquire", c)
}

// Renew prolongs a lease of this node. Asking twice does no harm.
func (s *Store) Renew(ctx context.Context, c store.Claim) (store.Lease, error) {
	return claim(ctx, s, "renew", c)
}

// Release frees a lease of this node.
func (s *Store) Release(ctx context.Context, c store.Claim) error {
	_, err := claim(ctx, s, "release", c)
	return err
}

func claim(ctx context.Context, s *Store, verb string, c store.Claim) (store.Lease, error) {
	if err := c.Check(); err != nil {
		return store.Lease{}, err
	}
	body, err := marshal(c)
	if err != nil {
		return store.Lease{}, muster.Errorf(muster.CodeInternal, "encode a claim to lease %s: %w", c.Name, err)
	}
	req := request{method: http.MethodPost, path: "leases/" + verb, body: body, limit: smallBody}
	return ask(ctx, s, req, decodeJSON[store.Lease])
}

// Leases returns the leases in the target's store.
func (s *Store) Leases(ctx context.Context) ([]store.Lease, error) {
	return ask(ctx, s, request{path: "leases", limit: maxLeases}, decodeJSON[[]store.Lease])
}

func (h handler) leases(w http.ResponseWriter, r *http.Request) error {
	list, err := h.backend.Leases(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, list)
	}
	return err
}

// claim serves a method that takes a claim and answers with the lease.
func (h handler) claim(method func(context.Context, store.Claim) (store.Lease, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var c store.Claim
		if err := readBody(w, r, smallBody, &c); err != nil {
			return err
		}
		if err := c.Check(); err != nil {
			return err
		}
		held, err := method(r.Context(), c)
		if err == nil {
			writeJSON(w, http.StatusOK, held)
		}
		return err
	}
}

func (h handler) release(w http.ResponseWriter, r *http.Request) error {
	return h.claim(func(ctx context.Context, c store.Claim) (store.Lease, error) {
		return store.Lease{Name: c.Name}, h.backend.Release(ctx, c)
	})(w, r)
}

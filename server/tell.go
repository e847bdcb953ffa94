package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store/peer"
)

const tellTimeout = 4 * time.Second

// tell posts a message to a member. The member's own refusal comes back as it is.
func (n *node) tell(ctx context.Context, id muster.NodeID, path string, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := n.transport(id).RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= http.StatusBadRequest {
		return peer.ReadProblem(res.StatusCode, res.Body)
	}
	return nil
}

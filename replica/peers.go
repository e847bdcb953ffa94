package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// Paths of the calls between replicas.
const (
	hintPath     = "/peer/v1/hint"
	changesPath  = "/peer/v1/changes"
	snapshotPath = "/peer/v1/snapshot"
	headPath     = "/peer/v1/head"
	tracePath    = "/peer/v1/trace"
)

// Bounds of the calls to a peer.
const (
	askTimeout      = time.Second
	changesTimeout  = 10 * time.Second
	snapshotTimeout = 30 * time.Second
	maxAnswer       = 1 << 30
	maxHeadAnswer   = 16 << 10
)

// rpc is one request to a peer. A body makes it a POST.
type rpc struct {
	to   muster.NodeID
	path string
	body []byte
}

func (c rpc) request(ctx context.Context) (*http.Request, error) {
	if c.body == nil {
		return http.NewRequestWithContext(ctx, http.MethodGet, "http://peer"+c.path, nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer"+c.path, bytes.NewReader(c.body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

// call sends one request and hands a good answer's body to read.
func (r *Replica) call(ctx context.Context, c rpc, read func(io.Reader) error) error {
	transport := r.cfg.Peers.Transport(c.to)
	if transport == nil {
		return muster.Errorf(muster.CodePeerUnreachable, "no way to %s is known", c.to)
	}
	req, err := c.request(ctx)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.to.Short(), err)
	}
	resp, err := r.Tripper(c.to, transport).RoundTrip(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.to.Short(), err)
	}
	defer func() { _ = resp.Body.Close() }() // only an error of Read tells anything
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("call %s: %w", c.to.Short(), peer.ReadProblem(resp.StatusCode, resp.Body))
	}
	if err := read(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return fmt.Errorf("answer of %s: %w", c.to.Short(), err)
	}
	return nil
}

func (r *Replica) postHint(ctx context.Context, to muster.NodeID, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	return r.call(ctx, rpc{to, hintPath, body}, func(io.Reader) error { return nil })
}

// fetchChanges asks a peer for changes from its memory, and where it stands.
func (r *Replica) fetchChanges(ctx context.Context, from muster.NodeID, after int64) ([]muster.Change, muster.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, changesTimeout)
	defer cancel()
	var changes []muster.Change
	var head muster.Position
	err := r.call(ctx, rpc{to: from, path: changesPath + "?after=" + strconv.FormatInt(after, 10)}, func(body io.Reader) (err error) {
		changes, head, err = peer.ReadChanges(body)
		return err
	})
	return changes, head, err
}

// fetchSnapshot asks a peer for all that it serves.
func (r *Replica) fetchSnapshot(ctx context.Context, from muster.NodeID) (*store.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	var snap *store.Snapshot
	err := r.call(ctx, rpc{to: from, path: snapshotPath}, func(body io.Reader) (err error) {
		snap, err = peer.ReadSnapshot(body)
		return err
	})
	return snap, err
}

// Head is what a node says about its copy.
type Head struct {
	Node      muster.NodeID   `json:"node_id"`
	Position  muster.Position `json:"position"`
	Digest    muster.Hash     `json:"state_digest"`
	Documents int             `json:"documents"`
	Source    string          `json:"source"`
	Store     State           `json:"store_state"`
	Since     time.Time       `json:"since"`

	// Chain is the one that the revision had which was asked for; zero: the node does
	// not serve it, or has forgotten.
	Chain muster.Hash `json:"chain,omitzero"`
	// Passed is how long the node has been serving more than that revision; zero: it
	// does not, or has forgotten.
	Passed time.Duration `json:"passed_ns,omitempty"`
}

// unasked is the revision of a question that is about none.
const unasked = -1

// askPeer asks a peer where it stands; the digests of both sides travel along. A
// wait lets the peer answer once it serves rev, or after that time.
func (r *Replica) askPeer(ctx context.Context, id muster.NodeID, rev int64, wait time.Duration) (Head, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+wait)
	defer cancel()
	path := headPath
	if rev != unasked {
		path += fmt.Sprintf("?rev=%d&wait=%s", rev, wait)
	}
	var head Head
	err := r.call(ctx, rpc{to: id, path: path}, func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, maxHeadAnswer)).Decode(&head)
	})
	return head, err
}

// askDigest exchanges digests with a peer.
func (r *Replica) askDigest(ctx context.Context, id muster.NodeID) error {
	_, err := r.askPeer(ctx, id, unasked, 0)
	return err
}

package join

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Paths of the calls between nodes. They are served inside sealed connections
// only, never on the public port.
const (
	PathJoin       = "/peer/v1/join"
	PathCandidates = "/peer/v1/formation/candidates"
	PathPromise    = "/peer/v1/formation/promise"
	PathCommit     = "/peer/v1/formation/commit"
)

// maxBody bounds every message of this package, in bytes.
const maxBody = 1 << 20

// request is the body of PathJoin. Who asks is known from the connection.
type request struct {
	Endpoint    string `json:"endpoint"`
	ClusterName string `json:"cluster_name,omitempty"`
	Zone        string `json:"zone,omitempty"`
	Version     string `json:"version,omitempty"`
}

// reply is the answer to PathJoin and the body of PathCommit.
type reply struct {
	ClusterID   muster.ClusterID `json:"cluster_id"`
	ClusterName string           `json:"cluster_name"`
	Epoch       int64            `json:"epoch"`
	Store       store.Kind       `json:"store"`
	Home        muster.NodeID    `json:"home"`
	Members     []store.Member   `json:"members"`
	Round       uint64           `json:"round,omitempty"` // of the promise that a commit redeems
}

func (r reply) cluster() Cluster {
	return Cluster{ID: r.ClusterID, Name: r.ClusterName, Store: StoreInfo{Kind: r.Store, Home: r.Home, Epoch: r.Epoch}}
}

func replyOf(c Cluster, members []store.Member) reply {
	return reply{
		ClusterID: c.ID, ClusterName: c.Name, Epoch: c.Store.Epoch,
		Store: c.Store.Kind, Home: c.Store.Home, Members: members,
	}
}

// Candidate is a node that may take part in forming.
type Candidate struct {
	ID       muster.NodeID `json:"id"`
	Endpoint string        `json:"endpoint"`
	Age      time.Duration `json:"age"` // since anybody was in contact with it
}

// view is what a node that belongs to no cluster tells another one: body and
// answer of PathCandidates, body of PathPromise.
type view struct {
	Expect     int           `json:"expect"`
	Round      uint64        `json:"round"`
	Bound      muster.NodeID `json:"bound"` // whom it has promised to wait for
	Candidates []Candidate   `json:"candidates"`
}

// grantedView answers PathPromise: whose the promise is now.
type grantedView struct {
	view
	To      muster.NodeID `json:"to"`
	ToRound uint64        `json:"to_round"`
}

// refusal is the body of every answer but 200.
type refusal struct {
	Code       muster.Code `json:"code"`
	Text       string      `json:"text"`
	Fix        string      `json:"fix"`
	Candidates []Candidate `json:"candidates,omitempty"`
}

// exchange is one call: what is sent where, and where the answer goes.
type exchange struct {
	path         string
	body, answer any
}

// call sends one message over a meeting and decodes the answer. A refusal comes
// back as a *muster.Error with the words of the other side, and with the
// candidates that it names.
func call(ctx context.Context, m Meeting, e exchange) ([]Candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	data, err := json.Marshal(e.body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer"+e.path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := m.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", e.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", e.path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return nil, json.Unmarshal(data, e.answer)
	}
	var r refusal
	if err := json.Unmarshal(data, &r); err != nil || r.Code == "" {
		return nil, fmt.Errorf("call %s: status %d without a reason", e.path, resp.StatusCode)
	}
	return r.Candidates, &muster.Error{Code: r.Code, Text: muster.Printable(r.Text), Fix: muster.Printable(r.Fix)}
}

// receive decodes the body of a request from a peer, or answers it.
func receive(w http.ResponseWriter, r *http.Request, into any) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		refuse(w, muster.Errorf(muster.CodeBadRequest, "read the message: %w", err), nil)
	}
	return err == nil
}

// refuse answers with a reason.
func refuse(w http.ResponseWriter, e *muster.Error, candidates []Candidate) {
	status := http.StatusConflict
	if info, ok := e.Code.Info(); ok && info.Status != 0 {
		status = info.Status
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refusal{Code: e.Code, Text: e.Text, Fix: e.Advice(), Candidates: candidates}) // the caller has gone if this fails
}

func respond(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the caller has gone if this fails
}

// asError makes a *muster.Error of any error of a call or a dial.
func asError(err error, class string) *muster.Error {
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return e
	}
	if class == "" {
		return muster.Errorf(muster.CodePeerUnreachable, "%w", err)
	}
	return muster.Errorf(muster.CodePeerUnreachable, "%s: %w", class, err)
}

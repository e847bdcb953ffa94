package client

import (
	"context"
	"net/http"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// Version returns the build of the node.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	resp, err := c.api.GetVersion(ctx)
	_, err = c.take(resp, err, &v)
	return v, err
}

// Ready returns whether the node wants traffic, and why not, after at most wait.
func (c *Client) Ready(ctx context.Context, wait time.Duration) (api.Readiness, error) {
	var r api.Readiness
	resp, err := c.api.GetReady(ctx, &api.GetReadyParams{Wait: duration(wait)})
	_, err = c.take(resp, err, &r)
	return r, err
}

// Status returns how the cluster looks from the node. Without a token some fields
// are empty.
func (c *Client) Status(ctx context.Context) (muster.Status, error) {
	s, _, err := c.StatusWhen(ctx, When{})
	return s, err
}

// When is a condition for a status.
type When struct {
	Expected int           // so many members are healthy; 0: any number
	Rev      int64         // every live member serves this revision; 0: any
	Wait     time.Duration // how long to wait for it
}

// StatusWhen returns the status when a condition is true, or the last one, and
// false, when it has not become true in time.
func (c *Client) StatusWhen(ctx context.Context, w When) (s muster.Status, ok bool, err error) {
	q := &api.GetClusterStatusParams{Wait: duration(w.Wait)}
	if w.Expected > 0 {
		q.Expected = &w.Expected
	}
	if w.Rev > 0 {
		q.WaitRev = &w.Rev
	}
	resp, err := c.api.GetClusterStatus(ctx, q)
	ok = err == nil && resp.StatusCode == http.StatusOK
	_, err = c.take(resp, err, &s)
	return s, ok, err
}

// Members returns the members as the node sees them, ordered by name.
func (c *Client) Members(ctx context.Context) ([]muster.Member, error) {
	var list api.MemberList
	resp, err := c.api.ListMembers(ctx, nil)
	_, err = c.take(resp, err, &list)
	return list.Members, err
}

// Keys returns which cookies the members accept, ordered by name. It needs the role
// admin.
func (c *Client) Keys(ctx context.Context) ([]muster.NodeKeys, error) {
	var list api.KeyList
	resp, err := c.api.ListKeys(ctx)
	_, err = c.take(resp, err, &list)
	return list.Nodes, err
}

// Matrix returns who sees whom, as the node has heard it.
func (c *Client) Matrix(ctx context.Context) (muster.Matrix, error) {
	var x muster.Matrix
	resp, err := c.api.GetMatrix(ctx)
	_, err = c.take(resp, err, &x)
	return x, err
}

// Member returns one member by its id, an unambiguous start of it, or its name.
func (c *Client) Member(ctx context.Context, idOrName string) (muster.Member, error) {
	var m muster.Member
	if err := checkNames(idOrName); err != nil {
		return m, err
	}
	resp, err := c.api.GetMember(ctx, idOrName)
	_, err = c.take(resp, err, &m)
	return m, err
}

// Leave takes the node out of the cluster for good, and stops it.
func (c *Client) Leave(ctx context.Context) error {
	resp, err := c.api.Leave(ctx)
	_, err = c.take(resp, err, nil)
	return err
}

// LoginCode makes a one-use code that opens the dashboard as the holder of the
// token.
func (c *Client) LoginCode(ctx context.Context) (api.LoginCode, error) {
	var code api.LoginCode
	resp, err := c.api.CreateLogin(ctx)
	_, err = c.take(resp, err, &code)
	return code, err
}

// Caller returns whom the node takes us for.
func (c *Client) Caller(ctx context.Context) (api.Caller, error) {
	var who api.Caller
	resp, err := c.api.GetSession(ctx)
	_, err = c.take(resp, err, &who)
	return who, err
}

// checkNames refuses what would not survive as a part of a path.
func checkNames(names ...string) error {
	for _, name := range names {
		if err := muster.CheckName(name); err != nil {
			return muster.Errorf(muster.CodeBadRequest, "%w", err)
		}
	}
	return nil
}

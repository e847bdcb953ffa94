package mgmt

import (
	"context"
	"net/http"
	"sync"
)

// calls knows the requests under way that came with a credential, so that they end
// when it does.
type calls struct {
	mu   sync.Mutex
	open map[*call]struct{}
}

type call struct {
	who    caller
	cancel context.CancelFunc
}

func newCalls() *calls { return &calls{open: map[*call]struct{}{}} }

// enter makes the context of a request end when its credential does. leave must be
// called at the end of the request.
func (c *calls) enter(r *http.Request, who caller) (_ *http.Request, leave func()) {
	if !who.known() {
		return r, func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	entry := &call{who: who, cancel: cancel}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[entry] = struct{}{}
	return r.WithContext(ctx), func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, entry)
	}
}

func (c *calls) all() (list []*call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for entry := range c.open {
		list = append(list, entry)
	}
	return list
}

// Recheck ends the requests under way whose credential is not good any more. Call
// it when the accepted cookies or the revoked tokens have changed.
func (a *API) Recheck() {
	for _, entry := range a.calls.all() {
		if _, err := a.verify(entry.who.token); err != nil {
			entry.cancel()
		}
	}
}

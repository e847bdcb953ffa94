package server

import (
	"context"
	"fmt"
	"sync"
)

// group runs the parts of a node: the first part that fails stops all the
// others, and wait returns when every one has ended.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// run starts a part. A part that returns an error before the group ends stops
// the group; one that returns nil just ends.
func (g *group) run(name string, part func(context.Context) error) {
	g.wg.Go(func() {
		if err := part(g.ctx); err != nil && g.ctx.Err() == nil {
			g.cancel(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// wait blocks until every part has ended and returns what stopped the group, or
// nil if it was the parent context.
func (g *group) wait(parent context.Context) error {
	<-g.ctx.Done()
	g.wg.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(g.ctx)
}

package server

import (
	"context"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/join"
)

// buildFinder makes the loop that asks the discovery methods, if there are any.
func (n *node) buildFinder() (err error) {
	if len(n.cfg.Discovery) == 0 {
		return nil
	}
	n.finder, err = discovery.New(discovery.Config{
		Sources: n.cfg.Discovery, Log: n.log,
		Changed: func() {
			n.seeker.Wake()
			n.changed.fire()
		},
	})
	return err
}

// discover runs the loop, if there is one.
func (n *node) discover(ctx context.Context) error {
	if n.finder == nil {
		return nil
	}
	return n.finder.Run(ctx)
}

func (n *node) discovered() (found []join.Found) {
	for _, c := range n.finder.Candidates() {
		found = append(found, join.Found{Endpoint: c.Endpoint, ID: c.ID, Source: c.Source})
	}
	return found
}

func (n *node) discoveryStatus() []muster.DiscoveryStatus {
	if n.finder == nil {
		return []muster.DiscoveryStatus{}
	}
	return n.finder.Status()
}

package join

import (
	"context"
	"sync"

	"github.com/musterhq/muster"
)

// Form forms a cluster at once, by order of an operator, also against a promise
// that this node has given. It is refused if the node belongs to a cluster or
// if any endpoint that it knows of belongs to one.
func (s *Seeker) Form(ctx context.Context) error {
	if c := s.cfg.State.Cluster(); c.ID != "" {
		return muster.Errorf(muster.CodeAlreadyFormed, "%s belongs to cluster %s already", describe(s.self.ID, s.self.Name), clusterName(c))
	}
	if s.cfg.Role != muster.RoleVoter || s.cfg.Endpoint == "" {
		return muster.Errorf(muster.CodeBadRequest, "%s is an observer or cannot be called by others; such nodes only join", describe(s.self.ID, s.self.Name))
	}
	if err := s.anyFormed(ctx); err != nil {
		return err
	}
	if s.cfg.Registry != nil {
		return s.insertByForce(ctx)
	}
	cluster := s.newCluster()
	if err := s.cfg.State.mintByForce(cluster); err != nil {
		return muster.Errorf(muster.CodeAlreadyFormed, "form a cluster: %w", err)
	}
	s.log.Warn("forming a cluster by order of an operator", "cluster_id", cluster.ID)
	return s.formed(cluster, nil)
}

// anyFormed calls every known endpoint and returns an error if a cluster is there.
func (s *Seeker) anyFormed(ctx context.Context) error {
	s.collect()
	s.mu.Lock()
	var endpoints []string
	for endpoint := range s.targets {
		endpoints = append(endpoints, endpoint)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	slots := make(chan struct{}, parallel)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		found error
	)
	for _, endpoint := range endpoints {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := s.formedAt(ctx, endpoint); err != nil {
				mu.Lock()
				defer mu.Unlock()
				found = err
			}
		})
	}
	wg.Wait()
	return found
}

// formedAt returns an error if the node at an endpoint belongs to a cluster.
func (s *Seeker) formedAt(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	m, err := s.cfg.Meet(ctx, endpoint, "")
	if err != nil {
		return nil // whoever is there is no member that this node could join
	}
	defer m.Close()
	peer := m.Peer()
	if peer.Cluster == "" {
		return nil
	}
	return muster.Errorf(muster.CodeAlreadyFormed, "%s at %s belongs to cluster %s", describe(peer.ID, peer.Name), endpoint, peer.Cluster).
		WithFix("let this node join it: --cluster-join-endpoint %s", endpoint)
}

// insertByForce inserts the row without waiting for other nodes.
func (s *Seeker) insertByForce(ctx context.Context) error {
	minted := muster.NewClusterID()
	there, err := s.cfg.Registry.Form(ctx, minted)
	if err != nil {
		return unavailable(err)
	}
	return s.takeRow(ctx, there, there.ID == minted)
}

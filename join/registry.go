package join

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

const (
	registryPause = time.Second      // between looks while there is no cluster
	registryWatch = 10 * time.Second // between looks afterwards
	rowFresh      = 30 * time.Second // how long a member row counts
)

// watchRegistry forms or adopts the cluster of a shared database, and keeps an
// eye on whether it is still the same one.
func (s *Seeker) watchRegistry(ctx context.Context) {
	fails := 0
	for {
		err := s.consult(ctx)
		delay := registryWatch
		switch {
		case err != nil:
			fails++
			delay = max(registryPause, backoff(fails, lastDelay))
			e := asError(err, "")
			s.fault("registry", e.Code, e.Text, e.Fix)
		case s.cfg.State.Cluster().ID == "":
			delay = registryPause
		}
		if err == nil {
			fails = 0
			s.clearFault("registry")
		}
		if !sleep(ctx, spread(delay)) {
			return
		}
	}
}

// consult compares what the database says with what this node knows.
func (s *Seeker) consult(ctx context.Context) error {
	there, err := s.cfg.Registry.Cluster(ctx)
	own := s.cfg.State.Cluster()
	empty := errors.Is(err, store.ErrNoCluster)
	switch {
	case err != nil && !empty:
		return unavailable(err)
	case own.ID == "" && !empty:
		return s.takeRow(ctx, there, false)
	case own.ID == "":
		return s.insertRow(ctx)
	case empty:
		// Never insert: an empty database is a restored or a wrong one, and a row
		// in it would split the cluster.
		return muster.Errorf(muster.CodeDiverged, "this node belongs to cluster %s, and the config store holds none", clusterName(own)).
			WithFix("check the DSN; if the database was lost, restore it or see: muster store adopt")
	case there.ID != own.ID:
		return muster.Errorf(muster.CodeStoreMismatch, "this node belongs to cluster %s, and the config store holds cluster %s", clusterName(own), there.ID)
	}
	return nil
}

// unavailable gives an error of the store a code if it has none.
func unavailable(err error) error {
	if _, ok := errors.AsType[*muster.Error](err); ok {
		return err
	}
	return muster.Errorf(muster.CodeStoreUnavailable, "ask the config store for the cluster: %w", err)
}

// insertRow inserts the one row that makes the cluster, once it is time to.
func (s *Seeker) insertRow(ctx context.Context) error {
	if s.source != SourceStore {
		return nil
	}
	if err := s.cfg.Registry.PutMember(ctx, s.row()); err != nil {
		return unavailable(err)
	}
	enough, err := s.enoughRows(ctx)
	if err != nil || !enough {
		return err
	}
	minted := muster.NewClusterID()
	there, err := s.cfg.Registry.Form(ctx, minted)
	if err != nil {
		return unavailable(err)
	}
	return s.takeRow(ctx, there, there.ID == minted)
}

// enoughRows reports whether as many nodes as are expected have shown up.
func (s *Seeker) enoughRows(ctx context.Context) (bool, error) {
	if s.cfg.Expect <= 1 {
		return true, nil
	}
	rows, err := s.cfg.Registry.Members(ctx)
	if err != nil {
		return false, unavailable(err)
	}
	fresh := freshVoters(rows)
	s.mu.Lock()
	s.fresh = fresh
	s.mu.Unlock()
	if fresh < s.cfg.Expect {
		return false, nil
	}
	s.log.Info(fmt.Sprintf("reached expected bootstrap count of %d, starting cluster bootstrap", s.cfg.Expect))
	return true, nil
}

// freshVoters counts the rows of nodes that count, by the clock of the store.
func freshVoters(rows []store.Member) int {
	var now time.Time
	for _, m := range rows {
		if m.SeenAt.After(now) {
			now = m.SeenAt
		}
	}
	n := 0
	for _, m := range rows {
		if m.Role == muster.RoleVoter && reachable(m.Endpoint) && m.Fresh(now, rowFresh) {
			n++
		}
	}
	return n
}

// takeRow makes the cluster of the database this node's own.
func (s *Seeker) takeRow(ctx context.Context, there store.Cluster, minted bool) error {
	rows, err := s.cfg.Registry.Members(ctx)
	if err != nil {
		return unavailable(err) // somebody may hold this node's name
	}
	if err := s.nameHeld(ctx, rows); err != nil {
		return err
	}
	cluster := Cluster{ID: there.ID, Name: s.cfg.ClusterName, Store: StoreInfo{Kind: s.cfg.Store, Epoch: there.Epoch}}
	members := s.sound(rows)
	if err := s.cfg.State.adopt(cluster, members); err != nil {
		return err
	}
	s.log.Info("taking the cluster of the config store", "cluster_id", cluster.ID, "minted_here", minted)
	s.announce(Answer{Cluster: cluster, Members: members, Formed: minted})
	s.Wake()
	return nil
}

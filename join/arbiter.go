package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster"
)

const (
	arbiterPause = time.Second      // between calls while there is no cluster
	arbiterWatch = 10 * time.Second // between calls of a member
)

// Arbiter is a service, such as Consul or etcd, that lets one node at a time form
// the cluster of a name. It holds one record under [ArbiterKey]. The record is
// permanent; the right to write it belongs to one process at a time and ends soon
// after that process does. Members keep asking for the right too, so that a new
// node gets it only when no member is there.
type Arbiter interface {
	// Name is the method. Nodes tell each other in their HELLO.
	Name() string
	// Acquire asks for the right, or renews it, and returns what is on record.
	Acquire(ctx context.Context) (Right, error)
	// Record writes the record if it is still what the last Acquire returned and
	// the right is still held, in one step. It returns what is on record then.
	Record(ctx context.Context, m Minted) (Minted, error)
}

// Minted is the record of an Arbiter. The zero value means none.
type Minted struct {
	Cluster muster.ClusterID `json:"cluster_id"`
	KID     string           `json:"kid"`   // of a cookie of the cluster
	Epoch   int64            `json:"epoch"` // of the config home: grows if a new node has to begin anew
}

// Right is the answer of an Arbiter.
type Right struct {
	Held   bool // by this process
	Minted Minted
}

// ArbiterKey is the key of the record for a cluster name.
func ArbiterKey(clusterName string) string { return "muster/" + clusterName + "/cluster" }

// watchArbiter forms the cluster once the right to do so is this node's, and as a
// member keeps the right from others.
func (s *Seeker) watchArbiter(ctx context.Context) {
	fails := 0
	for {
		err := s.appeal(ctx)
		delay := arbiterWatch
		switch {
		case err != nil:
			fails++
			delay = max(arbiterPause, backoff(fails, lastDelay))
			e := asError(err, "")
			s.fault("arbiter", e.Code, e.Text, e.Fix)
		case s.cfg.State.Cluster().ID == "":
			delay = arbiterPause
		}
		if err == nil {
			fails = 0
			s.clearFault("arbiter")
		}
		if !sleep(ctx, spread(delay)) {
			return
		}
	}
}

// appeal calls the arbiter once and does what follows from the answer.
func (s *Seeker) appeal(ctx context.Context) error {
	name := s.cfg.Arbiter.Name()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	right, err := s.cfg.Arbiter.Acquire(ctx)
	if err != nil {
		return muster.Errorf(muster.CodeArbiterUnavailable, "ask %s for the right to form the cluster: %w", name, err)
	}
	s.mu.Lock()
	s.onRecord = right.Minted.Cluster
	s.mu.Unlock()
	own := s.cfg.State.Cluster()
	switch kids := s.cfg.KIDs(); {
	case len(kids) == 0:
		return muster.Errorf(muster.CodeCookieMissing, "this node has no cookie")
	case own.ID != "":
		return s.keepRecord(ctx, own, right)
	case right.Minted.Cluster != "" && !slices.Contains(kids, right.Minted.KID):
		return muster.Errorf(muster.CodeCookieMismatch, "cluster %s under the name %q in %s has the cookie %s, ours: %v: cookie rotated, or another cluster",
			muster.Printable(string(right.Minted.Cluster)), s.cfg.ClusterName, name, muster.Printable(right.Minted.KID), kids).
			WithFix("give this node the cookie of that cluster, or another --cluster-name")
	case !right.Held || !s.mayFormByRight(right):
		return nil
	}
	return s.formByRight(ctx, right)
}

// mayFormByRight reports whether it is time to use the right. Where a cluster is on
// record already, its members come first.
func (s *Seeker) mayFormByRight(right Right) bool {
	o := s.outlook()
	if o.formed != nil || o.rival != nil || s.cfg.Draining() || len(o.present)+1 < s.cfg.Expect {
		return false
	}
	return right.Minted.Cluster == "" || s.lookedAround()
}

// formByRight forms the cluster, or forms the one on record anew if nobody is left
// of it. The record comes first: whoever dies between the two finds it again.
func (s *Seeker) formByRight(ctx context.Context, right Right) error {
	next := Minted{Cluster: right.Minted.Cluster, KID: s.cfg.KIDs()[0], Epoch: right.Minted.Epoch + 1}
	if next.Cluster == "" {
		next.Cluster = muster.NewClusterID()
	}
	there, err := s.cfg.Arbiter.Record(ctx, next)
	if err != nil {
		return muster.Errorf(muster.CodeArbiterUnavailable, "write the cluster to %s: %w", s.cfg.Arbiter.Name(), err)
	}
	if there != next {
		return nil // the right was lost meanwhile: look again
	}
	if right.Minted.Cluster != "" {
		s.log.Warn("no member of the cluster on record is left, forming it anew", "cluster_id", next.Cluster, "epoch", next.Epoch)
	} else if s.cfg.Expect > 1 {
		s.log.Info(fmt.Sprintf("reached expected bootstrap count of %d, starting cluster bootstrap", s.cfg.Expect))
	}
	cluster := s.newCluster()
	cluster.ID, cluster.Store.Epoch = next.Cluster, next.Epoch
	if err := s.cfg.State.mintAlone(cluster); err != nil {
		return overtaken(err)
	}
	return s.formed(cluster, nil)
}

// keepRecord compares the record with what a member knows, and keeps its key id up
// to date.
func (s *Seeker) keepRecord(ctx context.Context, own Cluster, right Right) error {
	name, kid := s.cfg.Arbiter.Name(), s.cfg.KIDs()[0]
	switch there := right.Minted; {
	case there.Cluster != "" && there.Cluster != own.ID:
		return muster.Errorf(muster.CodeClusterMismatch, "this node belongs to cluster %s, and %s holds cluster %s under the name %q",
			clusterName(own), name, muster.Printable(string(there.Cluster)), s.cfg.ClusterName).
			WithFix("give one of the two clusters another --cluster-name")
	case there.Epoch > own.Store.Epoch:
		return muster.Errorf(muster.CodeDiverged, "cluster %s was formed anew while this node was away: its configuration is at epoch %d there, at %d here",
			clusterName(own), there.Epoch, own.Store.Epoch).
			WithFix("save what is needed of this node's configuration, then let it join anew: muster cluster forget")
	case !right.Held || there.Cluster == own.ID && there.KID == kid:
		return nil
	}
	_, err := s.cfg.Arbiter.Record(ctx, Minted{Cluster: own.ID, KID: kid, Epoch: own.Store.Epoch})
	if err != nil {
		return muster.Errorf(muster.CodeArbiterUnavailable, "write the cluster to %s: %w", name, err)
	}
	return nil
}

// checkArbiter returns what is missing for an Arbiter to be of use.
func (c Config) checkArbiter() error {
	if c.Arbiter != nil && c.KIDs == nil {
		return errors.New("join: Config.Arbiter needs Config.KIDs")
	}
	return nil
}

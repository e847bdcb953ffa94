package server

import (
	"cmp"
	"context"

	"github.com/musterhq/muster"
)

// Cluster describes the cluster that this node belongs to. See mgmt.Lifecycle.
func (n *node) Cluster() muster.ClusterInfo {
	c := n.state.Cluster()
	info := muster.ClusterInfo{
		ID: c.ID, Name: cmp.Or(c.Name, n.cfg.ClusterName), Size: n.size(), Members: len(n.members()),
		Formation: cmp.Or(n.seeker.Facts().Formation, "none"), Expect: n.cfg.BootstrapExpect,
		Store: string(c.Store.Kind), HomeID: c.Store.Home, Epoch: max(c.Store.Epoch, n.replicaStatus().Position.Epoch),
		NodeID: n.self.ID, LocalNode: n.self.Name, Accepted: n.cookies.now().KIDs(),
	}
	if info.HomeID != "" {
		info.HomeName = n.homeName()
	}
	return info
}

// Form forms a cluster on this node alone. See mgmt.Lifecycle.
func (n *node) Form(ctx context.Context, o muster.Order) error {
	if err := n.seeker.Form(ctx); err != nil {
		return err
	}
	id := n.state.Cluster().ID
	n.log.WarnContext(ctx, "cluster formed by order of an operator", "cluster_id", id, "by", o.By)
	n.journal.add(muster.Event{Kind: muster.EventClusterForm, Subject: string(id), Text: "cluster " + string(id) + " formed on " + n.self.Name + " " + o.String()})
	n.changed.fire()
	return nil
}

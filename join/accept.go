package join

import (
	"errors"
	"net/http"
	"slices"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
)

// Handler serves the calls of other nodes that seek, form or commit. It must be
// reachable through sealed connections only.
func (s *Seeker) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, serve := range map[string]func(http.ResponseWriter, *http.Request, link.Hello){
		PathJoin:       s.serveJoin,
		PathCandidates: s.serveCandidates,
		PathPromise:    s.servePromise,
		PathCommit:     s.serveCommit,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			peer, ok := s.cfg.PeerFrom(r.Context())
			if !ok {
				refuse(w, muster.Errorf(muster.CodeUnauthenticated, "only members' sealed connections may call this"), nil)
				return
			}
			serve(w, r, peer)
		})
	}
	return mux
}

// serveJoin admits a node to the cluster, or says why not.
func (s *Seeker) serveJoin(w http.ResponseWriter, r *http.Request, peer link.Hello) {
	var ask request
	if !receive(w, r, &ask) {
		return
	}
	own := s.cfg.State.Cluster()
	if own.ID == "" {
		e := muster.Errorf(muster.CodeNotFormed, "%s belongs to no cluster yet", describe(s.self.ID, s.self.Name))
		refuse(w, e, s.candidates())
		return
	}
	e := s.barred(own, ask, peer)
	if e == nil && ask.Endpoint != Outbound {
		e = s.callBack(r, ask.Endpoint, peer)
	}
	if e != nil {
		s.log.Info("join request refused", "node", muster.Printable(peer.Name), "node_id", peer.ID, "code", e.Code, "reason", e.Text)
		refuse(w, e, nil)
		return
	}
	s.admit(ask, peer)
	respond(w, replyOf(own, s.roster(peer.ID)))
}

// barred returns why a node may not join, before it is called back.
func (s *Seeker) barred(own Cluster, ask request, peer link.Hello) *muster.Error {
	switch {
	case s.cfg.Draining():
		return muster.Errorf(muster.CodeDraining, "%s is shutting down", describe(s.self.ID, s.self.Name))
	case peer.Cluster != "" && peer.Cluster != own.ID:
		return muster.Errorf(muster.CodeClusterMismatch, "%s belongs to cluster %s, %s to cluster %s",
			describe(s.self.ID, s.self.Name), clusterName(own), describe(peer.ID, peer.Name), peer.Cluster)
	case ask.ClusterName != "" && own.Name != "" && ask.ClusterName != own.Name:
		return muster.Errorf(muster.CodeClusterMismatch, "%s belongs to the cluster named %q, and %s was started for one named %q",
			describe(s.self.ID, s.self.Name), own.Name, describe(peer.ID, peer.Name), muster.Printable(ask.ClusterName)).
			WithFix("correct --cluster-name or --cluster-join-endpoint on %s", muster.Printable(peer.Name))
	}
	return s.policy.nameTaken(s.self, peer)
}

// callBack dials the endpoint that the joiner wants to be known by.
func (s *Seeker) callBack(r *http.Request, endpoint string, peer link.Hello) *muster.Error {
	clean, err := CleanEndpoint(endpoint)
	if err != nil {
		return muster.Errorf(muster.CodeEndpointUnreachable, "%w", err)
	}
	class, err := s.dials.check(r.Context(), clean, peer)
	switch e, told := errors.AsType[*muster.Error](err); {
	case told:
		return e
	case err != nil:
		return muster.Errorf(muster.CodeTimeout, "calling %s back: %w", clean, err)
	case class == classOK:
		return nil
	}
	return muster.Errorf(muster.CodeEndpointUnreachable, "%s could not call %s back at %s: %s",
		describe(s.self.ID, s.self.Name), describe(peer.ID, peer.Name), clean, class)
}

// admit tells the rest of the node about a new member.
func (s *Seeker) admit(ask request, peer link.Hello) {
	row := rowOf(peer)
	row.Zone, row.Version = muster.Printable(ask.Zone), muster.Printable(ask.Version)
	row.Endpoint = ""
	if clean, err := CleanEndpoint(ask.Endpoint); ask.Endpoint != Outbound && err == nil {
		row.Endpoint = clean
	}
	s.confirm(peer.ID)
	s.log.Info("join request accepted", "node", muster.Printable(peer.Name), "node_id", peer.ID, "endpoint", row.Endpoint)
	s.cfg.Admitted(row)
}

// confirm notes that another node belongs to the cluster minted here.
func (s *Seeker) confirm(id muster.NodeID) {
	if err := s.cfg.State.confirm(); err != nil {
		s.log.Warn("writing down that the cluster is confirmed", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.commits, id)
}

// roster is the member list for a joiner: this node first, without the joiner.
func (s *Seeker) roster(without muster.NodeID) []store.Member {
	members := s.others(s.cfg.Members())
	if len(members) == 0 {
		members = s.cfg.State.Peers()
	}
	members = slices.DeleteFunc(members, func(m store.Member) bool { return m.ID == without || m.State == muster.StateLeft })
	return slices.Insert(members, 0, s.row())
}

// row is this node as a member.
func (s *Seeker) row() store.Member {
	return store.Member{
		ID: s.self.ID, Name: s.self.Name, Boot: s.self.Boot, Role: s.cfg.Role,
		Zone: s.cfg.Zone, Version: s.cfg.Version, State: muster.StateAlive, Endpoint: s.cfg.Endpoint,
	}
}

// serveCommit takes the cluster that the holder of this node's promise formed.
func (s *Seeker) serveCommit(w http.ResponseWriter, r *http.Request, peer link.Hello) {
	var answer reply
	if !receive(w, r, &answer) {
		return
	}
	own, promise := s.cfg.State.Cluster(), s.cfg.State.Promised()
	if own.ID == "" && (promise.To != peer.ID || promise.Round != answer.Round) {
		refuse(w, muster.Errorf(muster.CodePromiseHeld, "%s has given %s no promise for this round",
			describe(s.self.ID, s.self.Name), describe(peer.ID, peer.Name)), nil)
		return
	}
	if own.ID != answer.ClusterID {
		if err := s.adopt(r.Context(), answer, peer); err != nil {
			refuse(w, asError(err, ""), nil)
			return
		}
	}
	respond(w, struct{}{})
}

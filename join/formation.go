package join

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
)

const (
	contactFor   = 5 * time.Second // a candidate counts as present this long after contact
	formedFor    = time.Minute     // no cluster is formed beside one that was met this lately
	forgetAfter  = time.Hour       // hearsay about a node that nobody has met
	settleBefore = 3 * time.Second // a node that expects only itself looks around first
	maxAge       = 24 * time.Hour  // of hearsay, against overflow
	maxShared    = maxTargets      // candidates per message
)

// outlook is what a node that belongs to no cluster sees of others like it.
type outlook struct {
	present  map[muster.NodeID]*link.Hello // candidates met lately, this node not included
	lower    *link.Hello                   // the lowest of them that is below this node and free
	total    int                           // all candidates in sight, present or not, with this node
	formed   *link.Hello                   // a node that belongs to a cluster
	rival    *link.Hello                   // a node that forms by other means
	namesake *link.Hello                   // another node of this node's name
	mismatch *link.Hello                   // a node with another --bootstrap-expect
}

// outlook sums up the targets.
func (s *Seeker) outlook() outlook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outlookLocked()
}

func (s *Seeker) outlookLocked() outlook {
	o := outlook{present: map[muster.NodeID]*link.Hello{}, total: 1}
	window := max(contactFor, 3*s.paceLocked())
	counted := map[muster.NodeID]bool{s.self.ID: true}
	for _, t := range s.targets {
		if t.hello != nil && t.hello.Cluster != "" && time.Since(t.contact) < formedFor {
			o.formed = t.hello
		}
		if t.hello != nil && t.fails == 0 && time.Since(t.contact) < window {
			s.lookAtLocked(&o, t)
		}
		if !s.countsLocked(t) {
			continue
		}
		if id := t.id(); id == "" {
			o.total++
		} else if !counted[id] {
			counted[id] = true
			o.total++
		}
	}
	return o
}

// lookAtLocked adds a node that is present to the outlook.
func (s *Seeker) lookAtLocked(o *outlook, t *target) {
	h := t.hello
	if h.Cluster != "" || h.Role != muster.RoleVoter || !reachable(h.Endpoint) {
		return
	}
	if h.Name == s.self.Name {
		o.namesake = h
	}
	if decided(h.Formation) && decided(s.source) && h.Formation != s.source {
		o.rival = h
	}
	if h.Expect > 0 && s.cfg.Expect > 0 && h.Expect != s.cfg.Expect {
		o.mismatch = h
	}
	if h.Formation != s.source || s.source == SourceStore || h.Expect != s.cfg.Expect {
		return
	}
	o.present[h.ID] = h
	free := t.bound == "" || t.bound == h.ID
	if free && h.ID < s.self.ID && (o.lower == nil || h.ID < o.lower.ID) {
		o.lower = h
	}
}

// decided reports whether a node with this source of formation would form a cluster
// together with others.
func decided(source string) bool { return source != SourceNone && source != SourceAlone }

// countsLocked reports whether an endpoint may belong to a node that could take
// part in forming a cluster, now or later. What is not known counts.
func (s *Seeker) countsLocked(t *target) bool {
	switch t.code {
	case muster.CodeSelf, muster.CodeNotMuster, muster.CodeCookieMismatch, muster.CodeCookieRetired, muster.CodeExpelled:
		return false
	}
	if t.hello != nil {
		return t.hello.Cluster == "" && t.hello.Role == muster.RoleVoter && t.hello.Formation == SourcePromise
	}
	onlyHearsay := len(t.sources) == 1 && t.from(fromPeer)
	return !onlyHearsay || t.age+time.Since(t.heard) < forgetAfter
}

// former reports whether this node should ask for promises now.
func (s *Seeker) former(o outlook) bool {
	n := s.cfg.Expect
	return s.source == SourcePromise && n > 1 && o.formed == nil && o.rival == nil && o.lower == nil &&
		len(o.present)+1 >= n && 2*n > o.total
}

// confer exchanges what two nodes without a cluster know, and asks the other one
// for its promise if it is this node that should form.
func (s *Seeker) confer(ctx context.Context, t *target, m Meeting) error {
	var theirs view
	if _, err := call(ctx, m, exchange{PathCandidates, s.view(), &theirs}); err != nil {
		return err
	}
	peer := m.Peer()
	if err := s.learn(peer, theirs); err != nil {
		return err
	}
	if err := s.solicit(ctx, m); err != nil {
		return err
	}
	s.mu.Lock()
	t.answered(muster.CodeNotFormed, describe(peer.ID, peer.Name)+" belongs to no cluster yet", s.paceLocked())
	s.mu.Unlock()
	return nil
}

// learn takes in what another unformed node has said.
func (s *Seeker) learn(peer link.Hello, v view) error {
	s.mu.Lock()
	for _, t := range s.targets {
		if t.hello != nil && t.hello.ID == peer.ID {
			t.bound = v.Bound
		}
	}
	s.mu.Unlock()
	s.hear(v.Candidates)
	return s.cfg.State.release(peer.ID, v.Round)
}

// hear takes in candidates that another node knows.
func (s *Seeker) hear(candidates []Candidate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, c := range candidates[:min(len(candidates), maxShared)] {
		if c.ID != "" && !c.ID.Valid() || c.ID == s.self.ID {
			continue
		}
		t := s.targetLocked(c.Endpoint, fromPeer)
		if t == nil || t.hello != nil {
			continue
		}
		age := min(max(c.Age, 0), maxAge)
		if t.heard.IsZero() || age < t.age+now.Sub(t.heard) {
			t.claimed, t.age, t.heard = c.ID, age, now
		}
	}
}

// candidates lists the nodes that may take part in forming, for others.
func (s *Seeker) candidates() []Candidate {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Candidate{}
	if reachable(s.cfg.Endpoint) && decided(s.source) {
		list = append(list, Candidate{ID: s.self.ID, Endpoint: s.cfg.Endpoint})
	}
	for _, t := range s.targets {
		if len(list) >= maxShared {
			break
		}
		if t.code == muster.CodeSelf || t.hello != nil && !reachable(t.hello.Endpoint) {
			continue
		}
		if t.hello == nil && !s.countsLocked(t) {
			continue
		}
		c := Candidate{ID: t.id(), Endpoint: t.endpoint}
		switch {
		case !t.contact.IsZero():
			c.Age = time.Since(t.contact)
		case !t.heard.IsZero():
			c.Age = t.age + time.Since(t.heard)
		}
		list = append(list, c)
	}
	return list
}

func (s *Seeker) view() view {
	return view{
		Expect: s.cfg.Expect, Round: s.cfg.State.round(), Bound: s.cfg.State.Promised().To,
		Candidates: s.candidates(),
	}
}

// solicit asks for a promise if this node should form, and gives up its own
// attempt if another one should.
func (s *Seeker) solicit(ctx context.Context, m Meeting) error {
	o := s.outlook()
	if o.lower != nil && s.cfg.State.Promised().To == s.self.ID {
		s.log.Info("standing down for a lower candidate", "node", muster.Printable(o.lower.Name), "node_id", o.lower.ID)
		s.forgetGrants()
		return s.cfg.State.standDown()
	}
	if !s.former(o) || o.present[m.Peer().ID] == nil {
		return nil
	}
	round := s.cfg.State.round()
	own, err := s.cfg.State.give(s.promiseTo(link.Hello{ID: s.self.ID, Name: s.self.Name, Endpoint: s.cfg.Endpoint}, round))
	if err != nil || own.To != s.self.ID {
		return overtaken(err)
	}
	return s.ask(ctx, m, round)
}

func (s *Seeker) promiseTo(h link.Hello, round uint64) Promise {
	return Promise{To: h.ID, Name: muster.Printable(h.Name), Endpoint: h.Endpoint, Round: round}
}

// overtaken: that an attempt to form was given up meanwhile, or that the node
// has found a cluster, is no failure.
func overtaken(err error) error {
	if errors.Is(err, errFormed) || errors.Is(err, errRound) || errors.Is(err, errPromise) {
		return nil
	}
	return err
}

func (s *Seeker) forgetGrants() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.granted)
}

// ask requests one promise and mints once there are enough.
func (s *Seeker) ask(ctx context.Context, m Meeting, round uint64) error {
	body := s.view()
	body.Round = round
	var answer grantedView
	candidates, err := call(ctx, m, exchange{PathPromise, body, &answer})
	if err != nil {
		s.hear(candidates)
		return err
	}
	peer := m.Peer()
	if err := s.learn(peer, answer.view); err != nil {
		return err
	}
	if answer.To != s.self.ID || answer.ToRound != round {
		return nil
	}
	s.mu.Lock()
	s.granted[peer.ID] = round
	s.mu.Unlock()
	return s.tryMint(round)
}

// tryMint forms the cluster if the promises suffice.
func (s *Seeker) tryMint(round uint64) error {
	o := s.outlook()
	if !s.former(o) {
		return nil
	}
	members := s.grants(o, round)
	if len(members)+1 < s.cfg.Expect {
		return nil
	}
	s.log.Info(fmt.Sprintf("reached expected bootstrap count of %d, starting cluster bootstrap", s.cfg.Expect), "round", round)
	cluster := s.newCluster()
	if err := s.cfg.State.mint(cluster, round); err != nil {
		return overtaken(err)
	}
	s.mu.Lock()
	for _, m := range members {
		s.commits[m.ID] = true
	}
	for _, t := range s.targets {
		if s.commits[t.id()] {
			t.next = time.Now()
		}
	}
	s.mu.Unlock()
	return s.formed(cluster, members)
}

// grants lists the nodes whose promises count: given in this round, present, and
// each with a name of its own.
func (s *Seeker) grants(o outlook, round uint64) []store.Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	holders := map[string]muster.NodeID{s.self.Name: s.self.ID}
	for id, h := range o.present {
		if other, taken := holders[h.Name]; !taken || id < other && other != s.self.ID {
			holders[h.Name] = id
		}
	}
	var members []store.Member
	for id, h := range o.present {
		if at, ok := s.granted[id]; ok && at == round && holders[h.Name] == id {
			members = append(members, rowOf(*h))
		}
	}
	return members
}

// newCluster is the cluster that this node would form.
func (s *Seeker) newCluster() Cluster {
	info := StoreInfo{Kind: s.cfg.Store, Home: s.self.ID, Epoch: 1}
	if s.cfg.Registry != nil {
		info.Home = ""
	}
	return Cluster{ID: muster.NewClusterID(), Name: s.cfg.ClusterName, Store: info}
}

// formed makes it known that this node has formed a cluster. Its identity is on
// disk already.
func (s *Seeker) formed(c Cluster, members []store.Member) error {
	err := s.cfg.State.adopt(c, members)
	s.log.Info("cluster bootstrap successful", "cluster_id", c.ID, "cluster", c.Name, "members", len(members)+1)
	s.announce(Answer{Cluster: c, Members: members, Formed: true})
	s.Wake()
	return err
}

// formAlone forms the cluster of a node that has nobody to wait for.
func (s *Seeker) formAlone() {
	if s.cfg.State.Cluster().ID != "" || !s.mayFormAlone() {
		return
	}
	cluster := s.newCluster()
	if err := s.cfg.State.mintAlone(cluster); err != nil {
		if !errors.Is(err, errPromise) {
			s.fault("form", muster.CodeOf(err), err.Error(), "")
		}
		return
	}
	s.clearFault("form")
	if err := s.formed(cluster, nil); err != nil {
		s.log.Warn("writing down the cluster", "error", err)
	}
}

func (s *Seeker) mayFormAlone() bool {
	switch s.source {
	case SourceAlone:
		return true
	case SourcePromise:
		o := s.outlook()
		return s.cfg.Expect == 1 && o.total == 1 && o.formed == nil && o.rival == nil && s.lookedAround()
	}
	return false
}

// lookedAround reports whether everything that could name a candidate has had
// its say.
func (s *Seeker) lookedAround() bool {
	s.mu.Lock()
	since := time.Since(s.started)
	s.mu.Unlock()
	return since >= settleBefore && s.cfg.Settled()
}

// offer tells a node without a cluster, which has promised, that the cluster is
// there.
func (s *Seeker) offer(ctx context.Context, t *target, m Meeting) error {
	peer := m.Peer()
	s.mu.Lock()
	due, round := s.commits[peer.ID], s.granted[peer.ID]
	s.mu.Unlock()
	if due {
		body := replyOf(s.cfg.State.Cluster(), s.roster(peer.ID))
		body.Round = round
		if _, err := call(ctx, m, exchange{PathCommit, body, &struct{}{}}); err != nil {
			return err
		}
		s.confirm(peer.ID)
	}
	s.mu.Lock()
	t.answered(muster.CodeNotFormed, describe(peer.ID, peer.Name)+" belongs to no cluster yet", lastDelay)
	s.mu.Unlock()
	return nil
}

// serveCandidates exchanges candidates with a node that is waiting too.
func (s *Seeker) serveCandidates(w http.ResponseWriter, r *http.Request, peer link.Hello) {
	var theirs view
	if !receive(w, r, &theirs) {
		return
	}
	if err := s.learn(peer, theirs); err != nil {
		refuse(w, asError(err, ""), nil)
		return
	}
	respond(w, s.view())
}

// servePromise gives this node's one promise to the caller, or says why not.
func (s *Seeker) servePromise(w http.ResponseWriter, r *http.Request, peer link.Hello) {
	var theirs view
	if !receive(w, r, &theirs) {
		return
	}
	err := s.learn(peer, theirs)
	if err == nil {
		err = s.promisable(peer, theirs)
	}
	var given Promise
	if err == nil {
		given, err = s.cfg.State.give(s.promiseTo(peer, theirs.Round))
	}
	if err == nil && given.To != peer.ID {
		err = muster.Errorf(muster.CodePromiseHeld, "%s has promised %s at %s to wait for it",
			describe(s.self.ID, s.self.Name), describe(given.To, given.Name), muster.Printable(given.Endpoint))
	}
	if err != nil {
		refuse(w, asError(err, ""), s.candidates())
		return
	}
	respond(w, grantedView{view: s.view(), To: given.To, ToRound: given.Round})
}

// promisable returns why the caller should not form the cluster, as this node
// sees it.
func (s *Seeker) promisable(peer link.Hello, theirs view) error {
	o := s.outlook()
	switch {
	case s.cfg.State.Cluster().ID != "":
		return muster.Errorf(muster.CodeWaitingForPeers, "%s belongs to a cluster; join it", describe(s.self.ID, s.self.Name))
	case s.source != SourcePromise:
		return muster.Errorf(muster.CodeWaitingForPeers, "%s was not told how many nodes form the cluster", describe(s.self.ID, s.self.Name))
	case s.cfg.Draining():
		return muster.Errorf(muster.CodeDraining, "%s is shutting down", describe(s.self.ID, s.self.Name))
	case theirs.Expect != s.cfg.Expect:
		return muster.Errorf(muster.CodeExpectMismatch, "%s expects %d nodes, %s expects %d",
			describe(s.self.ID, s.self.Name), s.cfg.Expect, describe(peer.ID, peer.Name), theirs.Expect)
	case o.formed != nil:
		return muster.Errorf(muster.CodeWaitingForPeers, "%s belongs to cluster %s; join it", describe(o.formed.ID, o.formed.Name), o.formed.Cluster)
	case 2*s.cfg.Expect <= o.total:
		return muster.Errorf(muster.CodeExpectTooSmall, "%s sees %d candidates, and --bootstrap-expect is %d",
			describe(s.self.ID, s.self.Name), o.total, s.cfg.Expect)
	case o.lower != nil && o.lower.ID < peer.ID:
		return muster.Errorf(muster.CodeWaitingForPeers, "%s comes before %s", describe(o.lower.ID, o.lower.Name), describe(peer.ID, peer.Name))
	case s.self.ID < peer.ID && s.free():
		return muster.Errorf(muster.CodeWaitingForPeers, "%s comes before %s", describe(s.self.ID, s.self.Name), describe(peer.ID, peer.Name))
	}
	return nil
}

// free reports whether this node could form itself.
func (s *Seeker) free() bool {
	to := s.cfg.State.Promised().To
	return to == "" || to == s.self.ID
}

package join

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Stage is how far a node has come.
type Stage string

// The stages.
const (
	StageForming Stage = "forming" // waits to form a cluster with others
	StageJoining Stage = "joining" // looks for a member that admits it
	StageJoined  Stage = "joined"
	StageRefused Stage = "refused" // everybody who answers refuses it
)

// Status is what a Seeker has to say.
type Status struct {
	Stage     Stage
	Cluster   Cluster
	Waiting   string // for what, such as "waiting for peers 2/3"; empty once joined
	Endpoints []EndpointStatus
	Problems  []muster.Problem
}

// EndpointStatus is the last answer of one endpoint.
type EndpointStatus struct {
	Endpoint string        `json:"endpoint"`
	Sources  []string      `json:"sources"`
	Node     muster.NodeID `json:"node_id"` // who is there, as far as known
	Name     string        `json:"name"`
	Code     muster.Code   `json:"code"` // empty: not called yet
	Text     string        `json:"text"`
	Fix      string        `json:"fix"`
	Tries    int           `json:"tries"`
	Last     time.Time     `json:"last"`
	Next     time.Time     `json:"next"`
}

// Status returns the state of the search.
func (s *Seeker) Status() Status {
	cluster := s.cfg.State.Cluster()
	live := len(s.cfg.Live())
	promise := s.cfg.State.Promised()
	peers := expected(s.cfg.State.Peers())
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Cluster: cluster, Endpoints: s.endpointsLocked()}
	st.Stage = s.stageLocked(cluster, live, peers)
	if st.Stage != StageJoined {
		st.Waiting = s.waitingLocked(cluster, peers)
	}
	st.Problems = s.problemsLocked(st.Stage, cluster, promise)
	return st
}

// expected counts the known members that did not say good-bye.
func expected(peers []store.Member) (n int) {
	for _, m := range peers {
		if m.State != muster.StateLeft {
			n++
		}
	}
	return n
}

func (s *Seeker) endpointsLocked() []EndpointStatus {
	list := []EndpointStatus{}
	for _, t := range s.targets {
		e := EndpointStatus{
			Endpoint: t.endpoint, Sources: t.names(), Node: t.id(),
			Code: t.code, Text: t.text, Fix: t.fix, Tries: t.tries, Last: t.last, Next: t.next,
		}
		if t.hello != nil {
			e.Name = muster.Printable(t.hello.Name)
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b EndpointStatus) int { return cmp.Compare(a.Endpoint, b.Endpoint) })
	return list
}

func (s *Seeker) stageLocked(c Cluster, live, peers int) Stage {
	switch {
	case s.expelled != nil:
		return StageRefused
	case c.ID != "" && (live > 0 || peers == 0):
		return StageJoined
	case s.refusedLocked():
		return StageRefused
	case c.ID == "" && s.source != SourceNone:
		return StageForming
	}
	return StageJoining
}

// refusedLocked reports whether somebody refuses this node and nobody gives it
// reason to hope.
func (s *Seeker) refusedLocked() bool {
	refused := false
	for _, t := range s.targets {
		switch t.code {
		case muster.CodeCookieMismatch, muster.CodeCookieRetired, muster.CodeClusterMismatch, muster.CodeNameInUse,
			muster.CodeClone, muster.CodeVersionRange, muster.CodeAddressNotAllowed, muster.CodeEndpointUnreachable,
			muster.CodeStoreMismatch, muster.CodeExpelled:
			refused = true
		case muster.CodeOK, muster.CodeNotFormed, muster.CodeDraining, muster.CodeWaitingForPeers:
			return false
		}
	}
	return refused
}

func (s *Seeker) waitingLocked(c Cluster, peers int) string {
	switch {
	case s.expelled != nil:
		return "expelled"
	case c.ID != "":
		return fmt.Sprintf("waiting for one of %d known members", max(peers, 1))
	case s.source == SourceStore && s.cfg.Expect > 1:
		return fmt.Sprintf("waiting for peers %d/%d", max(s.fresh, 1), s.cfg.Expect)
	case s.source == SourceStore:
		return "waiting for the config store"
	case s.source == SourcePromise, decided(s.source) && s.cfg.Expect > 1 && s.onRecord == "":
		return fmt.Sprintf("waiting for peers %d/%d", len(s.outlookLocked().present)+1, s.cfg.Expect)
	case decided(s.source) && s.onRecord != "":
		return fmt.Sprintf("waiting for a member of cluster %s, which %s holds", s.onRecord, s.source)
	case decided(s.source):
		return "waiting for " + s.source + " to say who forms the cluster"
	}
	return "waiting for a cluster to join" + s.answersLocked()
}

// answersLocked sums up the endpoints that a person has named.
func (s *Seeker) answersLocked() string {
	var parts []string
	for _, endpoint := range s.cfg.JoinEndpoints {
		if t := s.targets[endpoint]; t != nil && t.code != "" {
			parts = append(parts, fmt.Sprintf("%s: %s", endpoint, t.code))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// problemsLocked lists what is wrong, each once, sorted by code and text.
func (s *Seeker) problemsLocked(stage Stage, c Cluster, p Promise) []muster.Problem {
	list := []muster.Problem{}
	for _, f := range s.faults {
		list = append(list, f)
	}
	for _, f := range s.policy.strangers() {
		list = append(list, problem(f.code, f.text, "", f.since))
	}
	if stage != StageJoined {
		list = append(list, s.endpointProblemsLocked()...)
	}
	if c.ID == "" {
		list = append(list, s.formationProblemsLocked(p)...)
	}
	slices.SortFunc(list, func(a, b muster.Problem) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(list, func(a, b muster.Problem) bool { return a.Code == b.Code && a.Text == b.Text })
}

func (s *Seeker) endpointProblemsLocked() []muster.Problem {
	var list []muster.Problem
	for _, t := range s.targets {
		switch t.code {
		case "", muster.CodeOK, muster.CodeSelf, muster.CodeNotFormed, muster.CodeDraining, muster.CodeWaitingForPeers:
			continue
		}
		list = append(list, problem(t.code, t.named(), t.fix, t.since))
	}
	return list
}

func (s *Seeker) formationProblemsLocked(p Promise) []muster.Problem {
	var list []muster.Problem
	add := func(code muster.Code, format string, args ...any) {
		list = append(list, problem(code, fmt.Sprintf(format, args...), "", s.started))
	}
	o := s.outlookLocked()
	if s.source == SourceNone && s.cfg.Formation == FormationAuto && s.cfg.Role == muster.RoleVoter &&
		s.cfg.Discovered != nil && len(s.cfg.JoinEndpoints) == 0 && s.cfg.Expect == 0 {
		add(muster.CodeExpectNotSet, "discovery alone does not say how many nodes form the cluster, and no formed one was found")
	}
	if o.mismatch != nil {
		add(muster.CodeExpectMismatch, "%s expects %d nodes, %s expects %d",
			describe(s.self.ID, s.self.Name), s.cfg.Expect, describe(o.mismatch.ID, o.mismatch.Name), o.mismatch.Expect)
	}
	if s.source == SourcePromise && 2*s.cfg.Expect <= o.total {
		add(muster.CodeExpectTooSmall, "%d candidates are in sight, and --bootstrap-expect is %d: it must be more than half of them", o.total, s.cfg.Expect)
	}
	if o.namesake != nil {
		add(muster.CodeNameInUse, "%s at %s has this node's name", describe(o.namesake.ID, o.namesake.Name), muster.Printable(o.namesake.Endpoint))
	}
	switch {
	case o.rival == nil:
	case o.rival.Formation == SourceStore:
		add(muster.CodeStoreMismatch, "%s forms the cluster through a database that this node was not given", describe(o.rival.ID, o.rival.Name))
	default:
		add(muster.CodeFormationMismatch, "%s forms the cluster by %s, %s by %s",
			describe(s.self.ID, s.self.Name), s.source, describe(o.rival.ID, o.rival.Name), muster.Printable(o.rival.Formation))
	}
	if p.To != "" && p.To != s.self.ID && s.goneLocked(p.To) {
		add(muster.CodePromiseHeld, "this node has promised %s at %s to wait for it, and it does not answer", describe(p.To, p.Name), muster.Printable(p.Endpoint))
	}
	return list
}

// goneLocked reports whether a node has not been met for a while.
func (s *Seeker) goneLocked(id muster.NodeID) bool {
	if time.Since(s.started) < contactFor {
		return false
	}
	for _, t := range s.targets {
		if t.hello != nil && t.hello.ID == id && t.fails == 0 && time.Since(t.contact) < contactFor {
			return false
		}
	}
	return true
}

func problem(code muster.Code, text, fix string, since time.Time) muster.Problem {
	if fix == "" {
		info, _ := code.Info()
		fix = info.Fix
	}
	return muster.Problem{Code: code, Text: muster.Printable(text), Fix: fix, Since: since}
}

// fault shows a problem until clearFault is called with its topic.
func (s *Seeker) fault(topic string, code muster.Code, text, fix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faultLocked(topic, code, text, fix)
}

func (s *Seeker) faultLocked(topic string, code muster.Code, text, fix string) {
	since := time.Now()
	if old, ok := s.faults[topic]; ok && old.Code == code {
		since = old.Since
	}
	s.faults[topic] = problem(code, text, fix, since)
}

func (s *Seeker) clearFault(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, topic)
}

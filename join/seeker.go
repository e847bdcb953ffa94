package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	parallel    = 48 // attempts at a time
	meetTimeout = 4 * time.Second
	firstMeet   = 2 * time.Second // for the first call to an endpoint: there may be many dead ones
	callTimeout = 10 * time.Second
	maxTargets  = 1024
	tick        = time.Second // the longest the loop sleeps
)

// Values of --formation.
const (
	FormationAuto  = "auto"
	FormationNever = "never"
)

// Sources of formation, as nodes tell each other in their HELLO.
const (
	SourceNone    = ""        // joins only
	SourceAlone   = "alone"   // nobody to join
	SourcePromise = "promise" // --bootstrap-expect
	SourceStore   = "store"   // one row in a shared database; else the name of an Arbiter
)

// Found is one endpoint that discovery has found.
type Found struct {
	Endpoint string
	ID       muster.NodeID // empty if the method does not say
	Source   string
}

// Registry is the part of a shared config store that formation needs. Cluster
// answers store.ErrNoCluster while there is none; Form inserts the one row.
type Registry interface {
	Cluster(ctx context.Context) (store.Cluster, error)
	Form(ctx context.Context, id muster.ClusterID) (store.Cluster, error)
	Members(ctx context.Context) ([]store.Member, error)
	PutMember(ctx context.Context, m store.Member) error
}

// Answer is a cluster to belong to: what an accepting member said, what was
// formed here, or what the data directory held.
type Answer struct {
	Cluster Cluster        `json:"cluster"`
	Members []store.Member `json:"members"` // without this node
	By      muster.NodeID  `json:"-"`       // who answered; empty: nobody had to
	Formed  bool           `json:"-"`       // this node has just formed it
}

// Config describes a Seeker. State and Meet are required.
type Config struct {
	State *State
	Meet  Meet
	// Class sorts the error of a dial: dns, refused, timeout, tls, not-muster,
	// other-node or ok. Default link.Class.
	Class func(error) string
	// PeerFrom says who sent a request to Handler. Default link.PeerFrom.
	PeerFrom func(context.Context) (link.Hello, bool)

	Endpoint      string // advertised; empty or "none": nobody can call this node
	Role          muster.Role
	Zone, Version string
	ClusterName   string     // of a cluster formed here; when joining, it must match
	Store         store.Kind // of a cluster formed here; default postgres with a Registry, else sqlite
	StoreFixed    bool       // Store was asked for by name: join no cluster that keeps another

	JoinEndpoints []string
	JoinNodeID    string // id or name that must answer at the join endpoints
	Expect        int    // --bootstrap-expect; 0 = not given
	Listed        int    // nodes that a fixed list names, this one included; 0 = no such list
	Formation     string // auto (default) or never
	Registry      Registry
	Arbiter       Arbiter         // ignored with a Registry
	KIDs          func() []string // accepted cookies by their key ids, the first one in use; for Arbiter
	// Discovered returns what discovery knows now; nil: no discovery. Settled
	// reports whether every method has answered once.
	Discovered func() []Found
	Settled    func() bool

	// Members returns everybody who belongs to the cluster, this node included: also
	// those that are down, that said good-bye, or that this run has not met. Live
	// returns the others that are alive.
	Members func() []store.Member
	Live    func() []muster.NodeID
	Holder  func(name string) (Holder, bool)
	// Draining reports whether this node is about to stop.
	Draining func() bool
	Expelled func(muster.NodeID) *muster.Error

	// Joined is called with every answer, one at a time, before gossip: at start
	// with what the data directory held, after forming, after joining. It may be
	// called again with news; an error makes it be called again.
	Joined func(ctx context.Context, answer Answer) error
	// Gossip exchanges state with at least one of the members.
	Gossip func(ctx context.Context, ids ...muster.NodeID) error
	// Admitted is told of each node that this one has accepted. It must not block.
	Admitted func(store.Member)
	OnAlarm  func(muster.Code, string)

	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Seeker finds a cluster for this node, or forms one, and keeps it in company.
type Seeker struct {
	cfg      Config
	self     link.Self
	source   string
	policy   *Policy
	dials    *backDialer
	log      *slog.Logger
	attempts *prometheus.CounterVec
	wakes    chan struct{} // one is enough: the loop looks at everything
	answers  chan struct{} // likewise
	joining  chan struct{} // holds one token: one accepting member at a time

	mu       sync.Mutex
	targets  map[string]*target
	started  time.Time
	granted  map[muster.NodeID]uint64 // promises held, by round
	commits  map[muster.NodeID]bool   // members of the minted cluster that do not know it yet
	pending  *Answer
	settling bool // the hooks are at work
	retrying bool // the hook has failed on what is pending
	settled  bool // gossip was joined at least once
	expelled *muster.Error
	faults   map[string]muster.Problem // by topic
	fresh    int                       // fresh rows in the registry
	onRecord muster.ClusterID          // by the arbiter
}

// New makes a Seeker. It does nothing before Run.
func New(cfg Config) (*Seeker, error) {
	s := &Seeker{
		cfg: cfg, targets: map[string]*target{},
		granted: map[muster.NodeID]uint64{}, commits: map[muster.NodeID]bool{}, faults: map[string]muster.Problem{},
		wakes: make(chan struct{}, 1), answers: make(chan struct{}, 1), joining: make(chan struct{}, 1),
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	s.self = s.cfg.State.Self()
	s.source = s.formationSource()
	s.log = s.cfg.Log.With("component", "join")
	s.policy = NewPolicy(PolicyConfig{State: cfg.State, Holder: cfg.Holder, Expelled: cfg.Expelled, OnAlarm: s.cfg.OnAlarm, Seen: s.saw})
	s.dials = newBackDialer(s.cfg.Meet, s.cfg.Class)
	return s, s.registerMetrics()
}

// complete checks the configuration and fills in its defaults.
func (s *Seeker) complete() error {
	c := &s.cfg
	if c.State == nil || c.Meet == nil {
		return errors.New("join: Config.State and Config.Meet are required")
	}
	if err := c.checkArbiter(); err != nil {
		return err
	}
	c.Role = cmp.Or(c.Role, muster.RoleVoter)
	c.Formation = cmp.Or(c.Formation, FormationAuto)
	if c.Store == "" && c.Registry != nil {
		c.Store = store.KindPostgres
	}
	c.Store = cmp.Or(c.Store, store.KindSQLite)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	s.fillFuncs()
	var faults []error
	if c.Endpoint == Outbound {
		c.Endpoint = ""
	}
	if c.Endpoint != "" {
		clean, err := CleanEndpoint(c.Endpoint)
		c.Endpoint, faults = clean, append(faults, wrapFlag("--mgmt-advertise", err))
	}
	endpoints := make([]string, len(c.JoinEndpoints))
	for i, raw := range c.JoinEndpoints {
		clean, err := CleanEndpoint(raw)
		endpoints[i], faults = clean, append(faults, wrapFlag("--cluster-join-endpoint", err))
	}
	c.JoinEndpoints = endpoints
	if c.Expect < 0 {
		faults = append(faults, fmt.Errorf("--bootstrap-expect: %d is less than 0", c.Expect))
	}
	if c.Expect > 0 && c.Listed >= 2*c.Expect && c.State.Cluster().ID == "" {
		faults = append(faults, fmt.Errorf("--bootstrap-expect: %d is too small for a list of %d nodes: it must be more than half of them", c.Expect, c.Listed))
	}
	if c.Formation != FormationAuto && c.Formation != FormationNever {
		faults = append(faults, fmt.Errorf("--formation: %q is neither auto nor never", muster.Printable(c.Formation)))
	}
	if c.ClusterName != "" {
		faults = append(faults, wrapFlag("--cluster-name", muster.CheckName(c.ClusterName)))
	}
	if err := errors.Join(faults...); err != nil {
		return muster.Errorf(muster.CodeBadConfig, "%w", err)
	}
	return nil
}

func wrapFlag(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// fillFuncs puts a harmless function where none was given.
func (s *Seeker) fillFuncs() {
	c := &s.cfg
	if c.Class == nil {
		c.Class = link.Class
	}
	if c.PeerFrom == nil {
		c.PeerFrom = link.PeerFrom
	}
	if c.Settled == nil {
		c.Settled = func() bool { return true }
	}
	if c.Members == nil {
		c.Members = func() []store.Member { return nil }
	}
	if c.Live == nil {
		c.Live = func() []muster.NodeID { return nil }
	}
	if c.Draining == nil {
		c.Draining = func() bool { return false }
	}
	if c.Joined == nil {
		c.Joined = func(context.Context, Answer) error { return nil }
	}
	if c.Gossip == nil {
		c.Gossip = func(context.Context, ...muster.NodeID) error { return nil }
	}
	if c.Admitted == nil {
		c.Admitted = func(store.Member) {}
	}
	if c.OnAlarm == nil {
		c.OnAlarm = func(muster.Code, string) {}
	}
}

// formationSource says by which means this node may form a cluster. It is fixed
// by the configuration. Observers and nodes that nobody can call only join.
func (s *Seeker) formationSource() string {
	c := s.cfg
	switch {
	case c.Formation == FormationNever || c.Role != muster.RoleVoter || !reachable(c.Endpoint):
		return SourceNone
	case c.Registry != nil:
		return SourceStore
	case c.Arbiter != nil && (len(c.JoinEndpoints) == 0 || c.Expect > 0):
		return c.Arbiter.Name()
	case c.Arbiter == nil && len(c.JoinEndpoints) == 0 && c.Discovered == nil && c.Expect <= 1:
		return SourceAlone
	case c.Expect > 0:
		return SourcePromise
	}
	return SourceNone
}

// Policy returns the rules of admission, for the link.
func (s *Seeker) Policy() *Policy { return s.policy }

// Facts returns what this node says of itself in its HELLO now.
func (s *Seeker) Facts() link.Facts {
	return link.Facts{
		Endpoint: s.cfg.Endpoint, Cluster: s.cfg.State.Cluster().ID,
		Formation: s.source, Expect: s.cfg.Expect, Role: s.cfg.Role,
	}
}

func (s *Seeker) registerMetrics() error {
	s.attempts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "muster_join_attempts_total",
		Help: "Calls to endpoints in search of a cluster, by what came of them.",
	}, []string{"code"})
	if s.cfg.Metrics == nil {
		return nil
	}
	return s.cfg.Metrics.Register(s.attempts)
}

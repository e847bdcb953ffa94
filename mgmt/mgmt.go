package mgmt

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// Node is what the surface asks of the node it belongs to.
type Node interface {
	Status() muster.Status
	Members() []muster.Member                  // in any order
	Observers(muster.NodeID) []muster.Observer // of one member, all of them
	Matrix() muster.Matrix
	Conditions() []muster.Condition
	// Changed returns a channel that is closed when one of the above changes.
	Changed() <-chan struct{}
	// Leave takes the node out of the cluster for good. It returns when the
	// others know; the process ends some time after.
	Leave(ctx context.Context) error

	Lifecycle
	Leases
}

// ConfigStore is what the surface asks of the node's copy of the configuration.
type ConfigStore interface {
	View() *config.Snapshot // nil before the first sync
	// Apply returns when the writes are durable and View shows them.
	Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error)
	// Wait returns when View has reached a revision.
	Wait(ctx context.Context, rev int64) error
	Changes(ctx context.Context, after int64, limit int) ([]muster.Change, error)
	// History is Changes backwards, of what View shows.
	History(ctx context.Context, p store.Past) (store.History, error)
}

// Events is what the surface asks of the node's memory of events.
type Events interface {
	// Events returns what a query asks for, and a channel that is closed when there
	// is more.
	Events(q muster.EventQuery) (muster.EventPage, <-chan struct{})
}

// Authenticator verifies tokens and sessions. Its errors have a code.
type Authenticator interface {
	Verify(token string) (auth.Claims, error)
}

// Logins makes and redeems one-use login codes; *auth.Logins does.
type Logins interface {
	Code(bearer auth.Claims) auth.Secret
	Redeem(code string, cookie bool) (auth.Session, error)
}

// Values of Config.Anonymous.
const (
	AnonymousNone   = "none"   // /health, /ready, /version and the dashboard's files
	AnonymousStatus = "status" // also the short /cluster/status
	AnonymousRead   = "read"   // everything a viewer may read
)

// Config says what a surface is made of.
type Config struct {
	NodeID muster.NodeID
	Node   Node
	Config ConfigStore
	Events Events
	Auth   Authenticator

	// ClusterEvents merges the events of all live members. nil: there is only this node.
	ClusterEvents func(ctx context.Context, q muster.EventQuery) muster.EventPage

	// Keys asks all live members which cookies they accept. nil: nobody is asked.
	Keys func(ctx context.Context) []muster.NodeKeys

	Expulsion Expulsion // nil: nobody can be expelled
	Spread    Spread    // nil: there is only this node

	Logins  Logins       // nil: no browser logins
	UI      http.Handler // the dashboard's files below /ui/; nil: none
	Link    http.Handler // GET LinkPath; nil: none
	Metrics http.Handler // nil: none

	PathPrefix     string         // for example /muster; empty: at the root
	Anonymous      string         // none, status, read; default status
	MetricsPublic  bool           // /metrics without a token
	Insecure       bool           // browser logins over plain HTTP from afar
	Loopback       bool           // we listen on loopback: IP literals must be loopback too
	AllowedHosts   []string       // names we are called by, beside localhost
	Version        string         // of the build
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and -Proto are believed
	// AllowedNetworks are the callers that are answered at all, other nodes too;
	// /health answers everybody. Empty: everybody. Loopback is not implied.
	AllowedNetworks []netip.Prefix

	Log      *slog.Logger          // nil: silent
	Registry prometheus.Registerer // nil: no metrics
}

// API is the surface. It is an http.Handler.
type API struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	router    chi.Router
	table     map[string]route // by method and pattern
	hosts     map[string]bool
	crossSite *http.CrossOriginProtection
	failures  *limiter
	ended     *endedSessions
	calls     *calls
	frames    *frames

	life context.Context // of streams and long polls; ends with Drain
	end  context.CancelFunc
}

// New returns the surface. It starts nothing.
func New(cfg Config) (*API, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Anonymous == "" {
		cfg.Anonymous = AnonymousStatus
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	counters, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, err
	}
	a := &API{
		cfg:       cfg,
		log:       cfg.Log.With("component", "mgmt"),
		metrics:   counters,
		table:     map[string]route{},
		hosts:     map[string]bool{},
		crossSite: http.NewCrossOriginProtection(),
		failures:  newLimiter(),
		ended:     newEndedSessions(),
		calls:     newCalls(),
	}
	a.frames = &frames{api: a}
	a.life, a.end = context.WithCancel(context.Background())
	for _, h := range cfg.AllowedHosts {
		a.hosts[canonicalHost(h)] = true
	}
	a.router = a.newRouter()
	return a, nil
}

// Drain ends streams and long polls, so that a server can shut down. New ones end
// at once. Give it to http.Server.RegisterOnShutdown.
func (a *API) Drain() { a.end() }

func (cfg Config) validate() error {
	var errs []error
	if cfg.Node == nil || cfg.Config == nil || cfg.Events == nil || cfg.Auth == nil {
		errs = append(errs, errors.New("mgmt: Node, Config, Events and Auth are required"))
	}
	switch cfg.Anonymous {
	case "", AnonymousNone, AnonymousStatus, AnonymousRead:
	default:
		errs = append(errs, muster.Errorf(muster.CodeBadConfig,
			"--auth-anonymous %q: want none, status or read", muster.Printable(cfg.Anonymous)))
	}
	if p := cfg.PathPrefix; p != "" && (!strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || !canonicalPath(p)) {
		errs = append(errs, muster.Errorf(muster.CodeBadConfig,
			"--mgmt-path-prefix %q: want a path like /muster, without a slash at the end", muster.Printable(p)))
	}
	return errors.Join(errs...)
}

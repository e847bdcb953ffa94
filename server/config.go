package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
)

// Values of Config.Store besides a postgres:// URL.
const (
	StoreAuto   = "auto"   // SQLite on the node that forms the cluster, its store over the link elsewhere
	StoreSQLite = "sqlite" // this node's own disk
	StorePeer   = "peer"   // never an own store
)

// Config describes a node. The zero value of every field but DataDir is usable.
type Config struct {
	DataDir string // created if absent, mode 0700; one process at a time

	Bind         string   // address of the one port; default 127.0.0.1:9113
	Advertise    string   // URL, host:port, template, or "none"; default: worked out from Bind
	PathPrefix   string   // of everything this node serves, for example /cluster; default none
	AllowedHosts []string // further values of the Host header
	TLS          TLS      // certificates of the port; the zero value serves plain HTTP

	AllowedNetworks []netip.Prefix // callers, members too, that are answered at all; empty = everybody
	TrustedProxies  []netip.Prefix // whose X-Forwarded-For and -Proto are believed

	ClusterName string // of a cluster formed here; default "muster"
	NodeName    string // default: persisted, else host name and four random characters
	Role        muster.Role
	Region      string
	Zone        string
	Tags        map[string]string

	Cookies      auth.Ring    // required; the first signs and dials
	CookieSource CookieSource // where Cookies came from, if they may change; nil: they stay
	Insecure     bool         // allow logins over plain HTTP from other machines, and say so

	JoinEndpoints   []string // URLs of members; a node with one never forms a cluster alone
	JoinNodeID      string   // name or id that must answer there
	BootstrapExpect int      // voters that form the cluster together; 0 = not given
	Formation       string   // auto (default) or never
	Discovery       []discovery.Source
	AllowedSpace    []netip.Prefix // addresses that may be dialled; empty = all usable ones

	Store      string        // StoreAuto (default), StoreSQLite, StorePeer or a postgres:// URL
	Profile    string        // of gossip: lan (default), safe, wan, local
	DrainDelay time.Duration // between "not ready" and leaving, at the end; default 0

	ReapLeftAfter time.Duration // take members that left off the durable list then; 0 = never
	ReapDeadAfter time.Duration // take members that are dead off the durable list then; 0 = never

	AuthAnonymous string // none, status (default), read
	MetricsPublic bool

	Version string
	Log     *slog.Logger         // nil = silent
	Metrics *prometheus.Registry // nil = a registry of its own

	// The rest serves simulations and programs with their own network or stores.

	Listener net.Listener // instead of listening on Bind
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	// OpenStore replaces the real stores; kind is what the node would open.
	OpenStore func(kind store.Kind) (store.Store, error)
	// OpenMirror replaces the mirror file.
	OpenMirror func() (replica.Mirror, error)
	// OpenState replaces the node's own files.
	OpenState func() (*join.State, error)
	// Between stands between this node and a member, for calls, and may lose some. It is
	// not asked for gossip.
	Between func(to muster.NodeID, next http.RoundTripper) http.RoundTripper
	// Now replaces the clock that this node shows to others and compares with theirs.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.Bind = orDefault(c.Bind, fmt.Sprintf("127.0.0.1:%d", muster.DefaultPort))
	c.ClusterName = orDefault(c.ClusterName, "muster")
	c.Store = orDefault(c.Store, StoreAuto)
	c.Formation = orDefault(c.Formation, join.FormationAuto)
	c.AuthAnonymous = orDefault(c.AuthAnonymous, string(mgmt.AnonymousStatus))
	c.Version = orDefault(c.Version, "devel")
	c.Profile = orDefault(c.Profile, "lan")
	if c.Role == "" {
		c.Role = muster.RoleVoter
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Between == nil {
		c.Between = func(_ muster.NodeID, next http.RoundTripper) http.RoundTripper { return next }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	return c
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// validate reports every fault at once.
func (c Config) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, muster.Errorf(muster.CodeBadConfig, format, args...))
	}
	if c.DataDir == "" && c.OpenState == nil {
		fault("no data directory is given (--data-dir)")
	}
	if c.NodeName != "" && muster.CheckName(c.NodeName) != nil {
		fault("--cluster-node-name: %v", muster.CheckName(c.NodeName))
	}
	if err := muster.CheckName(c.ClusterName); err != nil {
		fault("--cluster-name: %v", err)
	}
	if c.BootstrapExpect < 0 {
		fault("--bootstrap-expect %d: want 1 or more", c.BootstrapExpect)
	}
	if c.PathPrefix != "" && (!strings.HasPrefix(c.PathPrefix, "/") || strings.HasSuffix(c.PathPrefix, "/")) {
		fault("--mgmt-path-prefix %q: want a leading and no trailing slash", muster.Printable(c.PathPrefix))
	}
	faults = append(faults, c.TLS.validate()...)
	if len(c.Cookies) == 0 {
		faults = append(faults, muster.Errorf(muster.CodeCookieMissing, "no cluster cookie is given (--cluster-cookie-file)"))
	}
	return errors.Join(append(faults, c.checkNetworks()...)...)
}

// checkNetworks finds join endpoints whose nodes could not call this one. Names
// are not looked up; behind a trusted proxy the endpoint is not the caller.
func (c Config) checkNetworks() (faults []error) {
	within := func(list []netip.Prefix, addr netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
	}
	for _, endpoint := range c.JoinEndpoints {
		u, err := url.Parse(endpoint)
		if err != nil || len(c.AllowedNetworks) == 0 {
			continue
		}
		addr, err := netip.ParseAddr(strings.Replace(u.Hostname(), "localhost", "127.0.0.1", 1))
		if err == nil && !within(c.AllowedNetworks, addr) && !within(c.TrustedProxies, addr) {
			faults = append(faults, muster.Errorf(muster.CodeBadConfig,
				"--mgmt-allowed-networks does not hold %s of the join endpoint %s: that node could not call back", addr, muster.Printable(endpoint)).
				WithFix("add the network of the other nodes to --mgmt-allowed-networks"))
		}
	}
	return faults
}

// dsn returns the database URL, or "" if the store is another one.
func (c Config) dsn() string {
	if strings.HasPrefix(c.Store, "postgres://") || strings.HasPrefix(c.Store, "postgresql://") {
		return c.Store
	}
	return ""
}

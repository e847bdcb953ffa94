package main

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/discovery"
	"github.com/musterhq/muster/server"
)

// settings is what flags, environment and file say together: the fields of
// server.Config, and what this command needs to fill them.
type settings struct {
	DataDir         string
	Bind            string
	Advertise       string
	PathPrefix      string
	AllowedHosts    []string
	TLS             server.TLS
	AllowedNetworks []netip.Prefix
	TrustedProxies  []netip.Prefix
	ClusterName     string
	NodeName        string
	Role            muster.Role
	Region          string
	Zone            string
	Tags            map[string]string
	Cookies         auth.Ring
	JoinEndpoints   []string
	JoinNodeID      string
	BootstrapExpect int
	Formation       string
	Discovery       []discovery.Source
	AllowedSpace    []netip.Prefix
	Store           auth.Secret // a DSN may hold a password
	Profile         string
	DrainDelay      time.Duration
	ReapLeftAfter   time.Duration
	ReapDeadAfter   time.Duration
	AuthAnonymous   string
	MetricsPublic   bool
	Insecure        bool

	LogLevel  slog.Level
	LogFormat string

	bareEndpoints []int // positions in JoinEndpoints that were given without a scheme
	cookieFiles   []string
	cookieInline  auth.Secret
	cookies       *auth.Files // what Cookies was read from; nil: they cannot change
	discoverStore bool        // --discovery store
	standalone    bool        // cluster_config.enabled: false
	gossipPort    int         // cluster_config.gossip.port, 0 = not given
	database      database
}

// database is the config_store section of the file, which spells a DSN in parts.
type database struct {
	given        bool
	disabled     bool
	kind         string
	dsnFile      string
	host         string
	port         string
	user         string
	password     auth.Secret
	passwordFile string
	name         string
	sslMode      string
}

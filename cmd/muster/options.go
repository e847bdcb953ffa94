package main

import (
	"net/netip"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/server"
)

// option is one setting of a node. Flag, variable and file key are three ways to
// say it, and all three come from this entry.
type option struct {
	flag   string // without dashes; empty: file only, noFlag says why
	alias  string // another spelling of the flag
	hint   string // names the value in help texts; empty: a switch
	usage  string
	preset string   // the default, spelt as on the command line
	keys   []string // paths in the file, the documented one first
	noFlag string   // why there is no flag
	noFile string   // why there is no file key
	many   bool     // may be given repeatedly
	pairs  bool     // a mapping in the file
	secret bool     // the value may not be shown
	fence  bool     // an empty list is a fault: who builds a fence means to keep somebody out
	split  func(string) []string
	apply  apply
}

// env returns the name of the variable: MUSTER_ and the flag in capitals.
func (o option) env() string {
	if o.flag == "" {
		return ""
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(o.flag, "-", "_"))
}

// name is how people call the option.
func (o option) name() string {
	if o.flag == "" {
		return o.keys[0]
	}
	return "--" + o.flag
}

// envPrefix starts every variable that muster reads.
const envPrefix = "MUSTER_"

// options is the one list of what a node can be told, in the order of the help.
func options() []option {
	var all []option
	for _, group := range [][]option{addressOptions(), tlsOptions(), identityOptions(), joinOptions(), storeOptions(), behaviourOptions()} {
		all = append(all, group...)
	}
	return all
}

func addressOptions() []option {
	return []option{
		{flag: "config", hint: "FILE", usage: "read a configuration file, YAML or JSON", noFile: "a file cannot name itself",
			apply: func(*settings, []string) error { return nil }},
		{flag: "data-dir", hint: "DIR", usage: "where identity, configuration and cookie are kept", preset: "./muster-data", keys: []string{"data_dir"},
			apply: text(func(s *settings) *string { return &s.DataDir }, notEmpty)},
		{flag: "mgmt-bind", hint: "HOST:PORT", usage: "listen here; the one port for everything", preset: "127.0.0.1:9113", keys: []string{"mgmt.bind"},
			apply: text(func(s *settings) *string { return &s.Bind }, hostPort)},
		{flag: "mgmt-advertise", hint: "ADDRESS", usage: "tell others this address: URL, host:port, go-sockaddr template, or none", keys: []string{"mgmt.advertise"},
			apply: text(func(s *settings) *string { return &s.Advertise }, advertisable)},
		{flag: "mgmt-path-prefix", hint: "PATH", usage: "serve everything below this path", keys: []string{"mgmt.path_prefix"},
			apply: text(func(s *settings) *string { return &s.PathPrefix }, pathPrefix)},
		{flag: "mgmt-allowed-host", hint: "NAME", usage: "answer to this Host header too (repeatable)", keys: []string{"mgmt.allowed_hosts"}, many: true, split: commas,
			apply: list(func(s *settings) *[]string { return &s.AllowedHosts }, hostName)},
		{flag: "mgmt-allowed-networks", hint: "CIDR", usage: "answer callers in here only, members too; loopback is not implied (repeatable)", keys: []string{"mgmt.allowed_networks"}, many: true, fence: true, split: commas,
			apply: prefixes(func(s *settings) *[]netip.Prefix { return &s.AllowedNetworks })},
		{flag: "trusted-proxies", hint: "CIDR", usage: "believe X-Forwarded-For and -Proto of these proxies (repeatable)", keys: []string{"mgmt.trusted_proxies"}, many: true, split: commas,
			apply: prefixes(func(s *settings) *[]netip.Prefix { return &s.TrustedProxies })},
	}
}

func tlsOptions() []option {
	return []option{
		{flag: "mgmt-tls-cert", hint: "FILE", usage: "serve TLS with this certificate and its intermediates, PEM; read again when it changes", keys: []string{"mgmt.tls.cert"},
			apply: text(func(s *settings) *string { return &s.TLS.CertFile }, notEmpty)},
		{flag: "mgmt-tls-key", hint: "FILE", usage: "the key of the certificate", keys: []string{"mgmt.tls.key"},
			apply: text(func(s *settings) *string { return &s.TLS.KeyFile }, notEmpty)},
		{flag: "mgmt-tls-ca", hint: "FILE", usage: "trust nodes and clients of this authority, PEM, instead of the system's (repeatable)", keys: []string{"mgmt.tls.ca"}, many: true, split: commas,
			apply: list(func(s *settings) *[]string { return &s.TLS.CAFiles }, notEmpty)},
		{flag: "mgmt-tls-client-auth", hint: "WHEN", usage: "ask callers for a certificate: none, request, require, or require-name: a node's must carry its name", preset: server.ClientAuthNone, keys: []string{"mgmt.tls.client_auth"},
			apply: text(func(s *settings) *string { return &s.TLS.ClientAuth },
				oneOf(server.ClientAuthNone, server.ClientAuthRequest, server.ClientAuthRequire, server.ClientAuthRequireName))},
		{flag: "mgmt-tls-server-name", hint: "NAME", usage: "expect this name in the certificates of other nodes (default: the host of their address)", keys: []string{"mgmt.tls.server_name"},
			apply: text(func(s *settings) *string { return &s.TLS.ServerName }, hostName)},
	}
}

func identityOptions() []option {
	return []option{
		{flag: "cluster-name", hint: "NAME", usage: "name of the cluster, for people", preset: "muster", keys: []string{"cluster_config.name"},
			apply: text(func(s *settings) *string { return &s.ClusterName }, muster.CheckName)},
		{flag: "cluster-node-name", alias: "cluster-node-id", hint: "NAME", usage: "name of this node (default: host name and a random word, kept)", keys: []string{"cluster_config.node_id", "cluster_config.node_name"},
			apply: text(func(s *settings) *string { return &s.NodeName }, muster.CheckName)},
		{flag: "cluster-role", hint: "ROLE", usage: "voter, or observer: joins but never forms a cluster", preset: "voter", keys: []string{"cluster_config.role"},
			apply: text(func(s *settings) *muster.Role { return &s.Role }, oneOf("voter", "observer"))},
		{flag: "region", hint: "NAME", usage: "region of this node", keys: []string{"cluster_config.region"},
			apply: text(func(s *settings) *string { return &s.Region }, place)},
		{flag: "zone", hint: "NAME", usage: "failure zone of this node", keys: []string{"cluster_config.zone"},
			apply: text(func(s *settings) *string { return &s.Zone }, place)},
		{flag: "tag", hint: "KEY=VALUE", usage: "label of this node (repeatable)", keys: []string{"cluster_config.tags"}, many: true, pairs: true, split: commas,
			apply: tags},
	}
}

func joinOptions() []option {
	return []option{
		{flag: "cluster-cookie-file", hint: "FILE", usage: "file with the cluster's secret, - for standard input (repeatable: the first signs, all are accepted)", keys: []string{"cluster_config.cookie_files"}, many: true, split: commas,
			apply: list(func(s *settings) *[]string { return &s.cookieFiles }, notEmpty)},
		{flag: "cluster-cookie", hint: "SECRET", usage: "the secret itself; prefer the file, others on the machine can see this", keys: []string{"cluster_config.cookie"}, secret: true,
			apply: hidden(func(s *settings) *auth.Secret { return &s.cookieInline })},
		{flag: "cluster-join-endpoint", hint: "URL", usage: "join the cluster of the node at this URL or host:port (repeatable)", keys: []string{"cluster_config.join_endpoints", "cluster_config.peers"}, many: true, split: commas,
			apply: endpoints},
		{flag: "cluster-join-node-id", hint: "NAME", usage: "join only if the node that answers has this name or id", keys: []string{"cluster_config.join_node_id"},
			apply: text(func(s *settings) *string { return &s.JoinNodeID }, muster.CheckName)},
		{flag: "bootstrap-expect", hint: "N", usage: "form a cluster once N nodes have met (default: alone, unless told to join)", keys: []string{"cluster_config.bootstrap_expect"},
			apply: number(func(s *settings) *int { return &s.BootstrapExpect }, 0, 1000)},
		{flag: "formation", hint: "WHEN", usage: "auto, or never: only join", preset: "auto", keys: []string{"cluster_config.formation"},
			apply: text(func(s *settings) *string { return &s.Formation }, oneOf("auto", "never"))},
		{flag: "discovery", hint: "METHOD", usage: "find others: static://host:port,host:port or store (repeatable)", keys: []string{"cluster_config.discovery"}, many: true, split: splitMethods,
			apply: methods},
		{flag: "allowed-address-space", hint: "CIDR", usage: "dial only addresses in here (repeatable)", keys: []string{"cluster_config.allowed_address_space"}, many: true, split: commas,
			apply: prefixes(func(s *settings) *[]netip.Prefix { return &s.AllowedSpace })},
		{keys: []string{"cluster_config.enabled"}, noFlag: "without join endpoints and discovery a node stays alone anyway", preset: "true",
			apply: boolean(func(s *settings, on bool) { s.standalone = !on })},
		{keys: []string{"cluster_config.gossip.port"}, noFlag: "gossip rides on the management port",
			apply: number(func(s *settings) *int { return &s.gossipPort }, 1, 65535)},
	}
}

func storeOptions() []option {
	const part = "a part of --config-store"
	return []option{
		{flag: "config-store", hint: "STORE", usage: "auto, sqlite, peer or postgres://USER@HOST/DATABASE", preset: "auto", keys: []string{"config_store"}, secret: true,
			apply: dsn},
		{keys: []string{"config_store.enabled"}, noFlag: part, apply: boolean(func(s *settings, on bool) { s.database.disabled, s.database.given = !on, s.database.given || on })},
		{keys: []string{"config_store.type"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.kind }, oneOf("postgres", "sqlite"))},
		{keys: []string{"config_store.dsn_file"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.dsnFile }, notEmpty)},
		{keys: []string{"config_store.config.host"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.host }, notEmpty)},
		{keys: []string{"config_store.config.port"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.port }, port)},
		{keys: []string{"config_store.config.user"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.user }, notEmpty)},
		{keys: []string{"config_store.config.password"}, noFlag: part, secret: true, apply: given(hidden(func(s *settings) *auth.Secret { return &s.database.password }))},
		{keys: []string{"config_store.config.password_file"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.passwordFile }, notEmpty)},
		{keys: []string{"config_store.config.db_name"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.name }, notEmpty)},
		{keys: []string{"config_store.config.ssl_mode"}, noFlag: part, apply: storePart(func(d *database) *string { return &d.sslMode }, oneOf(sslModes()...))},
	}
}

func behaviourOptions() []option {
	return []option{
		{flag: "profile", hint: "PROFILE", usage: "pace of failure detection: lan, safe, wan or local", preset: "lan", keys: []string{"cluster_config.gossip.profile"},
			apply: text(func(s *settings) *string { return &s.Profile }, oneOf("lan", "safe", "wan", "local"))},
		{flag: "drain-delay", hint: "DURATION", usage: "between not ready and leaving, for balancers to notice", preset: "0s", keys: []string{"mgmt.drain_delay"},
			apply: drainDelay},
		{flag: "reap-left-after", hint: "DURATION", usage: "take members that left off the durable member list then; 0 = never", preset: "24h", keys: []string{"cluster_config.reap_left_after"},
			apply: reapAge(func(s *settings) *time.Duration { return &s.ReapLeftAfter })},
		{flag: "reap-dead-after", hint: "DURATION", usage: "take members that are dead off the durable member list then; 0 = never", preset: "72h", keys: []string{"cluster_config.reap_dead_after"},
			apply: reapAge(func(s *settings) *time.Duration { return &s.ReapDeadAfter })},
		{flag: "auth-anonymous", hint: "LEVEL", usage: "what callers without a token may see: none, status or read", preset: "status", keys: []string{"auth.anonymous"},
			apply: text(func(s *settings) *string { return &s.AuthAnonymous }, oneOf("none", "status", "read"))},
		{flag: "metrics-public", usage: "serve /metrics without a token", keys: []string{"auth.metrics_public"},
			apply: boolean(func(s *settings, on bool) { s.MetricsPublic = on })},
		{flag: "log-level", hint: "LEVEL", usage: "debug, info, warn or error", preset: "info", keys: []string{"log.level"},
			apply: logLevel},
		{flag: "log-format", hint: "FORMAT", usage: "text or json", preset: "text", keys: []string{"log.format"},
			apply: text(func(s *settings) *string { return &s.LogFormat }, oneOf("text", "json"))},
		{flag: "insecure", usage: "start off loopback with a cookie made on the spot, and allow logins over plain HTTP", keys: []string{"auth.insecure"},
			apply: boolean(func(s *settings, on bool) { s.Insecure = on })},
	}
}

// laterKeys are sections of the file that belong to parts of muster which this
// version does not have. They are refused, so that nobody believes they act.
func laterKeys() []string {
	return []string{
		"health", "limits", "observability", "cluster_config.type", "cluster_config.broker", "cluster_config.gossip.config",
	}
}

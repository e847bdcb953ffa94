package main

import (
	"log/slog"

	"github.com/musterhq/muster/server"
)

// newNode makes the real thing.
func newNode(s settings, log *slog.Logger) (node, error) {
	return server.New(s.serverConfig(log))
}

// serverConfig says what the command line means to a node.
func (s settings) serverConfig(log *slog.Logger) server.Config {
	return server.Config{
		DataDir: s.DataDir, Bind: s.Bind, Advertise: s.Advertise,
		PathPrefix: s.PathPrefix, AllowedHosts: s.AllowedHosts, TLS: s.TLS,
		AllowedNetworks: s.AllowedNetworks, TrustedProxies: s.TrustedProxies,
		ClusterName: s.ClusterName, NodeName: s.NodeName, Role: s.Role,
		Region: s.Region, Zone: s.Zone, Tags: s.Tags,
		Cookies: s.Cookies, CookieSource: s.cookieSource(), Insecure: s.Insecure,
		JoinEndpoints: s.JoinEndpoints, JoinNodeID: s.JoinNodeID,
		BootstrapExpect: s.BootstrapExpect, Formation: s.Formation,
		Discovery: s.Discovery, AllowedSpace: s.AllowedSpace,
		Store: s.Store.Reveal(), Profile: s.Profile, DrainDelay: s.DrainDelay,
		ReapLeftAfter: s.ReapLeftAfter, ReapDeadAfter: s.ReapDeadAfter,
		AuthAnonymous: s.AuthAnonymous, MetricsPublic: s.MetricsPublic,
		Version: thisBuild().Version, Log: log,
	}
}

// cookieSource avoids a nil pointer in an interface.
func (s settings) cookieSource() server.CookieSource {
	if s.cookies == nil {
		return nil
	}
	return s.cookies
}

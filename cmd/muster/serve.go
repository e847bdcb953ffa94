package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/musterhq/muster/server"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Runs one node until it gets SIGTERM or SIGINT. It then drains, says good-bye and
exits with 0. Cookie and certificate files that change are read again by themselves,
and at once on SIGHUP.

Every flag can also be given as a variable of the environment, --mgmt-bind as
MUSTER_MGMT_BIND, and in the file of --config, where --mgmt-bind is mgmt.bind.
Variables that begin with MUSTER_ and mean nothing stop the start, those aside that
Kubernetes sets for a Service. A flag wins over the environment, that over the file.
In all of them ${NAME} is replaced by a variable, and a value file:PATH by the
content of that file.`,
		Example: `  muster serve
  muster serve --data-dir d2 --mgmt-bind 127.0.0.1:9114 --cluster-cookie-file muster-data/cookie \
      --cluster-join-endpoint http://127.0.0.1:9113
  muster serve --mgmt-bind 0.0.0.0:9113 --cluster-cookie-file cookie --bootstrap-expect 3 \
      --discovery static://10.0.0.1:9113,10.0.0.2:9113,10.0.0.3:9113
  muster serve --config node.yaml`,
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true}, // unknownFlags reports them, all at once
		Args:               cobra.ArbitraryArgs,                          // so that RunE reports those too
	}
	cmd.Flags().SortFlags = false
	given := addFlags(cmd.Flags(), options())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, warnings, err := a.load(given)
		for _, warning := range warnings {
			_, _ = fmt.Fprintln(a.stderr, "warning:", warning)
		}
		if err := errors.Join(errors.Join(a.unknownFlags(cmd)...), exactly()(cmd, args), err); err != nil {
			return err
		}
		return a.serve(cmd.Context(), s)
	}
	return cmd
}

// unknownFlags finds every flag on the command line that the command has not.
func (a *app) unknownFlags(cmd *cobra.Command) []error {
	var faults []error
	for i := 0; i < len(a.args) && a.args[i] != "--"; i++ {
		name, isFlag := strings.CutPrefix(a.args[i], "-")
		if !isFlag || name == "" {
			continue
		}
		name, _, inline := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		flag := lookup(cmd.Flags(), name)
		if flag == nil {
			faults = append(faults, unknownFlag(cmd, name))
		}
		if flag != nil && !inline && flag.NoOptDefVal == "" {
			i++ // its value
		}
	}
	return faults
}

func lookup(flags *pflag.FlagSet, name string) *pflag.Flag {
	if len(name) == 1 {
		return flags.ShorthandLookup(name)
	}
	return flags.Lookup(name)
}

// serve runs a node until ctx ends.
func (a *app) serve(ctx context.Context, s settings) error {
	if err := s.ensureCookie(); err != nil {
		return err
	}
	n, err := a.newNode(s, a.logger(s))
	if err != nil {
		return err
	}
	return a.live(ctx, n, func() { a.greet(s, n) })
}

// live runs a node and calls greet once it has started.
func (a *app) live(ctx context.Context, n node, greet func()) error {
	ended := make(chan error, 1) // one: Run returns once, even if nobody waits any more
	go func() { ended <- n.Run(ctx) }()
	defer a.reloadOnHangup(n)()
	select {
	case err := <-ended:
		return err
	case <-n.Started():
		greet()
	}
	return <-ended
}

func (a *app) logger(s settings) *slog.Logger {
	how := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, how))
	}
	return slog.New(slog.NewTextHandler(a.stderr, how))
}

// greet tells the person at the terminal where the node is and how to go on.
func (a *app) greet(s settings, n node) {
	local := s.scheme() + "://" + reachable(n.Addr()) + s.PathPrefix
	status := n.Status()
	say := func(what, value string) { _, _ = fmt.Fprintf(a.stdout, "  %-11s %s\n", what, value) }
	_, _ = fmt.Fprintf(a.stdout, "muster %s: node %s (%s)\n", thisBuild().Version, n.Name(), status.NodeID)
	say("listening", local)
	if e := n.Endpoint(); e != local {
		say("advertised", orDefault(e, "none: this node calls others, nobody calls it"))
	}
	say("data", absolute(s.DataDir))
	if loopback(n.Addr()) {
		say("dashboard", loginLink(local, n.LoginCode()))
		say("", "(signs you in once, within ten minutes; later: muster ui)")
	}
	_, _ = fmt.Fprint(a.stdout, secondNode(s, n))
}

// secondNode is the text that says how to add a node.
func secondNode(s settings, n node) string {
	if n.Endpoint() == "" || s.standalone {
		return ""
	}
	cookie := "cookie"
	if len(s.cookieFiles) > 0 && s.cookieFiles[0] != "-" {
		cookie = absolute(s.cookieFiles[0])
	}
	if loopback(n.Addr()) {
		return fmt.Sprintf(`
A second node on this machine (the address is reached from here only; for other
machines start with --mgmt-bind 0.0.0.0:9113 --cluster-cookie-file %[2]s):
  muster serve --data-dir %[1]s --mgmt-bind %[3]s --cluster-cookie-file %[2]s --cluster-join-endpoint %[4]s%[5]s
`, quote(strings.TrimSuffix(absolute(s.DataDir), "/")+"-2"), quote(cookie), nextPort(n.Addr()), quote(n.Endpoint()), s.tlsFlags())
	}
	if len(s.Cookies) == 0 {
		return ""
	}
	return fmt.Sprintf(`
A second node: copy %s to the other machine first, as the file cookie
with mode 600, and there:
  muster serve --mgmt-bind 0.0.0.0:9113 --cluster-cookie-file cookie --cluster-join-endpoint %s%s
`, quote(cookie), quote(n.Endpoint()), s.tlsFlags())
}

// scheme is that of this node's own addresses.
func (s settings) scheme() string {
	if s.TLS.CertFile != "" {
		return "https"
	}
	return "http"
}

// tlsFlags are the flags of a second node with certificates like this one's.
func (s settings) tlsFlags() string {
	if s.TLS.CertFile == "" {
		return ""
	}
	line := " \\\n      --mgmt-tls-cert " + quote(absolute(s.TLS.CertFile)) + " --mgmt-tls-key " + quote(absolute(s.TLS.KeyFile))
	for _, ca := range s.TLS.CAFiles {
		line += " --mgmt-tls-ca " + quote(absolute(ca))
	}
	if auth := s.TLS.ClientAuth; auth != "" && auth != server.ClientAuthNone {
		line += " --mgmt-tls-client-auth " + auth
	}
	if s.TLS.ServerName != "" {
		line += " --mgmt-tls-server-name " + quote(s.TLS.ServerName)
	}
	return line
}

// reachable turns an address that is listened on into one to call from here.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func nextPort(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	n, err2 := strconv.Atoi(port)
	if err != nil || err2 != nil || n >= 65535 {
		return "127.0.0.1:0"
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

func absolute(path string) string {
	full, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return full
}

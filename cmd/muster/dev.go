package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/client"
)

// devFlags is what dev is told.
type devFlags struct {
	nodes, port int
	bind        string
	logLevel    string
}

// maxDevNodes bounds a cluster that is thrown away.
const maxDevNodes = 9

func (a *app) devCommand() *cobra.Command {
	d := &devFlags{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a throw-away cluster on this machine",
		Long: `Runs several nodes in this process, on loopback, with some live traffic, and
prints the address of the dashboard. Everything is removed on exit.`,
		Example: `  muster dev
  muster dev --nodes 5 --port 0                # on free ports`,
		Args: exactly(),
	}
	flags := cmd.Flags()
	flags.IntVar(&d.nodes, "nodes", 3, "run `N` nodes")
	flags.IntVar(&d.port, "port", muster.DefaultPort, "`PORT` of the first node, the others follow; 0 = free ports")
	flags.StringVar(&d.bind, "bind", "127.0.0.1", "loopback `ADDRESS`")
	flags.StringVar(&d.logLevel, "log-level", "error", "`LEVEL`: debug, info, warn or error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := d.check(); err != nil {
			return err
		}
		return a.dev(cmd.Context(), d)
	}
	return cmd
}

func (d *devFlags) check() error {
	switch {
	case d.nodes < 1 || d.nodes > maxDevNodes:
		return usage("--nodes %d: want 1 to %d", d.nodes, maxDevNodes)
	case d.port < 0 || d.port+d.nodes-1 > 65535:
		return usage("--port %d: want 0, or a port with room for %d nodes", d.port, d.nodes)
	case !loopback(net.JoinHostPort(d.bind, "0")):
		return usage("--bind %s: dev has a throw-away secret and stays on loopback", shown(d.bind)).
			WithFix("for a cluster that others reach: muster serve")
	}
	if err := oneOf("debug", "info", "warn", "error")(d.logLevel); err != nil {
		return usage("--log-level: %w", err)
	}
	return nil
}

// dev runs the nodes until ctx ends or one of them fails.
func (a *app) dev(ctx context.Context, d *devFlags) (err error) {
	dir, err := os.MkdirTemp("", "muster-dev-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() {
		if gone := os.RemoveAll(dir); err == nil {
			err = gone
		}
	}()
	cookie := filepath.Join(dir, cookieName)
	if err := writeCookie(cookie); err != nil {
		return fmt.Errorf("make a cookie: %w", err)
	}
	cookies, err := auth.LoadCookies([]string{cookie}, nil)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	nodes, err := a.startDev(ctx, group, d, settings{DataDir: dir, Cookies: cookies, cookieFiles: []string{cookie}})
	switch {
	case err != nil:
		group.Go(func() error { return err }) // stops those that run
	case len(nodes) == d.nodes: // else it was stopped while starting
		a.greetDev(nodes, dir)
		group.Go(func() error { return a.traffic(ctx, nodes, cookies) })
	}
	return group.Wait()
}

// startDev starts the nodes one after another; all but the first join the first.
func (a *app) startDev(ctx context.Context, group *errgroup.Group, d *devFlags, common settings) ([]node, error) {
	var nodes []node
	for i := range d.nodes {
		s := d.settings(common, i)
		if i > 0 {
			s.JoinEndpoints = []string{nodes[0].Endpoint()}
		}
		n, err := a.newNode(s, a.logger(s).With("node", s.NodeName))
		if err != nil {
			return nil, err
		}
		group.Go(func() error { return n.Run(ctx) })
		select {
		case <-ctx.Done():
			return nodes, nil // group.Wait has the reason
		case <-n.Started():
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// settings are those of the node at a position.
func (d *devFlags) settings(common settings, i int) settings {
	s := common
	s.NodeName = fmt.Sprintf("n%d", i+1)
	s.DataDir = filepath.Join(common.DataDir, s.NodeName)
	port := 0
	if d.port > 0 {
		port = d.port + i
	}
	s.Bind = net.JoinHostPort(d.bind, strconv.Itoa(port))
	s.ClusterName, s.Role, s.Zone = "dev", muster.RoleVoter, fmt.Sprintf("zone-%d", i%3+1)
	s.Formation, s.Profile, s.AuthAnonymous = "auto", "local", "status"
	s.Store = auth.NewSecret("auto")
	_ = s.LogLevel.UnmarshalText([]byte(d.logLevel)) // checked before
	return s
}

func (a *app) greetDev(nodes []node, dir string) {
	w := a.stdout
	_, _ = fmt.Fprintf(w, "%d nodes run in this process; Ctrl-C stops them and removes everything\n\n", len(nodes))
	for _, n := range nodes {
		_, _ = fmt.Fprintf(w, "  %-4s http://%s\n", n.Name(), n.Addr())
	}
	_, _ = fmt.Fprintf(w, "\ndashboard  %s\n", loginLink("http://"+nodes[0].Addr(), nodes[0].LoginCode()))
	_, _ = fmt.Fprintf(w, "try        muster status --addr http://%s --cluster-cookie-file %s\n", nodes[0].Addr(), quote(filepath.Join(dir, cookieName)))
	_, _ = fmt.Fprint(w, "\nThe same with real nodes:\n  muster cookie new --out cookie\n")
	for i, n := range nodes {
		_, _ = fmt.Fprint(w, "  "+serveLine(i, n.Addr(), nodes[0].Addr()))
	}
	_, _ = fmt.Fprintln(w)
}

// serveLine is the command that starts a node like the one of dev.
func serveLine(i int, addr, first string) string {
	line := fmt.Sprintf("muster serve --data-dir d%[1]d --mgmt-bind %[2]s --cluster-node-name n%[1]d --cluster-cookie-file cookie", i+1, addr)
	if i > 0 {
		line += " --cluster-join-endpoint http://" + first
	}
	return line + "\n"
}

// trafficPace is the time between two writes of the demonstration.
const trafficPace = 3 * time.Second

// traffic writes a document now and then, through each node in turn, so that
// there is something to see.
func (a *app) traffic(ctx context.Context, nodes []node, ring auth.Ring) error {
	for _, n := range nodes {
		select {
		case <-ctx.Done():
			return nil
		case <-n.Ready():
		}
	}
	a.sayDev(ctx, nodes)
	for round := 1; ; round++ {
		if err := pause(ctx, trafficPace); err != nil {
			return nil // the end of the demonstration
		}
		n := nodes[round%len(nodes)]
		if err := a.writeDemo(ctx, "http://"+n.Addr(), ring, round); err != nil && ctx.Err() == nil {
			_, _ = fmt.Fprintf(a.stderr, "demo write through %s: %v\n", n.Name(), err)
		}
	}
}

// settleTime is how long the members may take to agree that all is well.
const settleTime = 15 * time.Second

// sayDev tells when all nodes are healthy members, or how far they came.
func (a *app) sayDev(ctx context.Context, nodes []node) {
	s := nodes[0].Status()
	settled := func() bool { return s.ClusterHealth == muster.Healthy && s.HealthyMembers >= len(nodes) }
	for end := time.Now().Add(settleTime); !settled() && time.Now().Before(end); s = nodes[0].Status() {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return
		}
	}
	_, _ = fmt.Fprintf(a.stdout, "cluster %s is %s: %s\n", s.ClusterName, s.ClusterHealth, s.Summary)
}

func (a *app) writeDemo(ctx context.Context, addr string, ring auth.Ring, round int) error {
	token, err := ring.Issue(auth.Claims{Subject: "demo", Role: auth.RoleOperator, Expires: time.Now().Add(time.Minute)})
	if err != nil {
		return err
	}
	c, err := a.connect(access{addr: addr, token: auth.NewSecret(token)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	spec := json.RawMessage(fmt.Sprintf(`{"round":%d,"weight":%d}`, round, 10+round%90))
	_, err = set(ctx, c, client.Write{Kind: "route", Name: "demo-" + strconv.Itoa(round%5+1), Spec: spec, Reason: "demonstration"}, &change{ifRev: -1})
	return err
}

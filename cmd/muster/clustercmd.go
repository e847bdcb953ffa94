package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cluster",
		Short:   "Identity of the cluster: show it, form it, forget it",
		Example: `  muster cluster show`,
	}
	asGroup(cmd)
	cmd.AddCommand(a.clusterShowCommand(), a.clusterFormCommand(), a.clusterForgetCommand())
	return cmd
}

func (a *app) clusterShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Which cluster is this, and where is its configuration?",
		Example: `  muster cluster show
  muster cluster show -o json | jq -r .cluster_id`,
	}
	a.aboutCluster(cmd, func(ctx context.Context, c cluster) (muster.ClusterInfo, error) { return c.Cluster(ctx) })
	return cmd
}

func (a *app) clusterFormCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "form --force",
		Short: "Form a cluster on one node, without waiting for others",
		Long: `A node that was told to wait for others, by --bootstrap-expect or a join endpoint,
waits for ever if they never come. This lets it form a cluster alone; the others
join it later. It also breaks a promise that the node has given to another one.
It is refused if the node, or any node that it can reach with its cookie, belongs
to a cluster.`,
		Example: `  muster cluster form --force --addr http://127.0.0.1:9113`,
	}
	cmd.Flags().BoolVar(&force, "force", false, "required: whoever waits elsewhere is not asked")
	a.aboutCluster(cmd, func(ctx context.Context, c cluster) (muster.ClusterInfo, error) {
		if !force {
			return muster.ClusterInfo{}, usage("a node forms a cluster by itself once enough others are there").
				WithFix("muster status says what it waits for; if they will not come: muster cluster form --force")
		}
		return c.Form(ctx)
	})
	return cmd
}

// aboutCluster completes a command that ends with a description of the cluster.
func (a *app) aboutCluster(cmd *cobra.Command, ask func(context.Context, cluster) (muster.ClusterInfo, error)) {
	cmd.Args = exactly()
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		info, err := ask(ctx, c)
		if err != nil {
			return err
		}
		if err := a.show(*f, info, func(w io.Writer, _ bool) { clusterCard(w, info) }); err != nil {
			return err
		}
		if info.ID == "" {
			return no
		}
		return nil
	}
}

func clusterCard(w io.Writer, info muster.ClusterInfo) {
	var g grid
	g.row("cluster id", orDefault(string(info.ID), "none: not formed yet"))
	g.row("name", info.Name)
	g.row("size", fmt.Sprintf("%d on the member list, %d known", info.Size, info.Members))
	g.row("formation", formationOf(info))
	g.row("config store", info.Store)
	g.row("config home", home(info))
	g.row("epoch", strconv.FormatInt(info.Epoch, 10))
	g.row("cookies", strings.Join(info.Accepted, ", "))
	g.row("says", fmt.Sprintf("%s (%s)", info.LocalNode, info.NodeID.Short()))
	g.write(w)
}

// formationOf says in words where a node gets the identity of its cluster from.
func formationOf(info muster.ClusterInfo) string {
	switch info.Formation {
	case "alone":
		return "alone: nobody to join was named"
	case "promise":
		return fmt.Sprintf("promises of %d nodes (--bootstrap-expect)", info.Expect)
	case "store":
		return "one row in the shared database"
	case "none":
		return "none: this node only joins"
	}
	return info.Formation
}

func home(info muster.ClusterInfo) string {
	if info.HomeID == "" {
		return ""
	}
	return fmt.Sprintf("%s (%s)", info.HomeName, info.HomeID.Short())
}

func (a *app) clusterForgetCommand() *cobra.Command {
	dir, yes := "", false
	cmd := &cobra.Command{
		Use:   "forget --data-dir DIR",
		Short: "Let a stopped node belong to no cluster",
		Long: `Works on the data directory of a node that does not run. The node forgets its
cluster id, the members it knew, a promise it gave, a drain, and its copy of the
configuration or, if it was the config home, the configuration itself. It keeps
its node id, its name and its cookie. What it forgets is kept in a directory
forgotten-TIME beside. Without --yes it only says what it would do, and the exit
code is 3.

The cluster keeps the node on its member list until muster node remove.`,
		Example: `  muster cluster forget --data-dir /var/lib/muster
  muster cluster forget --data-dir /var/lib/muster --yes`,
		Args: exactly(),
	}
	cmd.Flags().StringVar(&dir, "data-dir", a.getenv("MUSTER_DATA_DIR"), "data directory `DIR` of the node ($MUSTER_DATA_DIR)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.RunE = func(*cobra.Command, []string) error {
		if dir == "" {
			return usage("no data directory is given").WithFix("name it: muster cluster forget --data-dir DIR")
		}
		f, err := server.Forget(dir, !yes)
		if err != nil {
			return err
		}
		forgetReport(a.stdout, f, dir)
		if !yes && forgettable(f) {
			_, _ = fmt.Fprintln(a.stderr, "nothing was changed; add --yes to do it")
			return no
		}
		return nil
	}
	return cmd
}

func forgettable(f server.Forgetting) bool { return f.Any() || len(f.Files) > 0 }

// forgetReport says what a node forgets or has forgotten.
func forgetReport(w io.Writer, f server.Forgetting, dir string) {
	if !forgettable(f) {
		_, _ = fmt.Fprintf(w, "%s (%s) belongs to no cluster; there is nothing to forget\n", cleaned(f.Name), f.ID.Short())
		return
	}
	verb := "would forget"
	if f.Backup != "" {
		verb = "has forgotten"
	}
	_, _ = fmt.Fprintf(w, "%s (%s) %s:\n", cleaned(f.Name), f.ID.Short(), verb)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, "  "+format+"\n", args...) }
	if f.Cluster.ID != "" {
		line("cluster %s", f.Cluster.ID)
	}
	if f.Peers > 0 {
		line("%d members of it", f.Peers)
	}
	if f.Promise.To != "" {
		line("the promise to let node %s form a cluster", f.Promise.To.Short())
	}
	if f.Drained {
		line("that it was drained")
	}
	if f.Cluster.ID != "" && f.Cluster.Store.Home == f.ID {
		line("the configuration of the cluster: this node is its home")
	}
	for _, name := range f.Files {
		line("%s", strings.TrimPrefix(strings.TrimPrefix(name, dir), "/"))
	}
	if f.Backup != "" {
		_, _ = fmt.Fprintf(w, "the state before, and the files, are in %s\n", f.Backup)
	}
}

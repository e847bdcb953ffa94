package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
)

func (a *app) leaseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease",
		Short: "Who holds which lease; let a holder step down",
		Long: `A lease lets one node at a time do something. The holder of the lease "leader"
leads the cluster. Leases are kept in the config store and end by its clock.`,
		Example: `  muster lease list
  muster lease release leader --reason "reboot"`,
	}
	asGroup(cmd)
	cmd.AddCommand(a.leaseListCommand(), a.leaseReleaseCommand())
	return cmd
}

func (a *app) leaseListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Who holds which lease, since when and for how long",
		Long: `Terms only grow: each holder has a higher one than all before it. EXPIRES is when
the lease would end if its holder died now.`,
		Example: `  muster lease list
  muster lease list -o json`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		list, err := c.Leases(ctx)
		if err != nil {
			return err
		}
		return a.show(*f, map[string]any{"leases": list}, func(w io.Writer, _ bool) { leaseTable(w, list) })
	}
	return cmd
}

func leaseTable(w io.Writer, list []muster.LeaseInfo) {
	if len(list) == 0 {
		_, _ = fmt.Fprintln(w, "no lease was ever taken")
		return
	}
	var g grid
	g.row("NAME", "HOLDER", "TERM", "SINCE", "EXPIRES")
	for _, l := range list {
		holder, since, expires := "-", "-", "free"
		if l.HolderID != "" {
			left := time.Duration(l.ExpiresIn * float64(time.Second))
			holder, since, expires = l.Holder, stamp(l.Since), "in "+left.Round(100*time.Millisecond).String()
		}
		g.row(l.Name, holder, fmt.Sprint(l.Term), since, expires)
	}
	g.write(w)
}

func (a *app) leaseReleaseCommand() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:   "release NAME",
		Short: "Let the holder of a lease step down",
		Long: `Any node passes the order on to the holder, which ends what it does under the
lease and frees it; another node takes it at once. The holder stays out of the way
for one lease time, so a node that is alone takes it again after that. To keep a
node from leading, drain it.`,
		Example: `  muster lease release leader --reason "reboot"`,
		Args:    exactly("NAME"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` that says why; logged by the holder")
	r := a.remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		return a.releaseLease(ctx, c, args[0], reason)
	}
	return cmd
}

func (a *app) releaseLease(ctx context.Context, c cluster, name, reason string) error {
	if err := c.ReleaseLease(ctx, name, reason); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stderr, "lease %s is released\n", cleaned(name))
	return err
}

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
)

// nodeCommand holds what is done to one member, by name or id, through any node.
func (a *app) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Look at one member, and steer it",
		Example: `  muster node show n3
  muster node drain n3 --reason "new kernel"`,
	}
	asGroup(cmd)
	cmd.AddCommand(
		a.nodeListCommand(), a.nodeShowCommand(),
		a.nodeDrainCommand(), a.nodeResumeCommand(), a.nodeRemoveCommand(),
		a.nodeReapCommand(), a.nodeExpelCommand(), a.nodeReadmitCommand(),
	)
	return cmd
}

// onMember makes a command that does something to the member that is named.
func (a *app) onMember(cmd *cobra.Command, do func(ctx context.Context, c cluster, name string) error) (r *remote) {
	cmd.Args = exactly("NODE")
	r = a.remoteFlags(cmd)
	cmd.ValidArgsFunction = a.completeMembers(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		return do(ctx, c, args[0])
	}
	return r
}

func (a *app) nodeShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NODE",
		Short: "Show all that is known of one member",
		Long:  `Shows what the node that is asked knows of one member, by name, id or the start of an id.`,
		Example: `  muster node show n3
  muster node show 4f1c -o json | jq -r .reason`,
	}
	f := outputFlag(cmd)
	a.onMember(cmd, func(ctx context.Context, c cluster, name string) error {
		m, err := c.Member(ctx, name)
		if err != nil {
			return err
		}
		return a.show(*f, m, func(w io.Writer, _ bool) { memberCard(w, m) })
	})
	return cmd
}

// memberCard shows one member with all its fields.
func memberCard(w io.Writer, m muster.Member) {
	var g grid
	g.row("name", m.Name)
	g.row("id", string(m.ID))
	g.row("state", fmt.Sprintf("%s for %s (since %s)", m.State, dash(age(m.Since)), dash(stamp(m.Since))))
	g.row("healthy", yesNo(m.Healthy))
	g.row("reason", m.Reason)
	g.row("endpoint", m.Endpoint)
	g.row("role", string(m.Role))
	g.row("region", m.Region)
	g.row("zone", m.Zone)
	g.row("tags", tagList(m.Tags))
	g.row("version", m.Version)
	g.row("boot", strconv.FormatUint(m.Boot.Counter, 10))
	g.row("round trip", rtt(m))
	g.row("revision", strconv.FormatInt(m.AppliedRevision, 10))
	g.row("found by", m.DiscoveredBy)
	g.row("this node", yesNo(m.Self))
	g.write(w)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

func (a *app) nodeDrainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Let a member take no new work",
		Long: `Any node passes the order on to the member. It stays a member, in the state
draining; its /ready answers 503, and keeps doing so after a restart, until it is
resumed. Who drained it and why is shown on every node.`,
		Example: `  muster node drain n3 --reason "new kernel"
  muster node drain n3 && ssh n3 systemctl restart muster && muster node resume n3`,
	}
	a.orderCommand(cmd, func(ctx context.Context, c cluster, name string, o client.Order) (muster.Member, error) {
		return c.Drain(ctx, name, o)
	})
	return cmd
}

func (a *app) nodeResumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "resume NODE",
		Short:   "Let a drained member take work again",
		Example: `  muster node resume n3`,
	}
	a.orderCommand(cmd, func(ctx context.Context, c cluster, name string, o client.Order) (muster.Member, error) {
		return c.Resume(ctx, name, o)
	})
	return cmd
}

// orderCommand completes a command that gives an order to a member, and shows what
// became of the member.
func (a *app) orderCommand(cmd *cobra.Command, give func(context.Context, cluster, string, client.Order) (muster.Member, error)) {
	o := client.Order{}
	flags := cmd.Flags()
	flags.StringVar(&o.Reason, "reason", "", "`TEXT` that says why; shown on every node")
	flags.DurationVar(&o.Wait, "wait", 5*time.Second, "wait up to this `DURATION` until the node that is asked sees it")
	f := outputFlag(cmd)
	r := a.onMember(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, o.Wait)
		if err != nil {
			return err
		}
		defer cancel()
		m, err := give(ctx, c, args[0], o)
		if err != nil {
			return err
		}
		return a.show(*f, m, func(w io.Writer, _ bool) { _, _ = fmt.Fprintln(w, sentence(m)) })
	}
}

// sentence says in one line how a member is.
func sentence(m muster.Member) string {
	line := cleaned(m.Name) + " is " + string(m.State)
	if m.Reason != "" {
		line += ": " + cleaned(m.Reason)
	}
	return line
}

func (a *app) nodeRemoveCommand() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a dead or left member off the list",
		Long: `Takes a member that will not come back off the durable member list, and lets
every node forget it: the cluster is one smaller. It is refused while the member
is alive or suspect; a live member goes for good with muster leave. A removed
node that comes back joins again.`,
		Example: `  muster node remove n3 --reason "disk failed"`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` that says why; kept among the events")
	a.onMember(cmd, func(ctx context.Context, c cluster, name string) error {
		if err := c.Remove(ctx, name, reason); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stderr, "%s is off the member list\n", cleaned(name))
		return err
	})
	return cmd
}

func (a *app) nodeReapCommand() *cobra.Command {
	dry := false
	cmd := &cobra.Command{
		Use:   "reap --dry-run",
		Short: "Which members would be taken off the list by their age?",
		Long: `Members that left, or are dead, are taken off the durable member list after a
while (serve --reap-left-after, --reap-dead-after): by one node, a minority of the
list in one sweep, and never while that node sees no majority healthy. This shows
what the next sweep would do, when and why, and changes nothing.`,
		Example: `  muster node reap --dry-run`,
		Args:    exactly(),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show; required, as nodes reap by themselves")
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !dry {
			return usage("nodes reap by themselves").WithFix("muster node reap --dry-run shows what they would do; muster node remove NODE takes one off now")
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		plan, err := c.Reapable(ctx)
		if err != nil {
			return err
		}
		return a.show(*f, plan, func(w io.Writer, _ bool) { reapTable(w, plan) })
	}
	return cmd
}

func reapTable(w io.Writer, plan muster.ReapPlan) {
	if len(plan.Members) == 0 {
		_, _ = fmt.Fprintf(w, "nobody to reap: all %d members on the list take part\n", plan.Size)
	} else {
		var g grid
		g.row("NAME", "STATE", "LAST-SEEN", "DUE", "NEXT-SWEEP", "REASON")
		for _, m := range plan.Members {
			due := stamp(m.Due)
			if m.Never {
				due = "never"
			}
			g.row(m.Name, string(m.State), stamp(m.SeenAt), due, yesNo(m.Next), m.Reason)
		}
		g.write(w)
	}
	if plan.Held != "" {
		_, _ = fmt.Fprintf(w, "nothing is reaped now: %s\n", cleaned(plan.Held))
		return
	}
	_, _ = fmt.Fprintf(w, "%s sweeps, at most %d of %d in one sweep\n", cleaned(plan.By), plan.Most, plan.Size)
}

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

// expulsion is the flags of node expel.
type expulsion struct {
	reason             string
	yes, force, rotate bool
}

func (a *app) nodeExpelCommand() *cobra.Command {
	x := &expulsion{}
	cmd := &cobra.Command{
		Use:   "expel NODE",
		Short: "Take a node out of the cluster for good",
		Long: `Every member drops its links with the node at once and takes it in no more with
its key. The node is told who expelled it, when and why, and ends with exit code
4; systemd should not start it again (RestartPreventExitStatus=4). It works while
the config store is down, too: then it counts for a day, and for good once the
store is back. Without --yes it only says what it would do, and the exit code is 3.

The machine still knows the cookie, and could come back as a new node. --rotate
also exchanges the cookie, as far as the cookie file on this machine is the one
that the members read: all the way where they share it; otherwise it adds a new
cookie here, says what is to be done elsewhere, and exits with code 3. It never
cuts off a live member; tokens signed with the old cookie end with it.

The config home is never expelled; the node that answers, and one without which
at most half of the rest is healthy, only with --force.`,
		Example: `  muster node expel n3 --reason "laptop stolen"
  muster node expel n3 --reason "laptop stolen" --yes --rotate --cluster-cookie-file cookie`,
	}
	flags := cmd.Flags()
	flags.StringVar(&x.reason, "reason", "", "`TEXT` that says why; the node is told, the history keeps it (required)")
	flags.BoolVar(&x.yes, "yes", false, "do it")
	flags.BoolVar(&x.force, "force", false, "also the node that answers, or one that a majority needs")
	flags.BoolVar(&x.rotate, "rotate", false, "exchange the cookie that the node knows")
	f := outputFlag(cmd)
	r := a.onMember(cmd, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if x.reason == "" {
			return usage("--reason is missing: the node is told why, and the history keeps it")
		}
		if x.rotate { // before anything is done
			if path, _ := a.cookiePath(r); path != "" {
				if _, err := readCookieFile(path); err != nil {
					return err
				}
			}
		}
		return a.expel(cmd.Context(), r, order{args[0], x, *f})
	}
	return cmd
}

// order is one call of node expel.
type order struct {
	name string
	*expulsion

	format format
}

func (a *app) expel(ctx context.Context, r *remote, o order) error {
	bounded, cancel, c, err := a.dial(ctx, r, 0)
	if err != nil {
		return err
	}
	defer cancel()
	if err := a.foretell(bounded, c, o); err != nil {
		return err
	}
	e, err := c.Expel(bounded, o.name, client.ExpelOrder{Reason: o.reason, Force: o.force})
	if err != nil {
		return err
	}
	if err := a.show(o.format, e, func(w io.Writer, _ bool) { expelReport(w, e) }); err != nil || !o.rotate {
		return err
	}
	return a.shutOut(ctx, r, e)
}

// foretell says what the order does, and stops there without --yes.
func (a *app) foretell(ctx context.Context, c cluster, o order) error {
	m, err := c.Member(ctx, o.name)
	switch {
	case muster.CodeOf(err) == muster.CodeNotFound && muster.NodeID(o.name).Valid():
		_, _ = fmt.Fprintf(a.stderr, "%s is no member; it will never be one\n", o.name)
	case err != nil:
		return err
	case m.Self:
		_, _ = fmt.Fprintf(a.stderr, "%s is the node that answers: it will stop, and %s will answer no more\n", cleaned(m.Name), cleaned(m.Endpoint))
	default:
		_, _ = fmt.Fprintf(a.stderr, "%s (%s) at %s is %s; it will stop, and not come back with its key\n",
			cleaned(m.Name), m.ID.Short(), orDefault(cleaned(m.Endpoint), "no address"), m.State)
	}
	if o.yes {
		return nil
	}
	_, _ = fmt.Fprintln(a.stderr, "nothing was changed; add --yes to do it")
	return no
}

func expelReport(w io.Writer, e muster.Expulsion) {
	_, _ = fmt.Fprintln(w, cleaned(e.Sentence()))
	if e.Provisional {
		_, _ = fmt.Fprintf(w, "the config store is down: it counts until %s, and for good once the store is back\n", e.Expires.UTC().Format(time.RFC3339))
	}
	_, _ = fmt.Fprintf(w, "to take it back: muster node readmit %s\n", e.NodeID)
}

func (a *app) nodeReadmitCommand() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:   "readmit NODE",
		Short: "Let an expelled node come back",
		Long: `Deletes the tombstone of a node, by node id or the name that it had. The node has
stopped: start it again afterwards.`,
		Example: `  muster node list --expelled
  muster node readmit n3 --reason "found behind the sofa"`,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` that says why; kept in the history")
	a.onMember(cmd, func(ctx context.Context, c cluster, name string) error {
		rev, err := c.Readmit(ctx, name, reason)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stderr, "%s is readmitted at revision %d; start it again\n", cleaned(name), rev)
		return err
	})
	return cmd
}

func (a *app) nodeListCommand() *cobra.Command {
	gone := false
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the members, or the expelled nodes",
		Long:  `Lists the members that were not expelled, or with --expelled the others: who expelled them, when and why.`,
		Example: `  muster node list
  muster node list --expelled`,
		Args: exactly(),
	}
	cmd.Flags().BoolVar(&gone, "expelled", false, "the expelled nodes")
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		members, err := c.Members(ctx)
		if err != nil {
			return err
		}
		result := struct {
			Members []muster.Member `json:"members"`
		}{Members: []muster.Member{}}
		for _, m := range members {
			if (m.State == muster.StateExpelled) == gone {
				result.Members = append(result.Members, m)
			}
		}
		return a.show(*f, result, func(w io.Writer, _ bool) { nodeTable(w, result.Members) })
	}
	return cmd
}

func nodeTable(w io.Writer, members []muster.Member) {
	var g grid
	g.row("NAME", "ID", "STATE", "SINCE", "REASON")
	for _, m := range members {
		g.row(m.Name, string(m.ID), stateOf(m), age(m.Since), m.Reason)
	}
	g.write(w)
}

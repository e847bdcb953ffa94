package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

func (a *app) membersCommand() *cobra.Command {
	var filter client.Filter
	var matrix bool
	cmd := &cobra.Command{
		Use:   "members",
		Short: "Who is in the cluster?",
		Long: `Lists the members as the node sees them. With --matrix it shows who sees whom:
a row for each observer, a column for each member, and below the links between
live members that do not work. The exit code is then 3 if there are any.`,
		Example: `  muster members
  muster members --matrix
  muster members -o wide --state dead,suspect
  muster members -o json | jq -r '.members[].endpoint'`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&filter.Region, "region", "", "only those in region `NAME`")
	flags.StringVar(&filter.Zone, "zone", "", "only those in zone `NAME`")
	flags.StringVar(&filter.Role, "role", "", "only those with `ROLE` voter or observer")
	flags.StringSliceVar(&filter.Tags, "tag", nil, "only those with a tag, `KEY` or KEY=VALUE (repeatable)")
	flags.StringSliceVar(&filter.States, "state", nil, "only those in `STATE` (repeatable)")
	flags.BoolVar(&matrix, "matrix", false, "show who sees whom")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if matrix && !filter.All() {
			return muster.Errorf(muster.CodeUsage, "--matrix shows all members: leave out --region, --zone, --role, --tag and --state")
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		if matrix {
			return a.showMatrix(ctx, c, *f)
		}
		members, err := c.MembersWhere(ctx, filter)
		if err != nil {
			return err
		}
		result := struct {
			Members []muster.Member `json:"members"`
		}{Members: members}
		return a.show(*f, result, func(w io.Writer, wide bool) { memberTable(w, members, wide) })
	}
	return cmd
}

func memberTable(w io.Writer, members []muster.Member, wide bool) {
	var g grid
	head := []string{"NAME", "STATE", "SINCE", "ENDPOINT", "ZONE", "RTT", "REVISION"}
	if wide {
		head = append(head, "ID", "REGION", "ROLE", "TAGS", "VERSION", "BOOT", "CLOCK", "FOUND-BY", "REASON")
	}
	g.row(head...)
	for _, m := range members {
		cells := []string{m.Name, stateOf(m), age(m.Since), m.Endpoint, m.Zone, rtt(m), strconv.FormatInt(m.AppliedRevision, 10)}
		if wide {
			cells = append(cells, string(m.ID), m.Region, string(m.Role), tagList(m.Tags), m.Version, strconv.FormatUint(m.Boot.Counter, 10), clock(m.ClockSkew), m.DiscoveredBy, m.Reason)
		}
		g.row(cells...)
	}
	g.write(w)
}

// stateOf marks a member that answers but is not well.
func stateOf(m muster.Member) string {
	if m.Flapping > 0 {
		return string(m.State) + ",flapping"
	}
	if m.State == muster.StateAlive && !m.Healthy {
		return string(m.State) + ",unhealthy"
	}
	return string(m.State)
}

func rtt(m muster.Member) string {
	if m.RTT == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fms", m.RTT)
}

func tagList(tags map[string]string) string {
	pairs := make([]string, 0, len(tags))
	for key, value := range tags {
		pairs = append(pairs, key+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func (a *app) whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why NAME",
		Short: "Why is a member in its state?",
		Long: `Shows what the node says of one member, by name or id, and the problems that
name it. The exit code is 0 if the member is healthy, else 3.`,
		Example: `  muster why n3`,
		Args:    exactly("NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.ValidArgsFunction = a.completeMembers(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		member, err := c.Member(ctx, args[0])
		if err != nil {
			return err
		}
		status, _, err := c.StatusWhen(ctx, client.When{})
		if err != nil {
			return err
		}
		result := explained{Member: member, Problems: problemsOf(member, status), Observer: status.LocalNode}
		if err := a.show(*f, result, func(w io.Writer, _ bool) { result.table(w) }); err != nil {
			return err
		}
		if !member.Healthy {
			return no
		}
		return nil
	}
	return cmd
}

// explained is a member with what is known about its state.
type explained struct {
	muster.Member

	Observer string           `json:"observer"` // the node that says so
	Problems []muster.Problem `json:"problems"`
}

// problemsOf picks the problems whose text names the member.
func problemsOf(m muster.Member, s muster.Status) []muster.Problem {
	found := []muster.Problem{}
	for _, p := range s.Problems {
		words := strings.FieldsFunc(p.Text, func(r rune) bool { return strings.ContainsRune(" ,;:()[]\"'", r) })
		if slices.Contains(words, m.Name) || slices.Contains(words, string(m.ID)) || slices.Contains(words, m.ID.Short()) {
			found = append(found, p)
		}
	}
	return found
}

func (e explained) table(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s is %s, says %s\n\n", cleaned(e.Name), verdictOf(e.Member), cleaned(e.Observer))
	var g grid
	g.row("state", fmt.Sprintf("%s for %s (since %s)", e.State, dash(age(e.Since)), dash(stamp(e.Since))))
	g.row("reason", e.Reason)
	if e.Flapping > 0 {
		g.row("flapping", fmt.Sprintf("%d deaths in the last minute", e.Flapping))
	}
	g.row("endpoint", e.Endpoint)
	g.row("round trip", rtt(e.Member))
	g.row("revision", strconv.FormatInt(e.AppliedRevision, 10))
	g.row("id", string(e.ID))
	g.row("boot", strconv.FormatUint(e.Boot.Counter, 10))
	g.row("version", e.Version)
	g.row("place", strings.Trim(e.Region+"/"+e.Zone, "/"))
	g.row("role", string(e.Role))
	g.row("tags", tagList(e.Tags))
	g.row("clock", clock(e.ClockSkew))
	g.write(w)
	observerTable(w, e.Observers)
	problemList(w, e.Problems)
}

func verdictOf(m muster.Member) string {
	if m.Healthy {
		return "healthy"
	}
	return "not healthy"
}

// completeMembers offers the names of the live cluster to the shell.
func (a *app) completeMembers(r *remote) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer cancel()
		members, _ := c.Members(ctx) // no names to offer is no fault
		names := make([]string, len(members))
		for i, m := range members {
			names[i] = m.Name
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

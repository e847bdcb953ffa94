package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

func (a *app) statusCommand() *cobra.Command {
	var q client.When
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How is the cluster?",
		Long: `Shows what a node says of its cluster. The exit code is 0 if the cluster is
HEALTHY, or with --expected if so many members are healthy; else 3.`,
		Example: `  muster status
  muster status --expected 3 --wait 30s        # until three members are healthy
  muster status -o json | jq .config.rev`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.Flags().IntVar(&q.Expected, "expected", 0, "ask for `N` healthy members instead of HEALTHY")
	cmd.Flags().DurationVar(&q.Wait, "wait", 0, "wait for it up to this `DURATION`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if q.Expected < 0 || q.Wait < 0 {
			return usage("--expected and --wait cannot be negative")
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, q.Wait)
		if err != nil {
			return err
		}
		defer cancel()
		status, good, err := waitForStatus(ctx, c, q)
		if err != nil {
			return err
		}
		if err := a.show(*f, status, func(w io.Writer, _ bool) { statusTable(w, status) }); err != nil {
			return err
		}
		if !good {
			return no
		}
		return nil
	}
	return cmd
}

// maxWait is the longest that a node holds an answer back.
const maxWait = 5 * time.Minute

// waitForStatus asks until the answer is yes or q.Wait is over. A node that does
// not answer yet may be starting, so that too is asked again.
func waitForStatus(ctx context.Context, c cluster, q client.When) (muster.Status, bool, error) {
	deadline := time.Now().Add(q.Wait)
	for first := true; ; first = false {
		ask := client.When{Expected: q.Expected}
		if !first {
			ask.Wait = min(time.Until(deadline), maxWait)
		}
		status, met, err := c.StatusWhen(ctx, ask)
		good := err == nil && met && (q.Expected > 0 || status.ClusterHealth == muster.Healthy)
		if good || err != nil && !temporary(err) || time.Until(deadline) <= 0 {
			return status, good, err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return status, false, err
		}
	}
}

func temporary(err error) bool {
	code := muster.CodeOf(err)
	return code == muster.CodePeerUnreachable || code == muster.CodeNotFormed || code == muster.CodeTooManyRequests ||
		errors.Is(err, context.DeadlineExceeded)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func statusTable(w io.Writer, s muster.Status) {
	summary := s.Summary
	if summary == "" {
		summary = fmt.Sprintf("%d of %d members healthy", s.HealthyMembers, max(s.ClusterSize, s.Members))
	}
	_, _ = fmt.Fprintf(w, "%s  %s\n\n", s.ClusterHealth, cleaned(summary))
	var g grid
	g.row("cluster", clusterLine(s))
	g.row("node", strings.Join(strings.Fields(fmt.Sprint(s.LocalNode, " ", s.NodeID, " ", s.State)), "  "))
	g.row("members", fmt.Sprintf("%d healthy, %d known, %d expected; can lose %d", s.HealthyMembers, s.Members, s.ClusterSize, s.Tolerates))
	if s.NodeID != "" { // a caller with a token
		g.row("config", configLine(s))
		g.row("store", storeLine(s.Store))
		g.row("version", fmt.Sprintf("%s, up %s", s.Version, span(time.Duration(s.Uptime*float64(time.Second)))))
	}
	for _, d := range s.Discovery {
		g.row("discovery", discoveryLine(d))
	}
	g.write(w)
	problemList(w, s.Problems)
}

func clusterLine(s muster.Status) string {
	if s.ClusterID == "" {
		return s.ClusterName + "  not formed"
	}
	return fmt.Sprintf("%s  %s", s.ClusterName, s.ClusterID)
}

func configLine(s muster.Status) string {
	if s.Config.Source == "" {
		return "no copy yet"
	}
	line := fmt.Sprintf("revision %d, epoch %d, chain %s, from %s", s.Config.Rev, s.Config.Epoch, s.Config.Chain.Short(), s.Config.Source)
	if len(s.Config.Behind) > 0 {
		line += "; behind: " + strings.Join(s.Config.Behind, ", ")
	}
	return line
}

func storeLine(s muster.StoreStatus) string {
	line := strings.TrimSpace(s.Kind + " " + s.State)
	if !s.Since.IsZero() {
		line += " for " + age(s.Since)
	}
	if s.LastError != "" {
		line += ": " + s.LastError
	}
	return line
}

func discoveryLine(d muster.DiscoveryStatus) string {
	if d.LastError != "" {
		return fmt.Sprintf("%s: %s", d.Method, d.LastError)
	}
	return fmt.Sprintf("%s: %d found %s ago", d.Method, d.Found, dash(age(d.At)))
}

func problemList(w io.Writer, problems []muster.Problem) {
	for _, p := range problems {
		_, _ = fmt.Fprintf(w, "\nproblem: %s [%s]\n", cleaned(orDefault(p.Text, titleOf(p.Code))), p.Code)
		if fix := orDefault(p.Fix, fixOf(p.Code)); fix != "" {
			_, _ = fmt.Fprintf(w, "    fix: %s\n", cleaned(fix))
		}
	}
}

func titleOf(code muster.Code) string {
	info, _ := code.Info()
	return info.Title
}

func fixOf(code muster.Code) string {
	info, _ := code.Info()
	return info.Fix
}

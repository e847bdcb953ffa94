package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

// patience is how long a write may wait for the members.
func (ch *change) patience() time.Duration {
	if ch.wait == "" || ch.wait == string(muster.WaitNone) {
		return 0
	}
	return ch.most
}

// write makes the write of the flags.
func (ch *change) write() client.Write {
	w := client.Write{Reason: ch.reason}
	if ch.patience() > 0 {
		w.Wait, w.WaitTime, w.Confirmed = muster.Wait(ch.wait), ch.most, &muster.Confirmation{}
	}
	return w
}

// waited is the exit code of a write that waited for members.
func waited(w client.Write) error {
	if w.Confirmed == nil || w.Confirmed.Met {
		return nil
	}
	return partial
}

// confirmationTable says who serves a write.
func confirmationTable(out io.Writer, w client.Write) {
	c := w.Confirmed
	if c == nil {
		return
	}
	size := len(c.Confirmed) + len(c.Lagging) + len(c.Dead)
	if c.Met {
		_, _ = fmt.Fprintf(out, "served by %d of %d members\n", len(c.Confirmed), size)
		return
	}
	_, _ = fmt.Fprintf(out, "it is durable, but served by %d of %d members only\n\n", len(c.Confirmed), size)
	var g grid
	g.row("MEMBER", "SERVES IT")
	for _, list := range []struct {
		names []string
		word  string
	}{{c.Lagging, "not yet"}, {c.Dead, "no: it is down"}, {c.Confirmed, "yes"}} {
		for _, name := range list.names {
			g.row(name, list.word)
		}
	}
	g.write(out)
}

func (a *app) configTraceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace REVISION",
		Short: "Show how a revision came to each member",
		Long: `Shows when each member began to serve a revision, and how it came there: written
by the member itself, pushed by the writer, or pulled from the store or a peer.
Delays count from the commit; the clocks of the members are compared on the way,
so they are approximate. Members remember their last thousand revisions. The exit
code is 9 if a member did not answer.`,
		Example: `  muster config trace 42
  muster config trace 42 -o json`,
		Args: exactly("REVISION"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		rev, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || rev < 1 {
			return usage("%q is no revision: want a whole number, 1 or more", shown(args[0]))
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		t, err := c.Trace(ctx, rev)
		if err != nil {
			return err
		}
		if err := a.show(*f, t, func(w io.Writer, _ bool) { traceText(w, t) }); err != nil {
			return err
		}
		if !t.Complete {
			return partial
		}
		return nil
	}
	return cmd
}

func traceText(w io.Writer, t muster.Trace) {
	_, _ = fmt.Fprintf(w, "revision %d", t.Rev)
	if c := t.Change; c != nil {
		verb := "written"
		if c.Op == muster.OpDelete {
			verb = "deleted"
		}
		_, _ = fmt.Fprintf(w, ": %s/%s %s by %s", cleaned(c.Kind), cleaned(c.Name), verb, cleaned(c.Actor))
	}
	_, _ = fmt.Fprintf(w, "\n\n")
	var g grid
	g.row("MEMBER", "AFTER", "WATERFALL", "HOW")
	for _, n := range t.Nodes {
		g.own(cleaned(n.Name), delayText(n), bar(n, t.Max), cleaned(n.Text))
	}
	g.write(w)
	_, _ = fmt.Fprintf(w, "\np50 %s, p99 %s, max %s since the commit, about\n", ms(t.P50), ms(t.P99), ms(t.Max))
	if t.Reference != "write" {
		_, _ = fmt.Fprintln(w, "no member remembers writing it: the commit is by the clock of the store, which may be off")
	}
	if len(t.Missing) > 0 {
		_, _ = fmt.Fprintf(w, "no answer from %s\n", cleaned(strings.Join(t.Missing, ", ")))
	}
}

func ms(value float64) string {
	return time.Duration(value * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

// delayText is a delay and how wrong it may be.
func delayText(n muster.TraceNode) string {
	if n.Delay == nil {
		return ""
	}
	if n.Error == 0 {
		return ms(*n.Delay)
	}
	return ms(*n.Delay) + " ±" + ms(n.Error)
}

// barWidth is the length of the longest bar of a waterfall.
const barWidth = 20

// bar is a delay as a line, in proportion to the longest one.
func bar(n muster.TraceNode, longest float64) string {
	if n.Delay == nil {
		return ""
	}
	length := 1
	if longest > 0 {
		length = max(1, int(*n.Delay/longest*barWidth))
	}
	return strings.Repeat("#", length)
}

func (a *app) configDriftCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "Compare what the members serve",
		Long: `Asks every member what it serves now, and compares. The exit code is 3 if anybody
serves something else, or does not answer.`,
		Example: `  muster config drift
  muster config drift -o wide                  # with chains and digests`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		d, err := c.Drift(ctx)
		if err != nil {
			return err
		}
		if err := a.show(*f, d, func(w io.Writer, wide bool) { driftTable(w, d, wide) }); err != nil {
			return err
		}
		if !d.Same {
			return no
		}
		return nil
	}
	return cmd
}

func driftTable(w io.Writer, d muster.Drift, wide bool) {
	_, _ = fmt.Fprintf(w, "%s\n\n", cleaned(d.Verdict))
	var g grid
	head := []string{"MEMBER", "STATE", "EPOCH", "REVISION", "DOCUMENTS", "FROM", "STORE", "DIFFERENCE"}
	if wide {
		head = append(head, "CHAIN", "DIGEST")
	}
	g.row(head...)
	for _, m := range d.Members {
		cells := []string{m.Name, string(m.State), "", "", "", "", "", m.Difference}
		if m.Answered {
			copy(cells[2:], []string{
				strconv.FormatInt(m.Position.Epoch, 10), strconv.FormatInt(m.Position.Rev, 10), strconv.Itoa(m.Documents), m.Source, m.Store,
			})
		}
		if wide && m.Answered {
			cells = append(cells, m.Position.Chain.Short(), m.Digest.Short())
		}
		g.row(cells...)
	}
	g.write(w)
}

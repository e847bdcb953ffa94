package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

func (a *app) eventsCommand() *cobra.Command {
	var q client.EventQuery
	var follow bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happened, and what happens?",
		Long: `Shows what a node has seen happen, or with --cluster what all members have,
in an order that puts causes before effects. Where events are lost, a line says
so. With --follow it goes on, also over restarts of the node, until Ctrl-C; as
JSON each event is then one line.

The exit code is 9 if the events of a member are missing, without --follow.`,
		Example: `  muster events --since 10m --kind member
  muster events --follow --cluster
  muster events --member n3 -o json | jq -r '.events[].text'`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with what happens, until Ctrl-C")
	flags.BoolVar(&q.Cluster, "cluster", false, "the events of all members, not of this node alone")
	flags.DurationVar(&q.Since, "since", 0, "only those not older than `DURATION`")
	flags.StringVar(&q.Kind, "kind", "", "only those of `KIND`, or that begin so: member for member.state")
	flags.StringVar(&q.Member, "member", "", "only those about the member `NAME`")
	_ = cmd.RegisterFlagCompletionFunc("member", a.completeMembers(r)) // the flag exists
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case q.Since < 0:
			return usage("--since cannot be negative")
		case follow && *f == formatYAML:
			return usage("--follow has no end, and YAML needs one").WithFix("use -o json: one event per line")
		case follow:
			t := &tail{app: a, remote: r, format: *f, query: q}
			return t.run(cmd.Context())
		}
		return a.listEvents(cmd.Context(), r, *f, q)
	}
	return cmd
}

// listEvents shows what has happened.
func (a *app) listEvents(ctx context.Context, r *remote, f format, q client.EventQuery) error {
	ctx, cancel, c, err := a.dial(ctx, r, 0)
	if err != nil {
		return err
	}
	defer cancel()
	page, err := c.EventPage(ctx, q)
	if err != nil {
		return err
	}
	if err := a.show(f, page, func(w io.Writer, wide bool) { eventTable(w, page, wide) }); err != nil {
		return err
	}
	if !page.Complete {
		_, _ = fmt.Fprintf(a.stderr, "missing: the events of %s\n", cleaned(strings.Join(page.Missing, ", ")))
		return partial
	}
	return nil
}

func eventTable(w io.Writer, page muster.EventPage, wide bool) {
	gaps := map[string][]muster.EventGap{} // by what they precede
	for _, g := range page.Gaps {
		gaps[g.Before] = append(gaps[g.Before], g)
	}
	for _, e := range page.Events {
		for _, g := range gaps[e.ID] {
			gapLine(w, g)
		}
		delete(gaps, e.ID)
		eventLine(w, e, wide)
	}
	for _, g := range page.Gaps { // before events that the filters have left out
		if gaps[g.Before] != nil {
			gapLine(w, g)
		}
	}
}

// eventLine has no head and fixed columns: lines come one by one.
func eventLine(w io.Writer, e muster.Event, wide bool) {
	if wide {
		_, _ = fmt.Fprintf(w, "%s  %-20s  ", e.Clock, cleaned(e.ID))
	}
	text := cleaned(e.Text)
	if e.Code != "" {
		text += " [" + cleaned(string(e.Code)) + "]"
	}
	_, _ = fmt.Fprintf(w, "%s  %-8s  %-14s  %s\n", e.At.UTC().Format("2006-01-02T15:04:05.000Z"), cleaned(e.NodeName), cleaned(string(e.Kind)), text)
}

func gapLine(w io.Writer, g muster.EventGap) {
	_, _ = fmt.Fprintf(w, "-- gap: %s (after %s)\n", cleaned(g.Text), cleaned(g.After))
}

const (
	// tailLife is how long one connection is used: its token must outlive it.
	tailLife = time.Hour
	// tailPause is the pause before the next try after a connection is lost.
	tailPause = 500 * time.Millisecond
)

// tail follows events over restarts of the node.
type tail struct {
	*app

	remote *remote
	format format
	query  client.EventQuery
	lost   bool // there is no connection, and the user knows
}

// run follows until the user has seen enough, or the node refuses.
func (t *tail) run(ctx context.Context) error {
	for {
		err := t.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, io.EOF) && !temporary(err):
			return err
		}
		t.say(err)
		if pause(ctx, tailPause) != nil {
			return nil
		}
	}
}

// say tells once that the connection is lost.
func (t *tail) say(err error) {
	if !t.lost && !errors.Is(err, context.DeadlineExceeded) { // an hour is over: nothing is wrong
		_, _ = fmt.Fprintf(t.stderr, "waiting for %s: %v\n", t.remote.addr, cmp.Or(err, io.EOF))
		t.lost = true
	}
}

// once follows over one connection.
func (t *tail) once(ctx context.Context) error {
	ctx, cancel, c, err := t.dial(ctx, t.remote, tailLife)
	if err != nil {
		return err
	}
	defer cancel()
	for n, err := range c.Events(ctx, t.query) {
		if err != nil {
			return err
		}
		if t.lost {
			_, _ = fmt.Fprintf(t.stderr, "%s is back\n", t.remote.addr)
			t.lost = false
		}
		t.query.After = n.Cursor
		if err := t.show(n); err != nil {
			return err
		}
	}
	return io.EOF
}

// show writes one notice. What is no event goes to standard error, unless it is a
// gap in a table: that belongs where it is.
func (t *tail) show(n client.Notice) error {
	switch {
	case n.Event != nil && t.format == formatJSON:
		return json.NewEncoder(t.stdout).Encode(n.Event)
	case n.Event != nil:
		eventLine(t.stdout, *n.Event, t.format == formatWide)
	case n.Gap != nil && t.format == formatJSON:
		gapLine(t.stderr, *n.Gap)
	case n.Gap != nil:
		gapLine(t.stdout, *n.Gap)
	case len(n.Missing) > 0:
		_, _ = fmt.Fprintf(t.stderr, "missing: the events of %s\n", cleaned(strings.Join(n.Missing, ", ")))
	case n.Missing != nil:
		_, _ = fmt.Fprintln(t.stderr, "the events of all members come again")
	}
	return nil
}

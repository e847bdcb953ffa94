package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/client"
)

func (a *app) configLogCommand() *cobra.Command {
	past := client.Past{}
	cmd := &cobra.Command{
		Use:   "log [KIND[/NAME]]",
		Short: "Who changed what, when and why?",
		Long: `Shows the history of the configuration, of one kind or of one document, newest
first. Where the change log no longer reaches back further, a line says so.`,
		Example: `  muster config log
  muster config log route/demo --limit 5
  muster config log -o json | jq -r '.revisions[].actor'`,
		Args: between(0, "KIND/NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.Flags().IntVar(&past.Limit, "limit", 20, "at most `N` revisions, up to 1000")
	cmd.Flags().Int64Var(&past.Before, "before", 0, "only revisions older than `N`")
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if past.Limit < 1 || past.Limit > 1000 || past.Before < 0 {
			return usage("--limit wants 1 to 1000, and --before a revision")
		}
		if err := namePast(&past, strings.Join(args, "")); err != nil {
			return err
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		list, err := c.Revisions(ctx, past)
		if err != nil {
			return err
		}
		return a.show(*f, list, func(w io.Writer, wide bool) { revisionTable(w, list, wide) })
	}
	return cmd
}

// namePast reads KIND or KIND/NAME, or nothing.
func namePast(past *client.Past, arg string) (err error) {
	if strings.Contains(arg, "/") {
		past.Kind, past.Name, err = splitName(arg)
		return err
	}
	past.Kind = arg
	if err := muster.CheckName(arg); arg != "" && err != nil {
		return usage("kind: %w", err)
	}
	return nil
}

func revisionTable(w io.Writer, list api.RevisionList, wide bool) {
	var g grid
	head := []string{"REVISION", "WHEN", "DOCUMENT", "WHAT", "BY", "REASON"}
	if wide {
		head = append(head, "AT", "NODE", "DIGEST")
	}
	g.row(head...)
	for _, c := range list.Revisions {
		cells := []string{strconv.FormatInt(c.Rev, 10), age(c.At), c.Kind + "/" + c.Name, deed(c), c.Actor, c.Reason}
		if wide {
			cells = append(cells, stamp(c.At), c.Node.Short(), c.Digest.Short())
		}
		g.row(cells...)
	}
	g.write(w)
	if n := len(list.Revisions); list.CompactedRev > 0 && list.Next == 0 && (n == 0 || list.Revisions[n-1].Rev > 1) {
		_, _ = fmt.Fprintf(w, "-- the log begins at revision %d; older ones are gone\n", list.CompactedRev+1)
	}
}

// deed says in one word what a change has done.
func deed(c muster.Change) string {
	switch {
	case c.Op == muster.OpDelete:
		return "deleted"
	case c.Generation == 1:
		return "created"
	}
	return "changed"
}

func (a *app) configDiffCommand() *cobra.Command {
	span := client.Span{}
	cmd := &cobra.Command{
		Use:   "diff KIND/NAME",
		Short: "What has changed in a document?",
		Long: `Compares a document at two revisions: before and after its last change, with
--from at that revision and now, or at any two. The exit code is 3 if they differ.`,
		Example: `  muster config diff route/demo
  muster config diff route/demo --from 3
  muster config diff route/demo --from 3 --to 7 -o json`,
		Args: exactly("KIND/NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.Flags().Int64Var(&span.From, "from", 0, "the older revision `N`; default: before the last change, or before --to")
	cmd.Flags().Int64Var(&span.To, "to", 0, "the newer revision `N`; default: now")
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if span.Kind, span.Name, err = splitName(args[0]); err != nil {
			return err
		}
		if span.From < 0 || span.To < 0 || cmd.Flags().Changed("from") && span.From == 0 || cmd.Flags().Changed("to") && span.To == 0 {
			return usage("--from and --to want a revision, 1 or more")
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		d, err := spanned(ctx, c, span)
		if err != nil {
			return err
		}
		if err := a.show(*f, d, func(w io.Writer, _ bool) { diffText(w, d) }); err != nil || d.Equal {
			return err
		}
		return no
	}
	return cmd
}

// spanned fills in what a span leaves open.
func spanned(ctx context.Context, c cluster, s client.Span) (api.DocumentDiff, error) {
	switch {
	case s.From == 0 && s.To > 0:
		return c.Diff(ctx, client.Span{Kind: s.Kind, Name: s.Name, From: s.To})
	case s.To > 0:
		return c.Diff(ctx, s)
	}
	list, err := c.Revisions(ctx, client.Past{Kind: s.Kind, Name: s.Name, Limit: 1})
	switch {
	case err != nil:
		return api.DocumentDiff{}, err
	case s.From > 0:
		s.To = list.Rev
		return c.Diff(ctx, s)
	case len(list.Revisions) == 0:
		return api.DocumentDiff{}, muster.Errorf(muster.CodeNotFound, "the log knows no change of %s/%s", s.Kind, s.Name)
	}
	return c.Diff(ctx, client.Span{From: list.Revisions[0].Rev})
}

func diffText(w io.Writer, d api.DocumentDiff) {
	if d.Equal {
		_, _ = fmt.Fprintf(w, "%s/%s is the same at revisions %d and %d\n", d.Kind, d.Name, d.From.At, d.To.At)
		return
	}
	sideLine(w, "---", d, d.From)
	sideLine(w, "+++", d, d.To)
	unified(w, lineEdits(specLines(d.From), specLines(d.To)))
}

func sideLine(w io.Writer, mark string, d api.DocumentDiff, side api.DocumentAt) {
	what := "there is none"
	if side.Exists {
		what = fmt.Sprintf("written at %d by %s", side.Rev, cleaned(side.UpdatedBy))
	} else if side.Rev > 0 {
		what = fmt.Sprintf("deleted at %d by %s", side.Rev, cleaned(side.UpdatedBy))
	}
	if side.Reason != "" {
		what += ": " + cleaned(side.Reason)
	}
	_, _ = fmt.Fprintf(w, "%s %s/%s at revision %d (%s)\n", mark, d.Kind, d.Name, side.At, what)
}

// specLines is a specification, indented.
func specLines(side api.DocumentAt) []string {
	if !side.Exists {
		return nil
	}
	return lines(indented(side.Spec))
}

// indented is JSON for people, with numbers and texts as they are written.
func indented(spec json.RawMessage) string {
	var out bytes.Buffer
	if err := json.Indent(&out, spec, "", "  "); err != nil {
		return string(spec)
	}
	return out.String()
}

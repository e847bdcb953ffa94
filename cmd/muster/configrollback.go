package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/client"
)

func (a *app) configRollbackCommand() *cobra.Command {
	ch, back := &change{}, client.Rollback{}
	cmd := &cobra.Command{
		Use:   "rollback KIND/NAME --to N",
		Short: "Restore a document as it was at a revision",
		Long: `Writes a document again as it was at a revision. The history stays as it is: this
is a new revision. Where there was no such document, it is deleted. A write that
comes between makes it fail with exit code 6.`,
		Example: `  muster config rollback route/demo --to 3 --dry-run
  muster config rollback route/demo --to 3 --reason "the new weights were wrong"`,
		Args: exactly("KIND/NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	ch.register(cmd)
	cmd.Flags().Int64Var(&back.To, "to", 0, "the revision `N` at which it was as it should be")
	cmd.Flags().BoolVar(&back.DryRun, "dry-run", false, "show what would change, and write nothing")
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if back.Kind, back.Name, err = splitName(args[0]); err != nil {
			return err
		}
		if back.To < 1 {
			return usage("--to wants a revision, 1 or more").WithFix("muster config log %s lists them", args[0])
		}
		if err := ch.check(cmd); err != nil {
			return err
		}
		back.Reason = ch.reason
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		return a.rollBack(ctx, c, rollback{back, ch, *f})
	}
	return cmd
}

// rollback is one rollback as the user wants it.
type rollback struct {
	client.Rollback

	change *change
	format format
}

func (a *app) rollBack(ctx context.Context, c cluster, b rollback) error {
	var out api.ConfigOutcome
	var d api.DocumentDiff
	err := b.change.retry(func() (err error) {
		if b.Expect, err = b.change.expect(ctx, c, b.Kind, b.Name); err != nil {
			return err
		}
		if b.DryRun {
			if d, err = fromNow(ctx, c, b.Rollback); err != nil {
				return err
			}
		}
		out, err = c.Rollback(ctx, b.Rollback)
		return err
	})
	if err != nil {
		return err
	}
	return a.show(b.format, out, func(w io.Writer, _ bool) {
		if b.DryRun && !d.Equal {
			diffText(w, d)
		}
		outcomeText(w, out)
	})
}

// fromNow is what a rollback would change.
func fromNow(ctx context.Context, c cluster, b client.Rollback) (api.DocumentDiff, error) {
	list, err := c.Revisions(ctx, client.Past{Limit: 1})
	if err != nil {
		return api.DocumentDiff{}, err
	}
	return c.Diff(ctx, client.Span{Kind: b.Kind, Name: b.Name, From: max(list.Rev, 1), To: b.To})
}

// outcomeText says what became of each document.
func outcomeText(w io.Writer, out api.ConfigOutcome) {
	for _, item := range out.Items {
		name := item.Kind + "/" + item.Name
		switch {
		case item.Outcome == unchanged:
			_, _ = fmt.Fprintf(w, "%s unchanged\n", name)
		case out.DryRun:
			_, _ = fmt.Fprintf(w, "%s would be %s\n", name, item.Outcome)
		default:
			_, _ = fmt.Fprintf(w, "%s %s, revision %d\n", name, item.Outcome, item.Rev)
		}
	}
}

// unchanged is the outcome of a document that is as it should be.
const unchanged = "unchanged"

// raced says how to go on when somebody else wrote first.
func raced(err error, again string) error {
	if e, ok := asConflict(err); ok {
		return e.WithFix("somebody else wrote meanwhile; %s", again)
	}
	return err
}

func asConflict(err error) (*muster.Error, bool) {
	if muster.CodeOf(err) != muster.CodeConflict {
		return nil, false
	}
	return errorOf(err)
}

func errorOf(err error) (*muster.Error, bool) { return errors.AsType[*muster.Error](err) }

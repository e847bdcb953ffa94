package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

// watchWait is how long one question of a watch may be held back.
const watchWait = 30 * time.Second

func (a *app) configWatchCommand() *cobra.Command {
	w := &configWatch{app: a}
	cmd := &cobra.Command{
		Use:   "watch [KIND]",
		Short: "Follow the changes of the configuration",
		Long: `Shows every change as it happens, each revision once and in order, until Ctrl-C,
also over restarts of the node; as JSON one change a line, with its specification.
Where the log no longer holds what was missed, a line on standard error says so.`,
		Example: `  muster config watch
  muster config watch route --after 41 -o json`,
		Args: between(0, "KIND"),
	}
	w.remote = a.remoteFlags(cmd)
	f := outputFlag(cmd)
	cmd.Flags().Int64Var(&w.after, "after", -1, "begin with what came after revision `N`; default: now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w.format, w.kind = *f, strings.Join(args, "")
		switch {
		case w.kind != "" && muster.CheckName(w.kind) != nil:
			return usage("kind: %w", muster.CheckName(w.kind))
		case w.after < 0 && cmd.Flags().Changed("after"):
			return usage("--after wants a revision, 0 or more")
		case w.format == formatYAML:
			return usage("a watch has no end, and YAML needs one").WithFix("use -o json: one change per line")
		}
		return w.run(cmd.Context())
	}
	return cmd
}

// configWatch follows the configuration over restarts of the node.
type configWatch struct {
	*app

	remote *remote
	format format
	kind   string
	after  int64 // the last revision that was shown; -1: not known yet
	lost   bool  // there is no connection, and the user knows
}

// run follows until the user has seen enough, or the node refuses.
func (w *configWatch) run(ctx context.Context) error {
	for {
		err := w.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			w.back()
			continue
		case muster.CodeOf(err) == muster.CodeCompacted:
			if err = w.skip(ctx); err == nil {
				continue
			}
		}
		if !passing(err) {
			return err
		}
		if !w.lost {
			_, _ = fmt.Fprintf(w.stderr, "waiting for %s: %v\n", w.remote.addr, err)
			w.lost = true
		}
		if pause(ctx, tailPause) != nil {
			return nil
		}
	}
}

// passing reports whether an error may go away by itself.
func passing(err error) bool {
	switch muster.CodeOf(err) {
	case muster.CodeStoreUnavailable, muster.CodeConfigHomeDown, muster.CodeNotSynced, muster.CodeTimeout, muster.CodeDraining:
		return true
	}
	return temporary(err)
}

func (w *configWatch) back() {
	if w.lost {
		_, _ = fmt.Fprintf(w.stderr, "%s is back\n", w.remote.addr)
		w.lost = false
	}
}

// once asks one question and shows what comes.
func (w *configWatch) once(ctx context.Context) error {
	ctx, cancel, c, err := w.dial(ctx, w.remote, watchWait)
	if err != nil {
		return err
	}
	defer cancel()
	if w.after < 0 {
		status, _, err := c.StatusWhen(ctx, client.When{})
		if err != nil {
			return err
		}
		w.after = status.Config.Rev
	}
	changes, err := c.Changes(ctx, w.after, watchWait)
	if err != nil {
		return err
	}
	for _, change := range changes {
		if err := w.show(change); err != nil {
			return err
		}
		w.after = change.Rev
	}
	return nil
}

// skip goes on where the log begins.
func (w *configWatch) skip(ctx context.Context) error {
	ctx, cancel, c, err := w.dial(ctx, w.remote, 0)
	if err != nil {
		return err
	}
	defer cancel()
	list, err := c.Revisions(ctx, client.Past{Limit: 1})
	if err != nil {
		return err
	}
	if list.CompactedRev <= w.after {
		return errors.New("the node does not say where its log begins")
	}
	_, _ = fmt.Fprintf(w.stderr, "-- gap: revisions %d to %d are gone from the log; read the documents again\n", w.after+1, list.CompactedRev)
	w.after = list.CompactedRev
	return nil
}

func (w *configWatch) show(c muster.Change) error {
	if w.kind != "" && w.kind != c.Kind {
		return nil
	}
	if w.format == formatJSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetEscapeHTML(false) // the specification as it was written
		return enc.Encode(c)
	}
	text := fmt.Sprintf("%s  %-6d  %s/%s %s by %s", c.At.UTC().Format("2006-01-02T15:04:05.000Z"), c.Rev, c.Kind, c.Name, deed(c), c.Actor)
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	if w.format == formatWide && c.Op == muster.OpPut {
		text += "  " + string(c.Spec)
	}
	_, err := fmt.Fprintln(w.stdout, cleaned(text))
	return err
}

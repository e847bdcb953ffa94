package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Read and write the cluster's configuration",
		Example: `  muster config list
  muster config set route/demo '{"weight":10}' --reason first`,
	}
	asGroup(cmd)
	cmd.AddCommand(a.configGetCommand(), a.configSetCommand(), a.configListCommand(), a.configDeleteCommand(), a.configEditCommand(),
		a.configApplyCommand(), a.configLogCommand(), a.configDiffCommand(), a.configRollbackCommand(), a.configWatchCommand(), a.configTraceCommand(), a.configDriftCommand())
	return cmd
}

func (a *app) configGetCommand() *cobra.Command {
	raw := false
	cmd := &cobra.Command{
		Use:   "get KIND/NAME",
		Short: "Show a document",
		Example: `  muster config get route/demo
  muster config get route/demo -o json         # with its envelope, as the API has it
  muster config get route/demo --raw > demo.json
  muster config get route/demo --min-rev 42    # not before this node has revision 42`,
		Args: exactly("KIND/NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "only the specification, as it is stored")
	r.minRevFlag(cmd)
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, name, err := splitName(args[0])
		if err != nil {
			return err
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		doc, err := c.ConfigGet(ctx, kind, name)
		if err != nil {
			return err
		}
		if raw {
			_, err = fmt.Fprintf(a.stdout, "%s\n", doc.Spec)
			return err
		}
		return a.show(*f, doc, func(w io.Writer, _ bool) { documentText(w, doc) })
	}
	return cmd
}

func (a *app) configListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [KIND]",
		Short: "List documents",
		Example: `  muster config list
  muster config list route -o wide`,
		Args: between(0, "KIND"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	r.minRevFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind := strings.Join(args, "")
		if kind != "" && muster.CheckName(kind) != nil {
			return usage("kind: %w", muster.CheckName(kind))
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		docs, rev, err := c.ConfigList(ctx, kind)
		if err != nil {
			return err
		}
		result := struct {
			Items []muster.Document `json:"items"`
			Rev   int64             `json:"rev"`
		}{append([]muster.Document{}, docs...), rev}
		return a.show(*f, result, func(w io.Writer, wide bool) { documentTable(w, docs, wide) })
	}
	return cmd
}

// change is the flags of the commands that write.
type change struct {
	reason string
	ifRev  int64
	force  bool
	wait   string
	most   time.Duration // for --wait
}

func (ch *change) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&ch.reason, "reason", "", "why, as a `TEXT` that is kept in the history")
	flags.Int64Var(&ch.ifRev, "if-rev", -1, "only if the document is at revision `N`; 0 = only if there is none")
	flags.BoolVar(&ch.force, "force", false, "whatever is there now")
	flags.StringVar(&ch.wait, "wait", "", "until `WHO` serves it: all members, a quorum of them, or none; exit code 9 if they do not in time")
	flags.DurationVar(&ch.most, "wait-time", 5*time.Second, "give up --wait after this `DURATION`, in whole seconds")
	_ = cmd.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]string{"all", "quorum", "none"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

func (ch *change) check(cmd *cobra.Command) error {
	if ch.force && cmd.Flags().Changed("if-rev") {
		return usage("--force and --if-rev contradict each other")
	}
	if cmd.Flags().Changed("if-rev") && ch.ifRev < 0 {
		return usage("--if-rev %d: want 0 or a revision", ch.ifRev)
	}
	if !slices.Contains([]string{"", string(muster.WaitNone), string(muster.WaitQuorum), string(muster.WaitAll)}, ch.wait) {
		return usage("--wait %q: want all, quorum or none", shown(ch.wait))
	}
	if cmd.Flags().Changed("wait-time") && ch.patience() == 0 {
		return usage("--wait-time says nothing without --wait all or --wait quorum")
	}
	if ch.patience() > 0 && (ch.most < time.Second || ch.most%time.Second != 0) {
		return usage("--wait-time %s: want whole seconds, 1s or more", ch.most)
	}
	return nil
}

// expect finds the revision that the write replaces: the given one, or the one
// that is there now.
func (ch *change) expect(ctx context.Context, c cluster, kind, name string) (int64, error) {
	if ch.ifRev >= 0 {
		return ch.ifRev, nil
	}
	doc, err := c.ConfigGet(ctx, kind, name)
	switch {
	case errors.Is(err, &muster.Error{Code: muster.CodeNotFound}):
		return 0, nil
	case err != nil:
		return 0, err
	case ch.force:
		return client.Any, nil
	}
	return doc.Rev, nil
}

// maxForce is how often a forced write is tried while others create and delete
// the same document.
const maxForce = 5

func (a *app) configSetCommand() *cobra.Command {
	ch := &change{}
	cmd := &cobra.Command{
		Use:   "set KIND/NAME VALUE|@FILE|-",
		Short: "Create or replace a document",
		Long: `Writes a document, a JSON value given as an argument, in a file or on standard
input. It is created if there is none, else it replaces the revision that is
there when the command starts: a write that comes between makes it fail with exit
code 6 instead of being overwritten.`,
		Example: `  muster config set route/demo '{"weight":10}' --reason "first try"
  muster config set route/demo @demo.json
  jq .weight=20 demo.json | muster config set route/demo -
  muster config set route/demo '{"weight":30}' --if-rev 7
  muster config set route/demo '{"weight":40}' --wait all   # exit 9 if somebody lags`,
		Args: exactly("KIND/NAME", "VALUE, @FILE or -"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	ch.register(cmd)
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := ch.write()
		var err error
		if w.Kind, w.Name, err = splitName(args[0]); err != nil {
			return err
		}
		if err := ch.check(cmd); err != nil {
			return err
		}
		if w.Spec, err = a.readSpec(args[1]); err != nil {
			return err
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, ch.patience())
		if err != nil {
			return err
		}
		defer cancel()
		doc, err := set(ctx, c, w, ch)
		if err != nil {
			return err
		}
		var result any = doc
		if w.Confirmed != nil {
			result = struct {
				muster.Document
				Wait *muster.Confirmation `json:"wait"`
			}{doc, w.Confirmed}
		}
		err = a.show(*f, result, func(out io.Writer, _ bool) {
			_, _ = fmt.Fprintf(out, "%s/%s is at revision %d\n", doc.Kind, doc.Name, doc.Rev)
			confirmationTable(out, w)
		})
		return errors.Join(err, waited(w))
	}
	return cmd
}

func set(ctx context.Context, c cluster, w client.Write, ch *change) (doc muster.Document, err error) {
	err = ch.retry(func() error {
		if w.Expect, err = ch.expect(ctx, c, w.Kind, w.Name); err != nil {
			return err
		}
		doc, err = c.ConfigPut(ctx, w)
		return err
	})
	return doc, err
}

func (a *app) configDeleteCommand() *cobra.Command {
	ch := &change{}
	cmd := &cobra.Command{
		Use:   "delete KIND/NAME",
		Short: "Delete a document",
		Example: `  muster config delete route/demo --reason "not used any more"
  muster config delete route/demo --if-rev 7`,
		Args: exactly("KIND/NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	ch.register(cmd)
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := ch.write()
		var err error
		if w.Kind, w.Name, err = splitName(args[0]); err != nil {
			return err
		}
		if err := ch.check(cmd); err != nil {
			return err
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, ch.patience())
		if err != nil {
			return err
		}
		defer cancel()
		rev, err := remove(ctx, c, w, ch)
		if err != nil {
			return err
		}
		result := struct {
			Rev  int64                `json:"rev"`
			Wait *muster.Confirmation `json:"wait,omitempty"`
		}{rev, w.Confirmed}
		err = a.show(*f, result, func(out io.Writer, _ bool) {
			_, _ = fmt.Fprintf(out, "%s/%s was deleted at revision %d\n", w.Kind, w.Name, rev)
			confirmationTable(out, w)
		})
		return errors.Join(err, waited(w))
	}
	return cmd
}

func remove(ctx context.Context, c cluster, w client.Write, ch *change) (rev int64, err error) {
	err = ch.retry(func() error {
		if w.Expect, err = ch.expect(ctx, c, w.Kind, w.Name); err != nil {
			return err
		}
		if w.Expect == 0 {
			return muster.Errorf(muster.CodeNotFound, "there is no %s/%s", w.Kind, w.Name)
		}
		rev, err = c.ConfigDelete(ctx, w)
		return err
	})
	return rev, err
}

// retry runs a write. A forced one runs again if the document came or went
// between the look and the write.
func (ch *change) retry(do func() error) error {
	var err error
	for range maxForce {
		err = do()
		if !ch.force || !errors.Is(err, &muster.Error{Code: muster.CodeConflict}) {
			break
		}
	}
	return conflictAdvice(err)
}

// conflictAdvice says how to go on after a conflict in words of this command line;
// the node's own speak of headers.
func conflictAdvice(err error) error {
	e, ok := errors.AsType[*muster.Error](err)
	if !ok || e.Code != muster.CodeConflict {
		return err
	}
	conflict, ok := errors.AsType[*client.Conflict](err)
	if !ok || conflict.Current == nil {
		return e.WithFix("look at it with muster config get, and write again")
	}
	d := conflict.Current
	return e.WithFix("muster config get %s/%s shows what %s wrote; to replace that, repeat with --if-rev %d", d.Kind, d.Name, cleaned(d.UpdatedBy), d.Rev)
}

// readSpec takes a specification from an argument, a file or standard input.
func (a *app) readSpec(arg string) (json.RawMessage, error) {
	raw := []byte(arg)
	var err error
	switch {
	case arg == "-":
		raw, err = io.ReadAll(io.LimitReader(a.stdin, 4*muster.MaxSpec))
	case strings.HasPrefix(arg, "@"):
		raw, err = os.ReadFile(arg[1:])
	}
	if err != nil {
		return nil, usage("read the value: %w", err)
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, muster.Errorf(muster.CodeBadDocument, "the value is not JSON: %w", err).
			WithFix(`quote it for the shell, as in '{"weight":10}'; a text is written '"text"'; nothing was sent`)
	}
	return raw, nil
}

func splitName(arg string) (kind, name string, err error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok {
		return "", "", usage("%q is not KIND/NAME, as in route/demo", shown(arg))
	}
	if err := errors.Join(muster.CheckName(kind), muster.CheckName(name)); err != nil {
		return "", "", usage("%w", err)
	}
	return kind, name, nil
}

func documentTable(w io.Writer, docs []muster.Document, wide bool) {
	var g grid
	head := []string{"KIND", "NAME", "REVISION", "GENERATION", "UPDATED", "BY"}
	if wide {
		head = append(head, "REASON", "SPEC")
	}
	g.row(head...)
	for _, d := range docs {
		cells := []string{d.Kind, d.Name, strconv.FormatInt(d.Rev, 10), strconv.FormatInt(d.Generation, 10), age(d.UpdatedAt), d.UpdatedBy}
		if wide {
			cells = append(cells, d.Reason, muster.Printable(string(d.Spec)))
		}
		g.row(cells...)
	}
	g.write(w)
}

func documentText(w io.Writer, d muster.Document) {
	documentTable(w, []muster.Document{d}, false)
	if d.Reason != "" {
		_, _ = fmt.Fprintf(w, "reason: %s\n", cleaned(d.Reason))
	}
	spec, err := json.MarshalIndent(d.Spec, "", "  ")
	if err != nil {
		spec = d.Spec
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", spec)
}

// completeDocuments offers the documents of the live cluster to the shell.
func (a *app) completeDocuments(r *remote) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer cancel()
		docs, _, _ := c.ConfigList(ctx, "") // no names to offer is no fault
		names := make([]string, len(docs))
		for i, d := range docs {
			names[i] = d.Kind + "/" + d.Name
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

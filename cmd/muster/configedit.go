package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
	"github.com/musterhq/muster/config"
)

func (a *app) configEditCommand() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use:   "edit KIND/NAME",
		Short: "Change a document in your editor",
		Long: `Opens a document in $VISUAL or $EDITOR and writes it when the editor ends. If it
has changed meanwhile, or what you wrote is not acceptable, nothing is written and
your file stays where the message says. A document that does not exist is created.`,
		Example: `  muster config edit route/demo --reason "less weight"
  EDITOR="code --wait" muster config edit route/demo`,
		Args: exactly("KIND/NAME"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, as a `TEXT` that is kept in the history")
	cmd.ValidArgsFunction = a.completeDocuments(r)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w := client.Write{Reason: reason}
		var err error
		if w.Kind, w.Name, err = splitName(args[0]); err != nil {
			return err
		}
		doc, err := a.editDocument(cmd.Context(), r, w)
		if err != nil {
			return err
		}
		return a.show(*f, doc, func(out io.Writer, _ bool) {
			_, _ = fmt.Fprintf(out, "%s/%s is at revision %d\n", doc.Kind, doc.Name, doc.Rev)
		})
	}
	return cmd
}

// editDocument takes a document through the editor. Each call of the node has a time limit
// of its own: people think for long.
func (a *app) editDocument(ctx context.Context, r *remote, w client.Write) (muster.Document, error) {
	before, err := a.fetched(ctx, r, w)
	if err != nil {
		return before, err
	}
	file, err := a.throughEditor(ctx, indented(before.Spec)+"\n")
	if err != nil {
		return before, err
	}
	doc, err := a.writeEdited(ctx, r, edition{w, before, file})
	if err != nil {
		_, _ = fmt.Fprintf(a.stderr, "nothing was written; your text is in %s\n", file)
		return doc, err
	}
	return doc, os.Remove(file)
}

// fetched returns the present document; one that does not exist is an empty object of
// revision 0.
func (a *app) fetched(ctx context.Context, r *remote, w client.Write) (muster.Document, error) {
	ctx, cancel, c, err := a.dial(ctx, r, 0)
	if err != nil {
		return muster.Document{}, err
	}
	defer cancel()
	doc, err := c.ConfigGet(ctx, w.Kind, w.Name)
	if errors.Is(err, &muster.Error{Code: muster.CodeNotFound}) {
		return muster.Document{Kind: w.Kind, Name: w.Name, Spec: []byte("{}")}, nil
	}
	return doc, err
}

// edition is a document on its way through the editor.
type edition struct {
	write  client.Write
	before muster.Document
	file   string
}

func (a *app) writeEdited(ctx context.Context, r *remote, e edition) (muster.Document, error) {
	raw, err := os.ReadFile(e.file)
	if err != nil {
		return e.before, usage("read what you wrote: %w", err)
	}
	again := fmt.Sprintf("correct it, then: muster config set %s/%s @%s --if-rev %d", e.write.Kind, e.write.Name, quote(e.file), e.before.Rev)
	if e.write.Spec, err = config.Canonical(raw); err != nil {
		if bad, ok := errorOf(err); ok {
			err = bad.WithFix("%s", again)
		}
		return e.before, err
	}
	if e.before.Rev > 0 && bytes.Equal(e.write.Spec, e.before.Spec) {
		_, _ = fmt.Fprintln(a.stderr, "nothing has changed")
		return e.before, nil
	}
	ctx, cancel, c, err := a.dial(ctx, r, 0)
	if err != nil {
		return e.before, err
	}
	defer cancel()
	e.write.Expect = e.before.Rev
	doc, err := c.ConfigPut(ctx, e.write)
	return doc, conflictAdvice(err)
}

// throughEditor lets the user change a text and returns the file that holds it.
func (a *app) throughEditor(ctx context.Context, text string) (string, error) {
	editor := strings.Fields(orDefault(a.getenv("VISUAL"), orDefault(a.getenv("EDITOR"), "vi")))
	if len(editor) == 0 {
		return "", usage("$VISUAL and $EDITOR name no program")
	}
	f, err := os.CreateTemp("", "muster-*.json") // readable by its owner only
	if err != nil {
		return "", fmt.Errorf("make a file for the editor: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write the file for the editor: %w", err)
	}
	cmd := exec.CommandContext(ctx, editor[0], append(editor[1:], f.Name())...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = a.stdin, a.stdout, a.stderr, a.env
	if err := cmd.Run(); err != nil {
		return "", muster.Errorf(muster.CodeUsage, "the editor %s: %w", shown(editor[0]), err).
			WithFix("set $EDITOR to a program that ends with 0 when you are done; your text is in %s", f.Name())
	}
	return f.Name(), nil
}

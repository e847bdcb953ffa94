package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keys",
		Short:   "Exchange the cookie of a running cluster",
		Example: `  muster keys status`,
	}
	asGroup(cmd)
	cmd.AddCommand(a.keysStatusCommand(), a.keysRotateCommand(), a.keysAbortCommand())
	return cmd
}

func (a *app) keysStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Which cookies do the members accept?",
		Long: `Asks all live members which cookies they accept, and says who lacks one and what
comes next. Cookies are shown by their key ids. The exit code is 0 if all live
members accept the same cookies and dial with the same one; else 3.`,
		Example: `  muster keys status
  muster keys status -o json | jq -r '.nodes[].accepted[]' | sort -u`,
		Args: exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		nodes, err := a.askKeys(cmd.Context(), r)
		if err != nil {
			return err
		}
		result := struct {
			Nodes []muster.NodeKeys `json:"nodes"`
		}{nodes}
		if err := a.show(*f, result, func(w io.Writer, wide bool) { keysTable(w, nodes, wide) }); err != nil {
			return err
		}
		if len(uneven(nodes)) > 0 {
			return no
		}
		return nil
	}
	return cmd
}

func (a *app) askKeys(ctx context.Context, r *remote) ([]muster.NodeKeys, error) {
	ctx, cancel, c, err := a.dial(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return c.Keys(ctx)
}

func keysTable(w io.Writer, nodes []muster.NodeKeys, wide bool) {
	var g grid
	g.row("NAME", "STATE", "DIALS-WITH", "ALSO-ACCEPTS", "LINKS", "TOKENS")
	for _, n := range nodes {
		first, rest := "", []string(nil)
		if len(n.Accepted) > 0 {
			first, rest = n.Accepted[0], n.Accepted[1:]
		}
		g.row(n.Name, string(n.State), first, strings.Join(rest, ","), linkSummary(n, wide), tokenSummary(n))
	}
	g.write(w)
	for _, line := range uneven(nodes) {
		_, _ = fmt.Fprintln(w, cleaned(line))
	}
	for _, n := range silent(nodes) {
		_, _ = fmt.Fprintf(w, "%s cannot say: %s\n", cleaned(n.Name), cleaned(n.Error))
	}
	_, _ = fmt.Fprintf(w, "\nnext: %s\n", nextStep(nodes))
}

// linkSummary counts the links under each cookie, or names them.
func linkSummary(n muster.NodeKeys, wide bool) string {
	var parts []string
	counts := map[string]int{}
	for _, l := range n.Links {
		if counts[l.KID]++; counts[l.KID] == 1 {
			parts = append(parts, l.KID)
		}
		if wide {
			counts[l.KID] = 0
			parts = append(parts[:len(parts)-1], l.Peer+"/"+l.Channel+"="+l.KID)
		}
	}
	for i, kid := range parts {
		if counts[kid] > 0 {
			parts[i] = fmt.Sprintf("%s=%d", kid, counts[kid])
		}
	}
	return strings.Join(parts, ",")
}

func tokenSummary(n muster.NodeKeys) string {
	var parts []string
	for _, t := range n.Tokens {
		parts = append(parts, fmt.Sprintf("%s=%d", t.KID, t.Count))
	}
	return strings.Join(parts, ",")
}

// rotation is what keys rotate is told; one of the first five.
type rotation struct {
	add, first, drop      string
	checkFirst, checkDrop string
	force                 bool
}

func (a *app) keysRotateCommand() *cobra.Command {
	k := &rotation{}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Take the next step of an exchange on this machine",
		Long: `The exchange of a cookie has three steps, each on every machine before the next:

  --add FILE   accept the cookie in FILE too
  --first KID  dial and sign with that cookie
  --drop KID   accept the old cookie no more

Each edits the cookie file of the node on this machine, which the node reads again
within a second. --first and --drop are refused, with exit code 3, while a live
member would lose its connections, or a program that showed its token within the
last 24 hours its access; --force does it anyway. --check-first and --check-drop
only ask. Without a step it says which one is next. To go back: muster keys abort.`,
		Example: `  muster cookie new --out new-cookie           # once; copy it to every machine
  muster keys rotate --add new-cookie --cluster-cookie-file cookie
  muster keys rotate --check-drop 41c0aa17`,
		Args: exactly(),
	}
	r, flags := a.remoteFlags(cmd), cmd.Flags()
	flags.StringVar(&k.add, "add", "", "append the cookie in `FILE` to this machine's cookie file")
	flags.StringVar(&k.first, "first", "", "put the cookie with this `KID` first in this machine's cookie file")
	flags.StringVar(&k.drop, "drop", "", "take the cookie with this `KID` out of this machine's cookie file")
	flags.StringVar(&k.checkFirst, "check-first", "", "ask whether all live members accept the cookie with this `KID`")
	flags.StringVar(&k.checkDrop, "check-drop", "", "ask who still needs the cookie with this `KID`")
	flags.BoolVar(&k.force, "force", false, "with --first or --drop: whoever is cut off")
	cmd.MarkFlagsMutuallyExclusive("add", "first", "drop", "check-first", "check-drop")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if k.force && k.first == "" && k.drop == "" {
			return usage("--force has no effect without --first or --drop")
		}
		return a.rotate(cmd.Context(), r, k)
	}
	return cmd
}

func (a *app) rotate(ctx context.Context, r *remote, k *rotation) error {
	path, _ := a.cookiePath(r)
	if k.add != "" {
		kid, err := addCookie(path, k.add)
		return a.edited(err, "%s now holds %s too; the same on every other machine, then: muster keys rotate --first %s", path, kid, kid)
	}
	if !k.force {
		nodes, err := a.askKeys(ctx, r)
		if err != nil {
			return err
		}
		if done, err := a.check(nodes, k); done || err != nil {
			return err
		}
	}
	if k.first != "" {
		return a.edited(firstCookie(path, k.first), "%s is the first cookie in %s; the same on every other machine", k.first, path)
	}
	return a.edited(dropCookie(path, k.drop), "%s is no more in %s; the same on every other machine", k.drop, path)
}

// check answers the questions, and reports whether there is nothing more to do.
func (a *app) check(nodes []muster.NodeKeys, k *rotation) (done bool, err error) {
	first, drop := k.first+k.checkFirst, k.drop+k.checkDrop
	var against []string
	switch {
	case first != "":
		against = againstFirst(nodes, first)
	case drop != "":
		against = againstDrop(nodes, drop)
	default:
		_, err := fmt.Fprintf(a.stdout, "next: %s\n", nextStep(nodes))
		return true, err
	}
	for _, n := range silent(nodes) {
		a.tellSilent(n, "the new cookie file")
	}
	if len(against) > 0 {
		return true, a.refuse(against)
	}
	if k.checkFirst != "" || k.checkDrop != "" {
		_, err = fmt.Fprintln(a.stdout, "no live member is against it")
		return true, err
	}
	return false, nil
}

// edited says what became of the cookie file.
func (a *app) edited(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stderr, format+"\n", args...)
	return err
}

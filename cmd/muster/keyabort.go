package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
)

func (a *app) keysAbortCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "abort KID",
		Short: "Undo an exchange that is half way, on this machine",
		Long: `Takes the new cookie, the one with this KID, out of use again. It undoes on this
machine the last step of muster keys rotate that was done here:

  after --first KID  the former cookie is made the first one again
  after --add FILE   the cookie KID is taken out of the cookie file

Run it on every machine, and where it says so once more after that. It changes
nothing, with exit code 3, while a live member would lose its connections by it,
or a program that showed its token within the last 24 hours its access; --force
does it anyway. Where the former cookie stands alone there is nothing to undo.
Once a member has dropped the former cookie, the way back is an exchange of its
own: there, muster keys rotate --add FILE with the former cookie.`,
		Example: `  muster keys status
  muster keys abort 7f3a90c2
  muster keys abort 7f3a90c2 --cluster-cookie-file cookie`,
		Args: exactly("KID"),
	}
	r := a.remoteFlags(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "whoever is cut off")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.abort(cmd.Context(), r, args[0], force)
	}
	return cmd
}

// abort takes back the last step that brought a cookie into use on this machine.
func (a *app) abort(ctx context.Context, r *remote, kid string, force bool) error {
	path, _ := a.cookiePath(r)
	f, err := readCookieFile(path)
	if err != nil {
		return err
	}
	i := slices.Index(f.kids, kid)
	switch {
	case i < 0 && len(f.kids) == 1:
		return a.edited(nil, "nothing to undo: %s holds %s alone", path, f.kids[0])
	case i < 0:
		return usage("%s holds no cookie %s but %s", path, muster.Printable(kid), strings.Join(f.kids, ", ")).WithFix("muster keys status shows which one is new")
	case len(f.kids) == 1:
		return usage("%s is the only cookie in %s: its exchange is over here", kid, path).
			WithFix("to go back, exchange again: muster keys rotate --add FILE with the former cookie")
	}
	if !force {
		against, err := a.againstAbort(ctx, r, f, i)
		if err != nil {
			return err
		}
		if len(against) > 0 {
			return a.refuse(against)
		}
	}
	if i > 0 {
		return a.edited(dropCookie(path, kid), "%s is no more in %s; the same on every other machine", kid, path)
	}
	former := f.kids[1]
	return a.edited(firstCookie(path, former), "%s is first again in %s; the same on every other machine, then here once more: muster keys abort %s", former, path, kid)
}

// againstAbort says who is against the step back that the i-th cookie of the file
// asks for, and tells of members that cannot be asked.
func (a *app) againstAbort(ctx context.Context, r *remote, f *cookieFile, i int) ([]string, error) {
	nodes, err := a.askKeys(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, n := range silent(nodes) {
		a.tellSilent(n, "a cookie file with the former cookie first")
	}
	if i > 0 {
		return againstDrop(nodes, f.kids[i]), nil
	}
	return againstFirst(nodes, f.kids[1]), nil
}

// tellSilent says what a member that cannot be asked needs before it comes back.
func (a *app) tellSilent(n muster.NodeKeys, needs string) {
	_, _ = fmt.Fprintf(a.stderr, "%s cannot say: %s; it needs %s before it comes back\n", cleaned(n.Name), cleaned(n.Error), needs)
}

// refuse lists what speaks against a step, as the answer "no".
func (a *app) refuse(against []string) error {
	for _, line := range against {
		_, _ = fmt.Fprintln(a.stdout, cleaned(line))
	}
	return no
}

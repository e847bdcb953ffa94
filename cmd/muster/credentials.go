package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func (a *app) cookieCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cookie",
		Short:   "Make the secret of a cluster",
		Example: `  muster cookie new --out cookie`,
	}
	asGroup(cmd)
	cmd.AddCommand(a.cookieNewCommand())
	return cmd
}

func (a *app) cookieNewCommand() *cobra.Command {
	var (
		out       string
		ifMissing bool
	)
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a cookie",
		Long: `Makes the secret that all nodes of a cluster share, and prints it or writes it to
a file that only its owner can read. Whoever holds it is an operator.`,
		Example: `  muster cookie new --out cookie
  muster cookie new > cookie; chmod 600 cookie`,
		Args: exactly(),
	}
	cmd.Flags().StringVar(&out, "out", "", "write to `FILE`, mode 0600, instead of standard output")
	cmd.Flags().BoolVar(&ifMissing, "if-missing", false, "with --out: leave a file that is there alone")
	cmd.RunE = func(*cobra.Command, []string) error {
		if ifMissing && out == "" {
			return usage("--if-missing has no effect without --out")
		}
		if out == "" {
			_, err := fmt.Fprintln(a.stdout, auth.NewCookie().Reveal())
			return err
		}
		return a.newCookieFile(out, ifMissing)
	}
	return cmd
}

func (a *app) newCookieFile(path string, ifMissing bool) error {
	err := writeCookie(path)
	there := errors.Is(err, fs.ErrExist)
	switch {
	case there && !ifMissing:
		return usage("%s exists already and stays as it is", path).
			WithFix("choose another file; a cookie that is in use must not be lost")
	case err != nil && !there:
		return usage("write the cookie: %w", err).WithFix("choose a file in a directory that you may write to")
	}
	cookies, err := auth.LoadCookies([]string{path}, nil)
	if err != nil {
		return err
	}
	word := "wrote a new cookie to"
	if there {
		word = "there is a cookie in"
	}
	_, err = fmt.Fprintf(a.stderr, "%s %s (key id %s)\n", word, path, cookies[0].KID())
	return err
}

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make and revoke tokens of people and programs",
		Example: `  muster token create --role viewer --ttl 1h
  muster token revoke --sub grafana`,
	}
	asGroup(cmd)
	cmd.AddCommand(a.tokenCreateCommand(), a.tokenRevokeCommand(), a.tokenListCommand())
	return cmd
}

// tokenFlags is what token create is told.
type tokenFlags struct {
	role, ttl, subject, cluster string
	cookieFiles                 []string
}

func (a *app) tokenCreateCommand() *cobra.Command {
	t := &tokenFlags{}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token from the cookie, without a node",
		Long: `Signs a token with the cluster's cookie and prints it, and nothing else. Roles:
viewer reads; app also takes limits and reports traffic; operator also writes
configuration and drains nodes; admin may do everything.`,
		Example: `  muster token create --role admin --ttl 1h --cluster-cookie-file cookie
  T=$(muster token create --role viewer --ttl 30d --subject grafana)
  curl -H "Authorization: Bearer $T" 127.0.0.1:9113/cluster/members`,
		Args: exactly(),
	}
	flags := cmd.Flags()
	flags.StringVar(&t.role, "role", string(auth.RoleViewer), "`ROLE`: viewer, app, operator or admin")
	flags.StringVar(&t.ttl, "ttl", "1h", "how long it is good, a `DURATION` of at most 366d")
	flags.StringVar(&t.subject, "subject", "", "`NAME` of who will use it; stands in the history (default: you)")
	flags.StringVar(&t.cluster, "cluster-id", "", "good in the cluster with this `ID` only")
	flags.StringSliceVar(&t.cookieFiles, "cluster-cookie-file", nil, "`FILE` with the cookie; - for standard input (default ./muster-data/cookie)")
	cmd.RunE = func(*cobra.Command, []string) error {
		token, err := a.createToken(t)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, token)
		return err
	}
	return cmd
}

func (a *app) createToken(t *tokenFlags) (string, error) {
	life, err := parseDuration(t.ttl)
	if err != nil {
		return "", usage("--ttl: %w", err)
	}
	files := t.cookieFiles
	if len(files) == 0 {
		files = commas(a.getenv("MUSTER_CLUSTER_COOKIE_FILE"))
	}
	if len(files) == 0 {
		files = []string{filepath.Join(orDefault(a.getenv("MUSTER_DATA_DIR"), "muster-data"), cookieName)}
	}
	cookies, err := auth.LoadCookies(files, a.stdin)
	if err != nil {
		return "", err
	}
	return auth.Ring(cookies).Issue(auth.Claims{
		Subject: orDefault(t.subject, a.user()), Role: auth.Role(strings.ToLower(t.role)),
		Cluster: muster.ClusterID(t.cluster), Expires: time.Now().Add(life),
	})
}

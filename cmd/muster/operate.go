package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) leaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Let a node leave the cluster for good",
		Long: `Tells the node to say good-bye, to be taken off the durable member list, and to
stop. To stop a node for a while, send it SIGTERM instead: then the others expect
it back.`,
		Example: `  muster leave --addr http://127.0.0.1:9114`,
		Args:    exactly(),
	}
	r := a.remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		if err := c.Leave(ctx); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stderr, "the node at %s has left the cluster and stops\n", r.addr)
		return err
	}
	return cmd
}

func (a *app) uiCommand() *cobra.Command {
	open := false
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Open the dashboard, signed in",
		Long: `Asks the node for a login code and prints the address that opens its dashboard
with it. The code works once, for ten minutes, with the role of your token.`,
		Example: `  muster ui
  muster ui --open`,
		Args: exactly(),
	}
	r := a.remoteFlags(cmd)
	cmd.Flags().BoolVar(&open, "open", false, "open it in the browser too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		code, err := c.LoginCode(ctx)
		if err != nil {
			return err
		}
		addr, err := endpoint(r.addr)
		if err != nil {
			return err
		}
		link := loginLink(addr, code.Code)
		if _, err := fmt.Fprintln(a.stdout, link); err != nil || !open {
			return err
		}
		return a.browse(ctx, link)
	}
	return cmd
}

// loginLink puts the code into the fragment, which browsers keep to themselves.
func loginLink(addr, code string) string {
	return strings.TrimSuffix(addr, "/") + "/ui/#/login?code=" + code
}

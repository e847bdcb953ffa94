package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/client"
)

// revocation is the flags of token revoke.
type revocation struct {
	subject, before, reason string
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	rv := &revocation{}
	cmd := &cobra.Command{
		Use:   "revoke [ID]",
		Short: "Make tokens worthless, on all nodes",
		Long: `Revokes the token with an id (jti, as it stands behind the slash in the history),
all tokens of a bearer, or all made before a time; several of them together revoke
what fits each. Sessions that were opened with a token end with it, and so do
open streams. It is a document of kind token-deny; deleting that takes it back.`,
		Example: `  muster token revoke 8959955c-b4b6-4a4b-9839-46797f539b82 --reason "laptop lost"
  muster token revoke --sub grafana
  muster token revoke --issued-before 2030-01-31T12:00:00Z`,
		Args: between(0, "ID"),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&rv.subject, "sub", "", "tokens of the bearer with this `NAME`")
	flags.StringVar(&rv.before, "issued-before", "", "tokens made before this `TIME`, as in 2030-01-31T12:00:00Z, or now")
	flags.StringVar(&rv.reason, "reason", "", "why, as a `TEXT` that is kept in the history")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w, err := rv.write(strings.Join(args, ""))
		if err != nil {
			return err
		}
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		doc, err := set(ctx, c, w, &change{ifRev: -1})
		if err != nil {
			return err
		}
		return a.show(*f, doc, func(out io.Writer, _ bool) {
			_, _ = fmt.Fprintf(out, "revoked at revision %d (%s/%s)\n", doc.Rev, doc.Kind, doc.Name)
		})
	}
	return cmd
}

// write makes the document, checked as the node will check it.
func (rv *revocation) write(id string) (client.Write, error) {
	d := auth.Denial{ID: id, Subject: rv.subject}
	var err error
	switch rv.before {
	case "":
	case "now":
		d.IssuedBefore = time.Now().UTC().Truncate(time.Second).Add(time.Second) // tokens carry whole seconds
	default:
		if d.IssuedBefore, err = time.Parse(time.RFC3339, rv.before); err != nil {
			return client.Write{}, usage("--issued-before %q: want a time such as 2030-01-31T12:00:00Z, or now", shown(rv.before))
		}
	}
	if d == (auth.Denial{}) {
		return client.Write{}, usage("nothing to revoke: name a token id, --sub or --issued-before")
	}
	spec, err := json.Marshal(d)
	if err != nil {
		return client.Write{}, err
	}
	if _, err := auth.ParseDenial(spec); err != nil {
		return client.Write{}, usage("%w", err)
	}
	return client.Write{Kind: auth.DenyKind, Name: d.Name(), Spec: spec, Reason: rv.reason}, nil
}

// revoked is one entry of token list.
type revoked struct {
	auth.Denial

	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

func (a *app) tokenListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the revoked tokens",
		Long: `Lists what was revoked. Tokens that are good are written down nowhere: whoever
holds the cookie can make one.`,
		Example: `  muster token list`,
		Args:    exactly(),
	}
	r, f := a.remoteFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel, c, err := a.dial(cmd.Context(), r, 0)
		if err != nil {
			return err
		}
		defer cancel()
		docs, _, err := c.ConfigList(ctx, auth.DenyKind)
		if err != nil {
			return err
		}
		result := struct {
			Revoked []revoked `json:"revoked"`
		}{revocations(docs)}
		return a.show(*f, result, func(w io.Writer, _ bool) { revokedTable(w, result.Revoked) })
	}
	return cmd
}

func revocations(docs []muster.Document) []revoked {
	list := make([]revoked, 0, len(docs))
	for _, doc := range docs {
		e := revoked{Name: doc.Name, At: doc.UpdatedAt, By: doc.UpdatedBy, Reason: doc.Reason}
		_ = json.Unmarshal(doc.Spec, &e.Denial) // what does not fit denies nobody and shows as nothing
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b revoked) int { return a.At.Compare(b.At) })
	return list
}

func revokedTable(w io.Writer, list []revoked) {
	g := &grid{}
	g.row("ID", "SUBJECT", "ISSUED BEFORE", "REVOKED", "BY", "REASON")
	for _, e := range list {
		before := ""
		if !e.IssuedBefore.IsZero() {
			before = e.IssuedBefore.UTC().Format(time.RFC3339)
		}
		g.row(dash(e.ID), dash(e.Subject), dash(before), age(e.At), e.By, dash(e.Reason))
	}
	g.write(w)
}

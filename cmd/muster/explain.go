package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [CODE]",
		Short: "What does an error code mean?",
		Long: `Explains a code as it stands in errors, problems, conditions and logs: why it
happens and what to do. Without a code it lists them all.`,
		Example: `  muster explain cookie-mismatch
  muster explain`,
		Args:      between(0, "CODE"),
		ValidArgs: codeNames(),
	}
	f := outputFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return a.show(*f, muster.Codes(), codeTable)
		}
		info, ok := muster.Code(args[0]).Info()
		if !ok {
			e := muster.Errorf(muster.CodeNotFound, "there is no code %q", shown(args[0]))
			if near := nearest(args[0], codeNames()); near != "" {
				return e.WithFix("did you mean %s?", near)
			}
			return e.WithFix("muster explain lists all codes")
		}
		return a.show(*f, info, func(w io.Writer, _ bool) { codeText(w, info) })
	}
	return cmd
}

func codeNames() []string {
	var names []string
	for _, info := range muster.Codes() {
		names = append(names, string(info.Code))
	}
	return names
}

func codeTable(w io.Writer, wide bool) {
	var g grid
	head := []string{"CODE", "HTTP", "EXIT", "TITLE"}
	if wide {
		head = append(head, "FIX")
	}
	g.own(head...)
	for _, info := range muster.Codes() {
		cells := []string{string(info.Code), httpStatus(info), strconv.Itoa(info.Exit), info.Title}
		if wide {
			cells = append(cells, info.Fix)
		}
		g.own(cells...)
	}
	g.write(w)
}

func codeText(w io.Writer, info muster.CodeInfo) {
	_, _ = fmt.Fprintf(w, "%s: %s\n\n", info.Code, info.Title)
	var g grid
	if info.Why != "" {
		g.own("why", info.Why)
		g.own("fix", info.Fix)
	}
	g.own("http", httpStatus(info))
	g.own("exit", strconv.Itoa(info.Exit))
	g.write(w)
}

// httpStatus shows the status, or nothing for codes that answer no request.
func httpStatus(info muster.CodeInfo) string {
	if info.Status == 0 {
		return ""
	}
	return strconv.Itoa(info.Status)
}

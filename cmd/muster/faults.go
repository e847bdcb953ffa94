package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/musterhq/muster"
)

// verdict is the answer "no" of a command that has said everything already. It
// only sets the exit code.
type verdict int

// no is the exit code of "no", "differs", "degraded" and "not yet".
const no verdict = 3

// partial is the exit code of an answer that some members did not give.
const partial verdict = 9

// interrupted is the exit code after the user's Ctrl-C, as shells count it.
const interrupted = 130

// Error names the exit code; it is never shown.
func (v verdict) Error() string { return fmt.Sprintf("exit code %d", int(v)) }

// report shows the error of a command on standard error, each fault with its fix,
// and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if v, ok := errors.AsType[verdict](err); ok {
		return int(v)
	}
	if errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(a.stderr, "error: interrupted")
		return interrupted
	}
	faults := flatten(err)
	for i, fault := range faults {
		what, advice := describe(cmd, fault)
		if i+1 < len(faults) {
			if _, next := describe(cmd, faults[i+1]); next == advice {
				advice = "" // once, after the last fault that it fits
			}
		}
		_, _ = fmt.Fprint(a.stderr, what, advice)
	}
	return exitCode(faults[0])
}

// describe renders one fault: what happened; and what to do and where to read
// more, if that is known.
func describe(cmd *cobra.Command, err error) (what, advice string) {
	e, ok := errors.AsType[*muster.Error](err)
	if !ok {
		return fmt.Sprintf("error: %v\n", err), ""
	}
	what = "error: " + indent(strings.TrimSuffix(err.Error(), " ["+string(e.Code)+"]")) + "\n"
	if fix := fixHere(cmd, e); fix != "" {
		advice = "  fix: " + indent(fix) + "\n"
	}
	return what, advice + " more: muster explain " + string(e.Code) + "\n"
}

// fixHere is the advice of an error in words of this command line, where those of
// the code speak to somebody with curl.
func fixHere(cmd *cobra.Command, e *muster.Error) string {
	switch {
	case e.Code == muster.CodeUsage && e.Fix == "":
		return "see " + cmd.CommandPath() + " --help"
	case e.Code == muster.CodeUnauthenticated:
		return "pass --token-file FILE or set MUSTER_TOKEN (muster token create makes one); on the node's own machine --cluster-cookie-file FILE will do"
	case e.Code == muster.CodePeerUnreachable && e.Fix == "" && cmd.Flags().Lookup("addr") != nil:
		return "start a node with muster serve, or name a running one with --addr or MUSTER_ADDR"
	}
	return e.Advice()
}

// indent puts further lines below the first one, behind the heading.
func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n       ") }

func exitCode(err error) int {
	if errors.Is(err, context.DeadlineExceeded) {
		info, _ := muster.CodeTimeout.Info()
		return info.Exit
	}
	info, _ := muster.CodeOf(err).Info()
	return info.Exit
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range many.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

func usage(format string, args ...any) *muster.Error {
	return muster.Errorf(muster.CodeUsage, format, args...)
}

// flagFault explains what is wrong with the flags of a command.
func flagFault(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlag(cmd, unknown.GetSpecifiedName())
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usage("--%s: %s", wrong.GetFlag().Name, badValue(wrong))
	}
	return usage("%s", err)
}

// badValue says which kind of value a flag wants.
func badValue(wrong *pflag.InvalidValueError) string {
	switch wrong.GetFlag().Value.Type() {
	case "int", "int64":
		return fmt.Sprintf("%q is no whole number", shown(wrong.GetValue()))
	case "duration":
		return fmt.Sprintf("%q is no duration such as 500ms, 10s or 5m", shown(wrong.GetValue()))
	}
	return fmt.Sprintf("%q: %v", shown(wrong.GetValue()), wrong.Unwrap())
}

func unknownFlag(cmd *cobra.Command, name string) *muster.Error {
	dashes := "--"
	if len(name) == 1 {
		dashes = "-"
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	text := fmt.Sprintf("%s has no flag %s%s", cmd.CommandPath(), dashes, muster.Printable(name))
	if near := nearest(name, known); near != "" {
		return usage("%s", text).WithFix("did you mean --%s?", near)
	}
	return usage("%s", text)
}

// unknownWord is the fault of a word that is none of the known ones.
func unknownWord(text, word string, known []string) suggestion {
	return suggestion{err: usage("%s", text), near: nearest(word, known)}
}

// suggestion is a fault that may know the word that was meant.
type suggestion struct {
	err  *muster.Error
	near string
}

// WithFix advises the near word, or what is given if there is none.
func (s suggestion) WithFix(format string, args ...any) *muster.Error {
	if s.near != "" {
		return s.err.WithFix("did you mean %s?", s.near)
	}
	return s.err.WithFix(format, args...)
}

// exactly wants as many arguments as there are names.
func exactly(names ...string) cobra.PositionalArgs {
	return between(len(names), names...)
}

// between wants at least so many of the named arguments.
func between(least int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return usage("%s takes no argument %q", cmd.CommandPath(), muster.Printable(args[len(names)])).
				WithFix("usage: %s", cmd.UseLine())
		}
		if len(args) < least {
			return usage("%s needs %s", cmd.CommandPath(), names[len(args)]).WithFix("usage: %s", cmd.UseLine())
		}
		return nil
	}
}

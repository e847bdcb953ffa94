package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// process is what a run of the program is given from outside.
type process struct {
	env    []string // NAME=value
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	hangups <-chan os.Signal // SIGHUP; nil: none ever comes
}

// app is the program. Tests replace its functions.
type app struct {
	process

	args    []string // of this run
	connect func(to access) (cluster, error)
	newNode func(settings, *slog.Logger) (node, error)
	browse  func(ctx context.Context, url string) error
}

func newApp(p process) *app {
	return &app{process: p, connect: connect, newNode: newNode, browse: browse}
}

// run executes one command line and returns its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	a.args = append([]string{}, args...) // cobra takes nil for os.Args
	root := a.rootCommand()
	root.SetArgs(a.args)
	return a.report(root.ExecuteContextC(ctx))
}

// getenv returns a variable of the environment; the last one of a name wins.
func (a *app) getenv(name string) string {
	value := ""
	for _, pair := range a.env {
		if text, ok := strings.CutPrefix(pair, name+"="); ok {
			value = text
		}
	}
	return value
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "muster",
		Short: "Turn processes into a cluster",
		Long: `muster turns processes into a cluster: membership, ordered configuration and
health over one HTTP port.`,
		Example: `  muster dev                                   # three throw-away nodes and a dashboard
  muster serve                                 # one real node; it prints how to add a second
  muster status                                # how is the cluster?
  muster explain cookie-mismatch               # what does this error mean?`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	asGroup(root)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout) // before the completion command is made: it keeps the writer
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagFault)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddCommand(
		a.serveCommand(), a.devCommand(),
		a.statusCommand(), a.membersCommand(), a.whyCommand(), a.eventsCommand(), a.nodeCommand(), a.clusterCommand(), a.configCommand(), a.leaseCommand(), a.leaveCommand(), a.uiCommand(),
		a.cookieCommand(), a.keysCommand(), a.tokenCommand(), a.explainCommand(), a.versionCommand(),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	exampleOfCompletion(root)
	return root
}

// asGroup makes a command that only holds others: alone it shows its help, with
// a word that is none of its commands it fails.
func asGroup(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownWord(fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0]), args[0], commandNames(cmd)).
			WithFix("%s --help lists the commands", cmd.CommandPath())
	}
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// exampleOfCompletion gives the generated completion command the example that
// every command has.
func exampleOfCompletion(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" && cmd.Name() != "help" {
			continue
		}
		cmd.Example = map[string]string{
			"completion": "  muster completion bash > /etc/bash_completion.d/muster",
			"help":       "  muster help config set",
		}[cmd.Name()]
		for _, shell := range cmd.Commands() {
			shell.Example = "  muster completion " + shell.Name()
		}
	}
}

// browse opens a page in the user's browser.
func browse(ctx context.Context, url string) error {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	if err := exec.CommandContext(ctx, name, args...).Run(); err != nil {
		return fmt.Errorf("open the browser with %s: %w", name, err)
	}
	return nil
}

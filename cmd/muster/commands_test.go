package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/musterhq/muster"
)

func TestEveryCommandHasAnExampleThatExists(t *testing.T) {
	t.Parallel()
	root := newTerminal(t).rootCommand()
	walk(root, func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s lacks a description or an example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			_, call, _ := strings.Cut(line, "muster ")
			call, _, _ = strings.Cut(strings.TrimPrefix(call, "$("), "#")
			named, rest, err := root.Find(words(strings.TrimSpace(call)))
			if err != nil || named == root && call != "" {
				t.Errorf("%s: the example %q is no command", cmd.CommandPath(), line)
			}
			checkExampleFlags(t, named, rest)
		}
	})
}

func checkExampleFlags(t *testing.T, cmd *cobra.Command, args []string) {
	t.Helper()
	cmd.InitDefaultHelpFlag()
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		if ok && cmd.Flags().Lookup(strings.TrimRight(name, ")")) == nil {
			t.Errorf("%s: the example has the flag %q", cmd.CommandPath(), arg)
		}
	}
}

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

func TestExplainKnowsEveryCode(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	for _, info := range muster.Codes() {
		if code := term.muster(t, "explain", string(info.Code)); code != 0 {
			t.Errorf("%s: exit code %d", info.Code, code)
		}
		for _, part := range []string{info.Title, info.Why, info.Fix} {
			if !strings.Contains(term.out.String(), part) {
				t.Errorf("%s: %q is missing", info.Code, part)
			}
		}
	}
	term.muster(t, "explain", "-o", "json")
	var listed []muster.CodeInfo
	if err := json.Unmarshal(term.out.Bytes(), &listed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(muster.Codes(), listed); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
}

func TestYAMLSaysTheSameAsJSON(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	for _, command := range []string{"status", "members", "config list", "version", "explain"} {
		var fromJSON, fromYAML any
		term.muster(t, strings.Fields(command+" -o json")...)
		if err := json.Unmarshal(term.out.Bytes(), &fromJSON); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		term.muster(t, strings.Fields(command+" -o yaml")...)
		text, err := yaml.YAMLToJSON(term.out.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if err := json.Unmarshal(text, &fromYAML); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
			t.Errorf("%s: YAML differs from JSON:\n%s", command, diff)
		}
	}
}

func TestTablesAreAlignedAndClean(t *testing.T) {
	t.Parallel()
	var (
		g   grid
		out bytes.Buffer
	)
	g.row("NAME", "WHAT")
	g.row("ä", "")
	g.row("evil\x1b[2J\n", "x")
	g.write(&out)
	if diff := cmp.Diff("NAME     WHAT\nä        -\nevil[2J  x\n", out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestCompletionOffersLiveNames(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.seed("route", "demo", "1")
	for args, want := range map[string]string{"why": "n3", "config get": "route/demo", "explain": "cookie-mismatch"} {
		term.muster(t, append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		if !strings.Contains(term.out.String(), want+"\n") {
			t.Errorf("%s: %q is not offered:\n%s", args, want, term.out)
		}
	}
	if code := term.muster(t, "completion", "bash"); code != 0 || !strings.Contains(term.out.String(), "muster") {
		t.Errorf("completion bash: exit code %d", code)
	}
}

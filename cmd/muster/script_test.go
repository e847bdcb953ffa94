package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update rewrites the scripts with what the commands say now.
func update() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "rewrite testdata/script with the present output")
	os.Exit(m.Run())
}

// TestScripts runs testdata/script/*.txt. A line that starts with "$ muster" is a
// command; what follows must be its standard output, its standard error with "! "
// before each line, and its exit code if that is not 0. $WORK is a directory of
// the script's own; "NAME=value" lines before the first command set variables.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if update() {
				if err := os.WriteFile(script, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got), renew with go test -update:\n%s", script, diff)
			}
		})
	}
}

// play runs the commands of a script and returns the script with what they said.
func play(t *testing.T, script string) string {
	work := t.TempDir()
	var (
		out  bytes.Buffer
		env  []string
		term *terminal
	)
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ muster")
		switch {
		case isCommand:
			if term == nil {
				term = newTerminal(t, append(env, "MUSTER_DATA_DIR="+work)...)
				term.cluster.seed("route", "demo", `{"weight":10}`)
			}
			code := term.muster(t, words(strings.ReplaceAll(command, "$WORK", work))...)
			out.WriteString(line + "\n" + strings.ReplaceAll(transcript(term, code), work, "$WORK"))
		case term == nil && !strings.HasPrefix(line, "#") && strings.Contains(line, "="):
			env = append(env, strings.ReplaceAll(line, "$WORK", work))
			out.WriteString(line + "\n")
		case strings.HasPrefix(line, "#") || line == "" && term == nil:
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

func transcript(term *terminal, code int) string {
	var out strings.Builder
	out.WriteString(term.out.String())
	for line := range strings.Lines(term.err.String()) {
		out.WriteString("! " + line)
	}
	if code != 0 {
		fmt.Fprintf(&out, "[exit %d]\n", code)
	}
	return moment.ReplaceAllString(out.String(), "TIME")
}

// moment is what no two runs say alike.
var moment = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z`)

// words splits a command line like a shell without expansions.
func words(line string) []string {
	var (
		all   []string
		word  strings.Builder
		quote rune
		open  bool
	)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, open = r, true
		case quote == 0 && r == ' ':
			if open {
				all = append(all, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if open {
		all = append(all, word.String())
	}
	return all
}

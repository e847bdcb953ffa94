package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// format is the value of -o.
type format string

// The formats of results.
const (
	formatTable format = "table"
	formatWide  format = "wide"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

func formats() []string {
	return []string{string(formatTable), string(formatWide), string(formatJSON), string(formatYAML)}
}

// String returns the format.
func (f *format) String() string { return string(*f) }

// Type names the value in help texts.
func (f *format) Type() string { return "FORMAT" }

// Set takes one of the formats.
func (f *format) Set(text string) error {
	for _, known := range formats() {
		if text == known {
			*f = format(text)
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(formats(), ", "))
}

func outputFlag(cmd *cobra.Command) *format {
	f := formatTable
	cmd.Flags().VarP(&f, "output", "o", "table, wide, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return &f
}

// show writes a result in the wanted format; table draws it for people.
func (a *app) show(f format, result any, table func(w io.Writer, wide bool)) error {
	if f == formatTable || f == formatWide {
		table(a.stdout, f == formatWide)
		return nil
	}
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	text = append(text, '\n')
	if f == formatYAML {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("encode the result as YAML: %w", err)
		}
		text = append(bytes.TrimRight(text, "\n"), '\n')
	}
	_, err = a.stdout.Write(text)
	return err
}

// grid is a table without borders: columns are padded to their widest cell and
// parted by two spaces, so that cut and awk can read it.
type grid struct {
	rows [][]string
}

// row adds a row of texts that came from outside. Empty cells show as "-".
func (g *grid) row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = cleaned(cell)
	}
	g.own(clean...)
}

// own adds a row of our own texts, which may be longer.
func (g *grid) own(cells ...string) {
	for i, cell := range cells {
		cells[i] = dash(cell)
	}
	g.rows = append(g.rows, cells)
}

func (g *grid) write(w io.Writer) {
	var widths []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range g.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// cleaned makes a text from a node fit for the terminal. Unlike muster.Printable
// it keeps long texts: the node has shortened what it took from others.
func cleaned(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// age shows how long ago t was, in its two largest units at most.
func age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(time.Since(t))
}

func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

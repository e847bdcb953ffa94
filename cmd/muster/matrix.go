package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/musterhq/muster"
)

// showMatrix prints who sees whom; the answer is no if a link does not work.
func (a *app) showMatrix(ctx context.Context, c cluster, f format) error {
	x, err := c.Matrix(ctx)
	if err != nil {
		return err
	}
	if err := a.show(f, x, func(w io.Writer, _ bool) { matrixTable(w, x) }); err != nil {
		return err
	}
	if len(x.Broken) > 0 {
		return no
	}
	return nil
}

func matrixTable(w io.Writer, x muster.Matrix) {
	var g grid
	head := []string{"SEEN BY"}
	for _, m := range x.Members {
		head = append(head, m.Name)
	}
	g.row(append(head, "HEARD")...)
	for _, r := range x.Rows {
		cells := []string{r.Name}
		for _, m := range r.Marks {
			cells = append(cells, markCell(m))
		}
		g.row(append(cells, heardCell(r))...)
	}
	g.write(w)
	if len(x.Broken) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	for _, b := range x.Broken {
		_, _ = fmt.Fprintf(w, "%s\n", cleaned(brokenLine(b)))
	}
}

// markCell is a mark as it stands in the table.
func markCell(m muster.Mark) string {
	switch m {
	case muster.MarkSelf:
		return "."
	case muster.MarkUnknown:
		return "?"
	case muster.Mark(muster.StateAlive):
		return "ok"
	}
	return string(m)
}

func heardCell(r muster.MatrixRow) string {
	switch {
	case r.Isolated:
		return "isolated"
	case r.Heard.IsZero():
		return "never"
	}
	return age(r.Heard)
}

func brokenLine(b muster.BrokenLink) string {
	line := fmt.Sprintf("%s -x-> %s  %s, for %s", b.From, b.To, b.Reason, dash(age(b.Since)))
	if b.OneWay {
		line += fmt.Sprintf("; one-way: %s reaches %s", b.To, b.From)
	}
	return line
}

// observerTable shows how others see a member.
func observerTable(w io.Writer, observers []muster.Observer) {
	if len(observers) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	var g grid
	g.row("SEEN BY", "STATE", "SINCE", "LINK", "REASON")
	for _, o := range observers {
		g.row(o.Name, string(o.State), age(o.Since), string(o.Link), o.Reason)
	}
	g.write(w)
}

// clock says how far a clock is off; nothing if it is right or not measured.
func clock(skewMS float64) string {
	if skewMS == 0 {
		return ""
	}
	d := time.Duration(skewMS * float64(time.Millisecond)).Round(time.Millisecond).String()
	if !strings.HasPrefix(d, "-") {
		d = "+" + d
	}
	return d
}

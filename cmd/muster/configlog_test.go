package main

import (
	"strings"
	"testing"
)

func TestLogSaysWhereItBegins(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	for range 4 {
		term.cluster.seed("route", "demo", `1`)
	}
	term.cluster.seed("limit", "x", `1`)
	const says = "the log begins at revision 3"
	if code := term.muster(t, "config", "log"); code != 0 || strings.Contains(term.out.String(), says) {
		t.Errorf("the whole log: exit %d:\n%s", code, term.out)
	}
	term.cluster.gone = 2
	if code := term.muster(t, "config", "log", "route"); code != 0 || !strings.Contains(term.out.String(), says) || strings.Contains(term.out.String(), "limit/x") {
		t.Errorf("what is left of it: exit %d:\n%s", code, term.out)
	}
	if code := term.muster(t, "config", "log", "--limit", "1"); code != 0 || strings.Contains(term.out.String(), says) {
		t.Errorf("a page of it: exit %d:\n%s", code, term.out)
	}
}

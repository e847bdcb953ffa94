package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/musterhq/muster"
)

// TestWatchGoesOnOverRestartsAndNamesGaps: each revision once, in order, and where
// the log has forgotten some, a line.
func TestWatchGoesOnOverRestartsAndNamesGaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		term := newTerminal(t)
		ctx, cancel := context.WithCancel(t.Context())
		change := func(rev int64, kind string) muster.Change {
			return muster.Change{Rev: rev, Op: muster.OpPut, Kind: kind, Name: "a", Spec: []byte(`"<&>"`), Generation: rev, Actor: "ada/1"}
		}
		term.cluster.gone = 5
		term.cluster.follow = []func() ([]muster.Change, error){
			func() ([]muster.Change, error) { return []muster.Change{change(1, "route"), change(2, "limit")}, nil },
			func() ([]muster.Change, error) { return nil, muster.Errorf(muster.CodePeerUnreachable, "it is down") },
			func() ([]muster.Change, error) {
				return nil, muster.Errorf(muster.CodeStoreUnavailable, "it is starting")
			},
			func() ([]muster.Change, error) { return []muster.Change{change(3, "route")}, nil },
			func() ([]muster.Change, error) { return nil, muster.Errorf(muster.CodeCompacted, "gone") },
			func() ([]muster.Change, error) { cancel(); return []muster.Change{change(6, "route")}, nil },
		}
		code := term.run(ctx, []string{"config", "watch", "route", "--after", "0", "-o", "json"})
		var revs []string
		for line := range strings.Lines(term.out.String()) {
			rev, _, _ := strings.Cut(strings.TrimPrefix(line, `{"rev":`), ",")
			revs = append(revs, rev)
		}
		if got := strings.Join(revs, " "); code != 0 || got != "1 3 6" || !strings.Contains(term.out.String(), `"<&>"`) {
			t.Errorf("exit %d, revisions %s:\n%s", code, got, term.out)
		}
		if want := []int64{0, 2, 2, 2, 3, 5}; !slices.Equal(term.cluster.afters, want) {
			t.Errorf("asked for what came after %v, want %v", term.cluster.afters, want)
		}
		said := term.err.String()
		for _, want := range []string{"waiting for", "is back", "revisions 4 to 5 are gone"} {
			if strings.Count(said, want) != 1 {
				t.Errorf("%q is not said once:\n%s", want, said)
			}
		}
		term.cluster.follow = []func() ([]muster.Change, error){
			func() ([]muster.Change, error) { return nil, muster.Errorf(muster.CodeForbidden, "no") },
		}
		if code := term.run(t.Context(), []string{"config", "watch"}); code != 4 {
			t.Errorf("a refusal: exit %d", code)
		}
	})
}

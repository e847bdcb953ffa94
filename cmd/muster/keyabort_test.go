package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// TestKeysAbortTakesBackOneStep starts from each place that an exchange can have
// reached on a machine.
func TestKeysAbortTakesBackOneStep(t *testing.T) {
	t.Parallel()
	old, fresh := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	was, is := kidOf(t, old), kidOf(t, fresh)
	used := nodeKeys("n2", was, is)
	used.Tokens = []muster.TokenUse{{KID: is, Count: 1, Subjects: []string{"grafana"}}}
	for _, tt := range []struct {
		name   string
		file   []string
		others []muster.NodeKeys
		args   []string
		code   int
		says   string
		after  []string
	}{
		{"added", []string{old, fresh}, []muster.NodeKeys{nodeKeys("n2", was, is)}, nil, 0, "is no more in", []string{was}},
		{"first", []string{fresh, old}, []muster.NodeKeys{nodeKeys("n2", is, was)}, nil, 0, "then here once more: muster keys abort " + is, []string{was, is}},
		{"never begun", []string{old}, nil, nil, 0, "nothing to undo", []string{was}},
		{"over", []string{fresh}, nil, nil, 2, "its exchange is over here", []string{is}},
		{"over with force", []string{fresh}, nil, []string{"--force"}, 2, "its exchange is over here", []string{is}},
		{"former cookie dropped elsewhere", []string{fresh, old}, []muster.NodeKeys{nodeKeys("n2", is)}, nil, 3, "n2 does not accept " + was, []string{is, was}},
		{"a member dials with it", []string{old, fresh}, []muster.NodeKeys{nodeKeys("n2", is, was)}, nil, 3, "n2 dials and signs with " + is, []string{was, is}},
		{"a token needs it", []string{old, fresh}, []muster.NodeKeys{used}, nil, 3, "grafana", []string{was, is}},
		{"force", []string{old, fresh}, []muster.NodeKeys{nodeKeys("n2", is)}, []string{"--force"}, 0, "is no more in", []string{was}},
		{"a dead member", []string{old, fresh}, []muster.NodeKeys{goneKeys("n2")}, nil, 0, "n2 cannot say: the member is dead; it needs", []string{was}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			term := newTerminal(t)
			term.cluster.keys = tt.others
			path := write(t, "cookie", strings.Join(tt.file, "\n")+"\n")
			args := append([]string{"keys", "abort", is, "--cluster-cookie-file", path}, tt.args...)
			if code := term.muster(t, args...); code != tt.code {
				t.Errorf("exit code %d, want %d: %s%s", code, tt.code, term.out, term.err)
			}
			if said := term.out.String() + term.err.String(); !strings.Contains(said, tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, said)
			}
			cookies, err := auth.LoadCookies([]string{path}, nil)
			if got := auth.Ring(cookies).KIDs(); err != nil || !slices.Equal(got, tt.after) {
				t.Errorf("the file holds %v, %v; want %v", got, err, tt.after)
			}
		})
	}
}

// TestKeysAbortRefusesAMistypedKID: a cookie that is not there is no success.
func TestKeysAbortRefusesAMistypedKID(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	path := write(t, "cookie", auth.NewCookie().Reveal()+"\n"+auth.NewCookie().Reveal()+"\n")
	code := term.muster(t, "keys", "abort", "00000000", "--cluster-cookie-file", path)
	if code != 2 || !strings.Contains(term.err.String(), "holds no cookie 00000000 but ") {
		t.Errorf("exit code %d, want 2: %s", code, term.err)
	}
}

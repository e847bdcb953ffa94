package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func nodeKeys(name string, accepted ...string) muster.NodeKeys {
	return muster.NodeKeys{
		Name: name, State: muster.StateAlive, Accepted: accepted,
		Links: []muster.LinkKey{{Peer: "n9", Channel: "packet", KID: accepted[0]}, {Peer: "n9", Channel: "rpc", KID: accepted[0]}},
	}
}

func goneKeys(name string) muster.NodeKeys {
	return muster.NodeKeys{Name: name, State: muster.StateDead, Error: "the member is dead"}
}

func TestKeysStatusSaysWhoLacksWhat(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.keys = []muster.NodeKeys{nodeKeys("n1", "aaaaaaaa", "bbbbbbbb"), nodeKeys("n2", "aaaaaaaa"), goneKeys("n3")}
	if code := term.muster(t, "keys", "status"); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	for _, want := range []string{"bbbbbbbb is not accepted by n2\n", "n3 cannot say: the member is dead", "aaaaaaaa=2", "next: on n2: muster keys rotate --add"} {
		if !strings.Contains(term.out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, term.out)
		}
	}
	term.cluster.keys[1] = nodeKeys("n2", "aaaaaaaa", "bbbbbbbb")
	if code := term.muster(t, "keys", "status", "-o", "wide"); code != 0 || !strings.Contains(term.out.String(), "n9/rpc=aaaaaaaa") {
		t.Errorf("exit code %d, want 0:\n%s", code, term.out)
	}
}

func TestKeysRotateAsksWhoIsAgainstIt(t *testing.T) {
	t.Parallel()
	used := nodeKeys("n3", "bbbbbbbb", "aaaaaaaa")
	used.Tokens = []muster.TokenUse{{KID: "aaaaaaaa", Count: 2, Subjects: []string{"grafana"}}}
	for _, tt := range []struct {
		name  string
		nodes []muster.NodeKeys
		args  string
		code  int
		says  string
	}{
		{"first before all accept it", []muster.NodeKeys{nodeKeys("n1", "aaaaaaaa", "bbbbbbbb"), nodeKeys("n2", "aaaaaaaa")}, "--check-first bbbbbbbb", 3, "n2 does not accept bbbbbbbb"},
		{"first", []muster.NodeKeys{nodeKeys("n1", "aaaaaaaa", "bbbbbbbb"), goneKeys("n2")}, "--check-first bbbbbbbb", 0, "no live member"},
		{"drop the only one", []muster.NodeKeys{nodeKeys("n1", "aaaaaaaa")}, "--check-drop aaaaaaaa", 3, "n1 accepts no other cookie"},
		{"drop the first one", []muster.NodeKeys{nodeKeys("n1", "aaaaaaaa", "bbbbbbbb")}, "--check-drop aaaaaaaa", 3, "n1 dials and signs with aaaaaaaa"},
		{"drop what tokens need", []muster.NodeKeys{used}, "--check-drop aaaaaaaa", 3, "grafana"},
		{"drop", []muster.NodeKeys{nodeKeys("n1", "bbbbbbbb", "aaaaaaaa"), nodeKeys("n2", "bbbbbbbb")}, "--check-drop aaaaaaaa", 0, "no live member"},
		{"no step", []muster.NodeKeys{nodeKeys("n1", "aaaaaaaa")}, "", 0, "next: nothing"},
		{"a force without a step", nil, "--force", 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			term := newTerminal(t)
			term.cluster.keys = tt.nodes
			if code := term.muster(t, append([]string{"keys", "rotate"}, strings.Fields(tt.args)...)...); code != tt.code {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, term.err)
			}
			if !strings.Contains(term.out.String(), tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, term.out)
			}
		})
	}
}

// TestKeysRotateEditsTheCookieFile takes a file through the three steps.
func TestKeysRotateEditsTheCookieFile(t *testing.T) {
	t.Parallel()
	old, fresh := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	path, added := write(t, "cookie", old+"\n"), write(t, "fresh", fresh+"\n")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	was, is := kidOf(t, old), kidOf(t, fresh)
	term := newTerminal(t)
	step := func(want []string, code int, args ...string) {
		t.Helper()
		if got := term.muster(t, append([]string{"keys", "rotate", "--cluster-cookie-file", link}, args...)...); got != code {
			t.Errorf("%v: exit code %d, want %d: %s%s", args, got, code, term.out, term.err)
		}
		cookies, err := auth.LoadCookies([]string{path}, nil)
		if got := auth.Ring(cookies).KIDs(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: the file holds %v, %v; want %v", args, got, err, want)
		}
	}
	step([]string{was}, 2, "--drop", was, "--force")
	step([]string{was, is}, 0, "--add", added)
	step([]string{was, is}, 0, "--add", added)
	term.cluster.keys = []muster.NodeKeys{nodeKeys("n1", was, is), nodeKeys("n2", was)}
	step([]string{was, is}, 3, "--first", is)
	step([]string{is, was}, 0, "--first", is, "--force")
	step([]string{is, was}, 3, "--drop", was)
	step([]string{is, was}, 2, "--drop", "00000000", "--force")
	term.cluster.keys = []muster.NodeKeys{nodeKeys("n1", is, was), nodeKeys("n2", is, was)}
	step([]string{is}, 0, "--drop", was)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file's mode became %v, %v", info.Mode(), err)
	}
}

func kidOf(t *testing.T, cookie string) string {
	t.Helper()
	c, err := auth.ParseCookie([]byte(cookie))
	if err != nil {
		t.Fatal(err)
	}
	return c.KID()
}

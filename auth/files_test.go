package auth_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func TestFileHoldsSeveralCookies(t *testing.T) {
	t.Parallel()
	first, second := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	path := writeCookie(t, "\n"+first+"\r\n\n "+second+" \n"+first+"\n", 0o600)
	cookies, err := auth.LoadCookies([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{parse(t, first).KID(), parse(t, second).KID()}
	if got := auth.Ring(cookies).KIDs(); !slices.Equal(got, want) {
		t.Errorf("got key ids %v, want %v", got, want)
	}
	broken := writeCookie(t, first+"\nshort\n", 0o600)
	_, err = auth.LoadCookies([]string{broken}, nil)
	wantRefusal(t, err, muster.CodeWeakCookie, "cookie 2")
	_, err = auth.LoadCookies([]string{writeCookie(t, strings.Repeat(first+"\n", 17), 0o600)}, nil)
	wantRefusal(t, err, muster.CodeWeakCookie, "more than 16")
}

func TestFilesNoticeAChange(t *testing.T) {
	t.Parallel()
	first, second := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	path := writeCookie(t, first, 0o600)
	files := auth.NewFiles([]string{path, "-"}, strings.NewReader(oldCookie))
	for range 2 { // standard input is there for the first time only
		ring, err := files.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := ring.KIDs(), []string{parse(t, first).KID(), parse(t, oldCookie).KID()}; !slices.Equal(got, want) {
			t.Fatalf("got key ids %v, want %v", got, want)
		}
	}
	if files.Changed() {
		t.Error("files that nobody touched are said to have changed")
	}
	if err := os.WriteFile(path, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Second) // file systems with a coarse clock
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	if !files.Changed() {
		t.Error("a file that was written is not said to have changed")
	}
	ring, err := files.Load()
	if err != nil || !slices.Contains(ring.KIDs(), parse(t, second).KID()) {
		t.Errorf("got %v, %v; want the new cookie", ring.KIDs(), err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !files.Changed() {
		t.Error("a file that was removed is not said to have changed")
	}
}

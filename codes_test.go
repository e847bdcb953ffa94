package muster_test

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/musterhq/muster"
)

func TestCodesAreCompleteAndUnique(t *testing.T) {
	t.Parallel()
	kebab := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := map[muster.Code]bool{}
	for _, info := range muster.Codes() {
		if !kebab.MatchString(string(info.Code)) {
			t.Errorf("%q is not kebab-case", info.Code)
		}
		if seen[info.Code] {
			t.Errorf("%q is listed twice", info.Code)
		}
		seen[info.Code] = true
		if info.Code != muster.CodeOK && (info.Title == "" || info.Why == "" || info.Fix == "") {
			t.Errorf("%q does not say what, why and what to do: %+v", info.Code, info)
		}
		if info.Exit < 0 || info.Exit > 9 {
			t.Errorf("%q has exit code %d, documented are 0 to 9", info.Code, info.Exit)
		}
	}
}

func TestCodeOfFindsTheInnermostName(t *testing.T) {
	t.Parallel()
	base := muster.Errorf(muster.CodeConflict, "revision is %d", 7)
	wrapped := fmt.Errorf("put route/demo: %w", base)
	if got := muster.CodeOf(wrapped); got != muster.CodeConflict {
		t.Errorf("CodeOf = %q, want conflict", got)
	}
	if !errors.Is(wrapped, &muster.Error{Code: muster.CodeConflict}) {
		t.Error("errors.Is does not find the code")
	}
	if got := muster.CodeOf(errors.New("x")); got != muster.CodeInternal {
		t.Errorf("CodeOf a foreign error = %q, want internal", got)
	}
	if base.Advice() == "" || base.WithFix("do %s", "this").Advice() != "do this" {
		t.Error("Advice must be the code's fix unless the error has its own")
	}
}

func TestPrintableCannotCarryTricks(t *testing.T) {
	t.Parallel()
	got := muster.Printable("a\x1b[31mb\u202Ec\n\xffd")
	if want := "a[31mbc\uFFFDd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	long := muster.Printable(string(make([]rune, 0)) + fmt.Sprintf("%0900d", 7) + "é")
	if len(long) > 200 {
		t.Errorf("%d bytes pass, want at most 200", len(long))
	}
}

func TestNodeIDComesFromTheKey(t *testing.T) {
	t.Parallel()
	id := muster.NodeIDOf(make([]byte, 32))
	if !id.Valid() || id[14] != '8' {
		t.Errorf("%q is not a version 8 UUID", id)
	}
	if id != muster.NodeIDOf(make([]byte, 32)) {
		t.Error("the same key gave two identities")
	}
	if c := muster.NewClusterID(); !c.Valid() || c == muster.NewClusterID() {
		t.Errorf("cluster id %q is not valid or not random", c)
	}
}

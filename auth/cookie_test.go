package auth_test

import (
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func TestNewCookieIsAcceptedAndUnique(t *testing.T) {
	t.Parallel()
	a, b := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	if a == b {
		t.Fatal("two new cookies are equal")
	}
	if !strings.HasPrefix(a, "mck1_") || len(a) != 61 {
		t.Errorf("got a cookie of %d characters that starts with %q", len(a), a[:5])
	}
	if parse(t, a).KID() != parse(t, " \n"+a+"\r\n").KID() {
		t.Error("white space around a cookie changes its key id")
	}
}

// TestKeysStayTheSame pins the derivation: nodes of different versions must
// derive the same keys.
func TestKeysStayTheSame(t *testing.T) {
	t.Parallel()
	cookie := parse(t, oldCookie)
	link, beacon := cookie.LinkPSK(), cookie.BeaconKey()
	got := []string{cookie.KID(), hex.EncodeToString(link[:8]), hex.EncodeToString(beacon[:8])}
	want := []string{"989f202b", "eeb5e2741605e5ad", "54d8fde144015324"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("derived value %d: got %s, want %s", i, got[i], want[i])
		}
	}
}

func TestCookieRefusesWhatIsEasyToGuess(t *testing.T) {
	t.Parallel()
	good := auth.NewCookie().Reveal()
	swapped := "a"
	if strings.HasSuffix(good, "a") {
		swapped = "b"
	}
	tests := []struct{ name, text, says string }{
		{"empty", " \n", "empty"},
		{"short", "0123456789abcdefghijklmnopqrstu", "31 characters"},
		{"monotone", strings.Repeat("ab", 40), "2 different"},
		{"eleven different", strings.Repeat("abcdefghijk", 4), "11 different"},
		{"two lines", oldCookie + "\n" + oldCookie, "one line"},
		{"a nul", oldCookie + "\x00" + oldCookie, "control"},
		{"truncated", good[:len(good)-1], "checksum"},
		{"changed", good[:len(good)-1] + swapped, "checksum"},
		{"a byte order mark", "\ufeff" + good, "byte order mark"},
		{"UTF-16", "\xff\xfeg\x00o\x00", "byte order mark"},
		{"bytes", oldCookie + "\xc3\x28", "UTF-8"},
		{"a carriage return inside", oldCookie + "\r\n" + oldCookie, "one line"},
		{"huge", strings.Repeat(oldCookie, 200), "longer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := auth.ParseCookie([]byte(tt.text))
			wantRefusal(t, err, muster.CodeWeakCookie, tt.says)
		})
	}
}

func TestLoadCookiesReadsFilesAndStandardInput(t *testing.T) {
	t.Parallel()
	first, second := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	path := writeCookie(t, first, 0o600)
	cookies, err := auth.LoadCookies([]string{path, "-", path}, strings.NewReader(second+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cookies) != 2 || cookies[0].KID() != parse(t, first).KID() || cookies[1].KID() != parse(t, second).KID() {
		t.Errorf("got %v, want the file's cookie and then that of standard input", cookies)
	}
}

func TestLoadCookiesChecksWhoCanRead(t *testing.T) {
	t.Parallel()
	for mode, allowed := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o604: false, 0o602: false, 0o601: false} {
		path := writeCookie(t, oldCookie, mode)
		_, err := auth.LoadCookies([]string{path}, nil)
		if allowed && err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if !allowed {
			wantRefusal(t, err, muster.CodeCookieReadable, path)
		}
	}
}

func TestLoadCookiesNamesEveryFault(t *testing.T) {
	t.Parallel()
	missing, dir := filepath.Join(t.TempDir(), "none"), t.TempDir()
	weak := writeCookie(t, "short", 0o600)
	_, err := auth.LoadCookies([]string{missing, dir, weak, "-"}, nil)
	for _, says := range []string{missing, dir + " is a directory", weak, "standard input"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want it to say %q", err, says)
		}
	}
	_, err = auth.LoadCookies([]string{"-"}, brokenReader{})
	wantRefusal(t, err, muster.CodeBadConfig, "broken")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, muster.Errorf(muster.CodeInternal, "broken") }

var _ io.Reader = brokenReader{}

func writeCookie(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cookie")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

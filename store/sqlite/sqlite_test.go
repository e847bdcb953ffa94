package sqlite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/sqlite"
	"github.com/musterhq/muster/store/storetest"
)

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func dataFile(t testing.TB) string { return filepath.Join(t.TempDir(), "config.db") }

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, dataFile(t)) })
}

func TestReopenedStoreGoesOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a file? with #odd %20 name.db")
	first, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	cluster := storetest.Form(t, first)
	changes := storetest.MustApply(t, first, storetest.Put("route", "a", `1`), storetest.Delete("route", "a"), storetest.Put("route", "b", `2`))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(files) != 1 || files[0] != path {
		t.Errorf("closed, and these are left: %q", files)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}

	second := open(t, path)
	if c, err := second.Cluster(t.Context()); err != nil || c != cluster {
		t.Errorf("got %+v, %v; want %+v", c, err, cluster)
	}
	changes = append(changes, storetest.MustApply(t, second, storetest.Put("route", "a", `4`))...)
	if diff := cmp.Diff(changes, storetest.History(t, second, 2)); diff != "" {
		t.Error(diff)
	}
}

func TestUnusableFilesAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nonsense := filepath.Join(dir, "nonsense.db")
	if err := os.WriteFile(nonsense, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn.db")
	fill(t, torn)
	damage(t, torn)
	for name, path := range map[string]string{
		"nonsense": nonsense, "a torn file": torn, "a directory": dir, "a missing directory": filepath.Join(dir, "no", "config.db"),
	} {
		s, err := sqlite.Open(path)
		if err == nil {
			_ = s.Close()
		}
		if muster.CodeOf(err) != muster.CodeDataDir || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %s naming %s", name, err, muster.CodeDataDir, path)
		}
	}
}

// fill makes a store with enough in it to have many pages.
func fill(t *testing.T, path string) {
	t.Helper()
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Form(t, s)
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		storetest.MustApply(t, s, storetest.Put("route", name, `"`+strings.Repeat(name, 3000)+`"`))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(text) / 2 {
		text[len(text)/4+i] = 0xa5
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStoreEndsInsideABubble(t *testing.T) {
	t.Parallel()
	path := dataFile(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := sqlite.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		storetest.Form(t, s)
		storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
		if len(storetest.History(t, s, 10)) != 1 {
			t.Error("the change is missing")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

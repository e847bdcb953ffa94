package house_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryTestThatTheSecurityPageNamesExists: a claim without its test is none.
// Tests of nested modules count.
func TestEveryTestThatTheSecurityPageNamesExists(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := testNames(t)
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	for _, name := range named {
		if !known[name[1]] {
			t.Errorf("docs/security.md names %s, which does not exist", name[1])
		}
	}
	if len(named) < 20 || len(known) < 100 {
		t.Fatalf("found %d names and %d tests: the search is broken", len(named), len(known))
	}
	claims, _, _ := strings.Cut(string(page), "## Non-claims")
	for line := range strings.Lines(claims) {
		if strings.HasPrefix(line, "- ") && !strings.Contains(line, "`Test") {
			t.Errorf("a claim names no test: %s", line)
		}
	}
}

// testNames lists the test functions of all modules of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

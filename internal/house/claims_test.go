package house_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryTestThatAPageNamesExists: a claim without its test is none. Tests of nested
// modules count.
func TestEveryTestThatAPageNamesExists(t *testing.T) {
	t.Parallel()
	known := testNames(t)
	for _, page := range []struct{ file, claim, end string }{
		{"docs/security.md", "- ", "## Non-claims"},
		{"docs/guarantees.md", "| ", "## Not guaranteed"},
		{"docs/long.md", "| ", "\x00"},
		{"README.md", "", "\x00"},
	} {
		text, err := os.ReadFile(filepath.Join(root, page.file))
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)").FindAllStringSubmatch(string(text), -1)
		for _, name := range named {
			if !known[name[1]] {
				t.Errorf("%s names %s, which does not exist", page.file, name[1])
			}
		}
		if len(named) < 5 || len(known) < 100 {
			t.Fatalf("%s: found %d names and %d tests: the search is broken", page.file, len(named), len(known))
		}
		claims, _, _ := strings.Cut(string(text), page.end)
		for line := range strings.Lines(claims) {
			if page.claim != "" && isClaim(line, page.claim) && !strings.Contains(line, "`Test") && !strings.Contains(line, "`make ") {
				t.Errorf("%s: a claim names no test: %s", page.file, line)
			}
		}
	}
}

// isClaim leaves out the head of a table.
func isClaim(line, mark string) bool {
	return strings.HasPrefix(line, mark) && !strings.HasPrefix(line, "| test |") && !strings.HasSuffix(line, "| test |\n")
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

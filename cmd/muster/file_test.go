package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFileNamesPositionAndNearestKey(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, says string }{
		"misspelt":      {"mgmt:\n  bnd: x\n", "f:2:3: unknown key mgmt.bnd; did you mean mgmt.bind?"},
		"misplaced":     {"node_id: n1\n", "f:1:1: unknown key node_id; did you mean cluster_config.node_id?"},
		"unknown":       {"log:\n  q: 1\n", "f:2:3: unknown key log.q; known here: format, level"},
		"JSON":          {"{\n\t\"log\": {\n\t\t\"levle\": \"info\"\n\t}\n}", "f:3:3: unknown key log.levle; did you mean log.level?"},
		"later":         {"limits: {}\n", "f:1:1: limits is not supported by this version"},
		"twice":         {"data_dir: a\ndata_dir: b\n", "f:2:1:"},
		"syntax":        {"a: [\n", "f:1:"},
		"scalar":        {"just words\n", "want a mapping"},
		"list for one":  {"data_dir: [a]\n", "data_dir: want one value, not a list"},
		"map for one":   {"data_dir: {a: b}\n", "data_dir: want a plain value"},
		"map in a list": {"cluster_config:\n  discovery:\n    - type: dns\n", "f:3:11: cluster_config.discovery: want a list of plain values"},
		"no section":    {"mgmt: 9113\n", "mgmt: want a mapping"},
		"anchor":        {"data_dir: &a x\n", "want a plain value"},
		"two documents": {"data_dir: a\n---\ndata_dir: b\n", "second document"},
	} {
		_, faults := parseFile("f", []byte(tt.text))
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), tt.says) {
			t.Errorf("%s: got %v, want one fault that says %q", name, faults, tt.says)
		}
	}
}

func TestFileMayBeEmptyOrSilent(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "mgmt:\n", "mgmt:\n  bind:\n", "{}"} {
		values, faults := parseFile("f", []byte(text))
		if len(values) != 0 || len(faults) != 0 {
			t.Errorf("%q: got %v and %v", text, values, faults)
		}
	}
}

func TestFileThatIsMissingIsAFault(t *testing.T) {
	t.Parallel()
	_, _, err := newTerminal(t).settings(t, "--config", filepath.Join(t.TempDir(), "none.yaml"))
	wantFaults(t, err, "none.yaml: no such file")
}

func TestSynonymsInOneFileContradict(t *testing.T) {
	t.Parallel()
	_, _, err := newTerminal(t).settings(t, "--config", write(t, "node.yaml", "cluster_config: {join_endpoints: [a], peers: [b]}\n"))
	wantFaults(t, err, "cluster_config.join_endpoints and cluster_config.peers mean the same")
}

// FuzzFile wants no panic, and a position in every fault.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"a: b", "cluster_config: {tags: {a: b}, peers: [x]}", "{\"log\": {\"level\": 1}}", "a: &x b\nc: *x", "- 1\n- 2", "? a\n: b", "<<: {a: b}", "a: |\n  b\n", "!!set {a}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, faults := parseFile("f", []byte(text))
		for _, fault := range faults {
			if !strings.HasPrefix(fault.Error(), "f:") {
				t.Errorf("a fault without a position: %v", fault)
			}
		}
	})
}

func TestValueFilesAreBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(path, make([]byte, maxValueFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := newTerminal(t).settings(t, "--zone=file:"+path)
	wantFaults(t, err, "larger than 65536 bytes")
}

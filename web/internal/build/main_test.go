package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const web = "../.."

// installed makes sure that the packages of the lock file are there. It never
// skips: a bundle that nobody rebuilt is a bundle that nobody checked.
func installed(t *testing.T) {
	t.Helper()
	if err := install(web); err != nil {
		t.Fatalf("install the packages of web/package-lock.json: %v", err)
	}
}

// The tests of this package share node_modules; they run one after the other.

func TestDistIsWhatTheSourcesGive(t *testing.T) {
	installed(t)
	built, err := bundle(web)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(web, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := built[e.Name()]; !ok {
			t.Errorf("dist/%s comes from no source", e.Name())
		}
	}
	for name, want := range built {
		got, err := os.ReadFile(filepath.Join(web, "dist", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("dist/%s is stale (%d bytes, want %d): run go generate ./web", name, len(got), len(want))
		}
	}
}

func TestTypesAreWhatTheDescriptionGives(t *testing.T) {
	installed(t)
	fresh := filepath.Join(t.TempDir(), "api.gen.ts")
	npx(t, "openapi-typescript", "../openapi.yaml", "-o", fresh)
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(web, "src", "api.gen.ts"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("src/api.gen.ts differs from openapi.yaml: run npm run types --prefix web")
	}
}

func TestSourcesPassTheTypeChecker(t *testing.T) {
	installed(t)
	npx(t, "tsc", "--noEmit", "-p", ".")
}

func TestLockFileNamesNoHost(t *testing.T) {
	lock, err := os.ReadFile(filepath.Join(web, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json says where packages came from: install with web/.npmrc in place")
	}
}

// npx runs an installed tool in web.
func npx(t *testing.T, tool string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join("node_modules", ".bin", tool), args...)
	cmd.Dir = web
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", tool, err, out)
	}
}

package house_test

import (
	"os/exec"
	"path"
	"strconv"
	"strings"
	"testing"
)

// floor returns the floor of a package of this module, by its directory. An
// import may only go down; docs/architecture.md has the picture.
func floor(dir string) (int, bool) {
	floors := map[string]int{
		".": 0, "migrations": 0, "internal": 0,
		"config": 1, "link": 1,
		"gossip": 2, "join": 2, "discovery": 2, "store": 2, "lease": 2, "record": 2, "traffic": 2, "limits": 2,
		"health": 2, "auth": 2, "web": 2, "api": 2, "journal": 2,
		"mgmt": 3, "replica": 3, "client": 3,
		"server": 4,
		"cmd":    5,
	}
	if dir == "store" {
		return 1, true // the contract is words; its implementations are on floor 2
	}
	f, ok := floors[strings.SplitN(dir, "/", 2)[0]]
	return f, ok
}

// allowedSideways lists the imports within one floor that are no mistake.
func allowedSideways(from, to string) bool {
	tree, _, _ := strings.Cut(from, "/")
	switch tree {
	case "store", "discovery", "api":
		if from == "store" && to == "config" {
			return true // the contract speaks of canonical JSON and chains
		}
		return to == tree || strings.HasPrefix(to, tree+"/") && from != tree
	case "internal":
		return true
	}
	return from == to
}

// importers lists, for each third-party module that is fenced, the packages that
// may import it.
func importers() map[string][]string {
	return map[string][]string{
		"github.com/hashicorp/memberlist":  {"gossip"},
		"github.com/jackc/pgx":             {"store/postgres"},
		"modernc.org/sqlite":               {"store/sqlite"},
		"github.com/flynn/noise":           {"link"},
		"github.com/hashicorp/go-sockaddr": {"server"},
		"github.com/go-chi/chi":            {"mgmt", "api/server"},
		"github.com/golang-jwt/jwt":        {"auth"},
		"github.com/spf13/cobra":           {"cmd/muster"},
		"github.com/spf13/pflag":           {"cmd/muster"},
		"github.com/goccy/go-yaml":         {"cmd/muster"},
	}
}

func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		from, known := floor(s.dir)
		if !known {
			t.Errorf("%s: package %q has no floor: give it one in floor()", s.path, s.dir)
			continue
		}
		if s.test {
			continue // a test may look at anything below or beside it
		}
		for _, imp := range s.file.Imports {
			to, ours := within(imp.Path.Value)
			if !ours {
				continue
			}
			target, _ := floor(to)
			if target > from || target == from && !allowedSideways(s.dir, to) {
				t.Errorf("%s: floor %d imports %q of floor %d: take a small interface in the constructor instead", s.pos(imp), from, to, target)
			}
		}
	}
}

// within returns the directory of a quoted import path of this module.
func within(quoted string) (dir string, ours bool) {
	p, err := strconv.Unquote(quoted)
	if err != nil {
		return "", false
	}
	if p == module {
		return ".", true
	}
	return strings.CutPrefix(p, module+"/")
}

func TestRootSpeaksOnlyStandardLibrary(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || s.dir != "." && s.dir != "migrations" && !strings.HasPrefix(s.dir, "internal/") {
			continue
		}
		for _, imp := range s.file.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			leaf := strings.HasPrefix(p, module+"/internal/") && s.dir != "."
			if strings.Contains(strings.SplitN(p, "/", 2)[0], ".") && !leaf {
				t.Errorf("%s: a leaf imports %s", s.pos(imp), p)
			}
		}
	}
}

func TestThirdPartyFences(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, imp := range s.file.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			for fenced, allowed := range importers() {
				if strings.HasPrefix(p, fenced) && !contains(allowed, s.dir) {
					t.Errorf("%s: only %v may import %s", s.pos(imp), allowed, fenced)
				}
			}
		}
	}
}

func contains(list []string, dir string) bool {
	for _, l := range list {
		if dir == l || strings.HasPrefix(dir, l+"/") {
			return true
		}
	}
	return false
}

// TestServerLinksNoDiscoverySDK keeps the weight of service-discovery clients
// out of programs that embed a node: methods are injected by cmd/muster.
func TestServerLinksNoDiscoverySDK(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"/server")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the dependencies of server: %v", err)
	}
	banned := []string{"k8s.io/", "github.com/hashicorp/consul", "go.etcd.io/", "google.golang.org/grpc", "github.com/grandcat/zeroconf", "github.com/spf13/cobra"}
	for dep := range strings.Lines(string(out)) {
		for _, b := range banned {
			if strings.HasPrefix(dep, b) {
				t.Errorf("server links %s", path.Clean(strings.TrimSpace(dep)))
			}
		}
	}
}

// Package compose_test holds what ships in containers to its word: compose.yaml,
// the Dockerfile and the proxy's configuration. There is no container engine
// here; the files are checked as data, and what they start runs as processes.
package compose_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/musterhq/muster/internal/program"
)

// root is the directory of compose.yaml.
const root = "../.."

// binary is the program under test.
var binary *program.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, root, &binary)) }

// load reads a compose file as the engine's client does: interpolated with env,
// merged, and checked against the schema.
func load(ctx context.Context, file string, env ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithWorkingDirectory(root), cli.WithEnv(env), cli.WithInterpolation(true))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(ctx)
}

// project is the project's compose file.
func project(t *testing.T, env ...string) *types.Project {
	t.Helper()
	p, err := load(t.Context(), filepath.Join(root, "compose.yaml"), env...)
	if err != nil {
		t.Fatalf("compose.yaml: %v", err)
	}
	return p
}

// nodeNames are the services that run muster serve.
func nodeNames() []string { return []string{"n1", "n2", "n3"} }

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// environ returns the variables of a service as NAME=value.
func environ(s types.ServiceConfig) []string {
	var env []string
	for name, value := range s.Environment {
		if value != nil {
			env = append(env, name+"="+*value)
		}
	}
	slices.Sort(env)
	return env
}

func TestComposeFileHasTheServicesItPromises(t *testing.T) {
	t.Parallel()
	p := project(t)
	want := append([]string{"cookie", "nginx", "postgres"}, nodeNames()...)
	got := p.ServiceNames()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("services: got %v, want %v", got, want)
	}
}

// TestSchemaCheckRefusesMisspeltKeys shows that loading proves anything.
func TestSchemaCheckRefusesMisspeltKeys(t *testing.T) {
	t.Parallel()
	text := read(t, "compose.yaml")
	for right, wrong := range map[string]string{"    ports:": "    prots:", "restart:": "restrat:", "\nvolumes:": "\nvolums:"} {
		bent := strings.Replace(text, right, wrong, 1)
		if bent == text {
			t.Fatalf("compose.yaml has no %q", right)
		}
		file := filepath.Join(t.TempDir(), "compose.yaml")
		if err := os.WriteFile(file, []byte(bent), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load(t.Context(), file); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

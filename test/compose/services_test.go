package compose_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// flags returns the flags of a command of the program, with their dashes.
func flags(t *testing.T, command ...string) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, +)?(--[a-z-]+)`).FindAllStringSubmatch(binary.Must(t, append(command, "--help")...), -1) {
		names = append(names, m[1])
	}
	if len(names) < 5 {
		t.Fatalf("muster %v --help lists only the flags %v", command, names)
	}
	return names
}

// variables are the names under which muster serve reads its flags from the environment.
func variables(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, flag := range flags(t, "serve") {
		names = append(names, "MUSTER_"+strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")))
	}
	return names
}

func TestVariablesOfNodesAreFlagsOfServe(t *testing.T) {
	t.Parallel()
	p, known := project(t), variables(t)
	for _, name := range nodeNames() {
		env := environ(service(t, p, name))
		if len(env) < 4 {
			t.Errorf("%s: the common variables are not merged: %v", name, env)
		}
		for _, pair := range env {
			if variable, _, _ := strings.Cut(pair, "="); !slices.Contains(known, variable) {
				t.Errorf("%s: muster serve has no flag for %s", name, variable)
			}
		}
	}
}

func TestNodesDifferInNameAndAddressOnly(t *testing.T) {
	t.Parallel()
	p := project(t)
	for _, name := range nodeNames() {
		s := service(t, p, name)
		for variable, want := range map[string]string{"MUSTER_CLUSTER_NODE_NAME": name, "MUSTER_MGMT_ADVERTISE": name + ":9113", "MUSTER_BOOTSTRAP_EXPECT": "3"} {
			if got := s.Environment[variable]; got == nil || *got != want {
				t.Errorf("%s: %s is %v, want %s", name, variable, got, want)
			}
		}
		if s.Command != nil || s.Entrypoint != nil {
			t.Errorf("%s does not run the image's own command", name)
		}
	}
}

func TestNodesReadOneCookieAndKeepTheirOwnData(t *testing.T) {
	t.Parallel()
	p, data := project(t), map[string]bool{}
	for _, name := range nodeNames() {
		secrets, own := mount(t, service(t, p, name), "/secrets"), mount(t, service(t, p, name), "/data")
		if secrets.Source != "secrets" || !secrets.ReadOnly {
			t.Errorf("%s: /secrets is %q, read-only %v", name, secrets.Source, secrets.ReadOnly)
		}
		if own.ReadOnly || own.Type != types.VolumeTypeVolume || data[own.Source] {
			t.Errorf("%s: /data is not a writable volume of its own: %+v", name, own)
		}
		data[own.Source] = true
	}
	if maker := mount(t, service(t, p, "cookie"), "/secrets"); maker.Source != "secrets" || maker.ReadOnly {
		t.Errorf("the maker of the cookie cannot write it: %+v", maker)
	}
	for volume := range data {
		if _, ok := p.Volumes[volume]; !ok {
			t.Errorf("volume %s is not declared", volume)
		}
	}
}

func mount(t *testing.T, s types.ServiceConfig, target string) types.ServiceVolumeConfig {
	t.Helper()
	i := slices.IndexFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == target })
	if i < 0 {
		t.Fatalf("%s has nothing at %s", s.Name, target)
	}
	return s.Volumes[i]
}

func TestNothingIsPublishedOffLoopback(t *testing.T) {
	t.Parallel()
	published := 0
	for _, s := range project(t).Services {
		for _, port := range s.Ports {
			published++
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q", s.Name, port.Published, port.HostIP)
			}
		}
		if s.NetworkMode == "host" {
			t.Errorf("%s shares the network of the host", s.Name)
		}
	}
	if published != 1 {
		t.Errorf("%d ports are published, want the proxy's alone", published)
	}
}

func TestNodesHaveNoPrivileges(t *testing.T) {
	t.Parallel()
	p := project(t)
	for _, name := range append(nodeNames(), "cookie") {
		if s := service(t, p, name); s.Privileged || len(s.CapAdd) > 0 || s.User != "" && strings.HasPrefix(s.User, "0") {
			t.Errorf("%s: privileged %v, capabilities %v, user %q", name, s.Privileged, s.CapAdd, s.User)
		}
	}
	for _, name := range nodeNames() {
		if s := service(t, p, name); !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read-only %v, dropped %v, options %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
	}
}

func TestProxyConfigurationIsWhereTheProxyLooks(t *testing.T) {
	t.Parallel()
	s := service(t, project(t), "nginx")
	v := mount(t, s, "/etc/nginx/nginx.conf")
	if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
		t.Errorf("%+v: %v", v, err)
	}
	if want := "listen " + s.Ports[0].Published + ";"; !strings.Contains(read(t, "deploy/compose/nginx.conf"), want) {
		t.Errorf("nginx.conf lacks %q", want)
	}
}

// TestCookieServiceMakesOneCookieForGood runs the command of the service twice, as
// every `docker compose up` after the first does.
func TestCookieServiceMakesOneCookieForGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var made [2]string
	for i := range made {
		binary.Must(t, moved(service(t, project(t), "cookie").Command, "/secrets", dir)...)
		text, err := os.ReadFile(filepath.Join(dir, "cookie"))
		if err != nil {
			t.Fatal(err)
		}
		made[i] = string(text)
	}
	if made[0] == "" || made[0] != made[1] {
		t.Error("the second run replaced the cookie")
	}
}

// moved replaces a path of the container in a command line.
func moved(args []string, from, to string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ReplaceAll(a, from, to)
	}
	return out
}

// tokenCommand is the command line that the head of compose.yaml tells people to type.
func tokenCommand(t *testing.T) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^# +docker compose exec n1 /muster (token create .*)$`).FindStringSubmatch(read(t, "compose.yaml"))
	if m == nil {
		t.Fatal("compose.yaml does not say how to make a token")
	}
	return strings.Fields(m[1])
}

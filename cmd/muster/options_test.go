package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/discovery"
)

// load reads settings as serve does.
func (term *terminal) settings(t *testing.T, flags ...string) (settings, []string, error) {
	t.Helper()
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	given := addFlags(set, options())
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return term.load(given)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// samples returns for each option a value that is not its default, as it stands
// on the command line and in the file.
func samples(t *testing.T) map[string][2]string {
	cookie := write(t, "cookie", auth.NewCookie().Reveal())
	secret := auth.NewCookie().Reveal()
	same := func(value string) [2]string { return [2]string{value, value} }
	return map[string][2]string{
		"--data-dir": same("/tmp/other"), "--mgmt-bind": same("127.0.0.2:9200"), "--mgmt-advertise": same("none"), "--mgmt-path-prefix": same("/muster"),
		"--mgmt-allowed-host":     {"a.example,b.example", "[a.example, b.example]"},
		"--mgmt-allowed-networks": {"10.0.0.0/8,192.0.2.7/32", "[10.0.0.0/8, 192.0.2.7/32]"}, "--trusted-proxies": {"fd00::/8", "['fd00::/8']"}, "--cluster-name": same("prod"), "--cluster-node-name": same("n1"),
		"--cluster-role": same("observer"), "--region": same("eu"), "--zone": same("z1"), "--tag": {"disk=ssd,rack=1", "{disk: ssd, rack: 1}"},
		"--cluster-cookie-file": {cookie, "[" + cookie + "]"}, "--cluster-cookie": same(secret),
		"--cluster-join-endpoint": {"10.0.0.1:9113,https://b/x", "[10.0.0.1:9113, https://b/x]"}, "--cluster-join-node-id": same("n7"),
		"--bootstrap-expect": same("3"), "--formation": same("never"), "--discovery": {"static://a:1,b:2 static://c:3", `["static://a:1,b:2", "static://c:3"]`},
		"--allowed-address-space": {"10.0.0.0/8,fd00::/8", "[10.0.0.0/8, 'fd00::/8']"}, "--config-store": same("sqlite"), "--profile": same("wan"),
		"--drain-delay": same("5s"), "--reap-left-after": same("2h"), "--reap-dead-after": same("0"), "--auth-anonymous": same("read"), "--metrics-public": same("true"), "--log-level": same("debug"), "--log-format": same("json"),
		"--insecure": same("true"), "--mgmt-tls-cert": same("cert.pem"), "--mgmt-tls-key": same("key.pem"), "--mgmt-tls-ca": {"a.pem,b.pem", "[a.pem, b.pem]"},
		"--mgmt-tls-client-auth": same("require"), "--mgmt-tls-server-name": same("muster.internal"),
	}
}

// TestEveryOptionIsTheSameAsFlagVariableAndFileKey gives each option a value in
// its three ways, and wants the same settings, different from the defaults.
func TestEveryOptionIsTheSameAsFlagVariableAndFileKey(t *testing.T) {
	t.Parallel()
	all := samples(t)
	for _, o := range options() {
		if o.flag == "" || o.flag == "config" {
			continue
		}
		t.Run(o.flag, func(t *testing.T) {
			t.Parallel()
			value, ok := all[o.name()]
			if !ok {
				t.Fatalf("the test has no sample for %s", o.name())
			}
			base := []string{"--cluster-join-endpoint=c:1"} // some options need it
			if o.flag == "cluster-join-endpoint" {
				base = nil
			}
			term := newTerminal(t)
			term.env = nil
			plain := must(t)(term.settings(t, base...))
			flag := must(t)(term.settings(t, append(base, "--"+o.flag+"="+value[0])...))
			env := must(t)(newTerminal(t, "MUSTER_DATA_DIR=./muster-data", o.env()+"="+value[0]).settings(t, base...))
			file := must(t)(term.settings(t, append(base, "--config="+write(t, "node.yaml", yamlAt(o.keys[0], value[1])))...))
			if equal(plain, flag) {
				t.Errorf("--%s=%s changes nothing", o.flag, value[0])
			}
			if diff := difference(flag, env); diff != "" {
				t.Errorf("%s differs from the flag:\n%s", o.env(), diff)
			}
			if diff := difference(flag, file); diff != "" {
				t.Errorf("%s differs from the flag:\n%s", o.keys[0], diff)
			}
		})
	}
}

// must unpacks settings that are to be without fault.
func must(t *testing.T) func(settings, []string, error) settings {
	return func(s settings, _ []string, err error) settings {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func equal(a, b settings) bool { return difference(a, b) == "" }

func difference(a, b settings) string {
	return cmp.Diff(a, b, cmp.AllowUnexported(settings{}),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b auth.Secret) bool { return a.Equal(b) }),
		cmp.Comparer(func(a, b database) bool { return a.kind == b.kind && a.given == b.given }),
		cmp.Comparer(func(a, b *auth.Files) bool { return (a == nil) == (b == nil) }), // what they hold is in the ring
		cmp.Comparer(func(a, b auth.Ring) bool { return fmt.Sprint(a.KIDs()) == fmt.Sprint(b.KIDs()) }),
		cmp.Comparer(func(a, b []discovery.Source) bool { return fmt.Sprint(ask(a)) == fmt.Sprint(ask(b)) }))
}

// ask returns what sources find.
func ask(sources []discovery.Source) (all []discovery.Candidate) {
	for _, source := range sources {
		found, err := source.Find(context.Background())
		if err != nil {
			panic("a static source does no I/O and cannot fail: " + err.Error())
		}
		all = append(all, found...)
	}
	return all
}

// yamlAt nests a value below a path.
func yamlAt(path, value string) string {
	parts := strings.Split(path, ".")
	var out strings.Builder
	for i, part := range parts {
		out.WriteString(strings.Repeat("  ", i) + part + ":")
		if i < len(parts)-1 {
			out.WriteString("\n")
		}
	}
	return out.String() + " " + value + "\n"
}

func TestEveryOptionHasItsThreeWaysOrAReason(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, o := range options() {
		if o.flag == "" && o.noFlag == "" || len(o.keys) == 0 && o.noFile == "" {
			t.Errorf("%+v lacks a flag or a file key without a reason", o)
		}
		if o.flag != "" && (o.usage == "" || o.env() == "") {
			t.Errorf("--%s lacks a usage or a variable", o.flag)
		}
		for _, name := range append([]string{o.flag, o.alias, o.env()}, o.keys...) {
			if name != "" && seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
	}
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	t.Parallel()
	file := write(t, "node.yaml", "cluster_config:\n  name: of-file\n  tags: {from: file}\nmgmt: {bind: '127.0.0.1:3'}\n")
	term := newTerminal(t, "MUSTER_CONFIG="+file, "MUSTER_CLUSTER_NAME=of-env", "MUSTER_TAG=from=env", "MUSTER_ZONE=")
	s := must(t)(term.settings(t, "--cluster-name=of-flag"))
	got := []any{s.ClusterName, s.Tags["from"], s.Bind, s.Profile, s.Zone}
	if diff := cmp.Diff([]any{"of-flag", "env", "127.0.0.1:3", "lan", ""}, got); diff != "" {
		t.Errorf("flag, environment, file, default, empty variable (-want +got):\n%s", diff)
	}
}

func TestAliasIsTheSameFlag(t *testing.T) {
	t.Parallel()
	s := must(t)(newTerminal(t).settings(t, "--cluster-node-id=n9"))
	if s.NodeName != "n9" {
		t.Errorf("got node name %q, want n9", s.NodeName)
	}
}

func TestValuesExpand(t *testing.T) {
	t.Parallel()
	secret := write(t, "value", "from-file\n")
	term := newTerminal(t, "ZONE=z7", "DIR="+filepath.Dir(secret))
	s := must(t)(term.settings(t, "--zone=${ZONE}", "--region=file:${DIR}/value", "--tag=a=$${ZONE}", "--tag=b=x${ZONE}y"))
	got := []string{s.Zone, s.Region, s.Tags["a"], s.Tags["b"]}
	if diff := cmp.Diff([]string{"z7", "from-file", "${ZONE}", "xz7y"}, got); diff != "" {
		t.Errorf("expanded values (-want +got):\n%s", diff)
	}
	_, _, err := term.settings(t, "--zone=${NOWHERE}", "--region=file:/no/such/file")
	wantFaults(t, err, "--zone: the variable NOWHERE is empty or not set", "--region: open /no/such/file")
}

// TestUnknownVariablesAreRefused, each with the one that was meant, as far as that
// can be told.
func TestUnknownVariablesAreRefused(t *testing.T) {
	t.Parallel()
	for name, meant := range map[string]string{
		"MUSTER_CLUSTR_NAME":               "did you mean MUSTER_CLUSTER_NAME?",
		"MUSTER_CLUSTER_COOKIE_FIEL":       "did you mean MUSTER_CLUSTER_COOKIE_FILE?",
		"MUSTER_CLUSTER_COOKIES_FILE":      "did you mean MUSTER_CLUSTER_COOKIE_FILE?",
		"MUSTER_JOIN_ENDPOINT":             "did you mean MUSTER_CLUSTER_JOIN_ENDPOINT?",
		"MUSTER_Cluster_Name":              "did you mean MUSTER_CLUSTER_NAME?",
		"MUSTER_COLOUR_OF_ALL_THE_BUTTONS": "unset it; muster serve --help lists the flags",
	} {
		_, _, err := newTerminal(t, name+"=x").settings(t)
		e, ok := errors.AsType[*muster.Error](err)
		if !ok || e.Code != muster.CodeBadConfig || e.Text != "muster reads no variable "+name || !strings.Contains(e.Fix, meant) {
			t.Errorf("%s: got %+v, want the fix %q", name, err, meant)
		}
	}
}

// TestVariablesOfAServiceNamedMusterAreNotOurs: Kubernetes sets them everywhere.
func TestVariablesOfAServiceNamedMusterAreNotOurs(t *testing.T) {
	t.Parallel()
	_, warnings, err := newTerminal(t, "MUSTER_SERVICE_HOST=10.0.0.1", "MUSTER_SERVICE_PORT=9113", "MUSTER_SERVICE_PORT_MGMT=9113", "MUSTER_PORT=tcp://10.0.0.1:9113",
		"MUSTER_PORT_9113_TCP=tcp://10.0.0.1:9113", "MUSTER_PORT_9113_TCP_PROTO=tcp", "MUSTER_PORT_9113_TCP_PORT=9113", "MUSTER_PORT_9113_TCP_ADDR=10.0.0.1",
		"MUSTER_HEADLESS_SERVICE_HOST=None", "MUSTER_CLUSTER_PORT_9113_TCP_ADDR=10.0.0.1", "MUSTER_TOKEN=x", "MUSTER_ADDR=http://10.0.0.1:9113").settings(t)
	if err != nil || len(warnings) != 0 {
		t.Errorf("got warnings %q and error %v", warnings, err)
	}
}

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster"
)

// wantFaults wants exactly the faults that contain these texts, in any order.
func wantFaults(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no fault, want %q", texts)
	}
	faults := flatten(err)
	for _, text := range texts {
		found := false
		for _, fault := range faults {
			found = found || strings.Contains(fault.Error(), text)
		}
		if !found {
			t.Errorf("no fault says %q", text)
		}
	}
	if len(faults) != len(texts) || t.Failed() {
		t.Errorf("got %d faults, want %d:\n%v", len(faults), len(texts), err)
	}
}

func TestServeReportsEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	term := newTerminal(t, "MUSTER_REGION=eu west")
	file := write(t, "node.yaml", "cluster_config:\n  nam: x\n  profile: lan\nhealth: {}\n")
	code := term.muster(t, "serve", "--config", file, "--cluster-nme=x", "--zone", "", "--mgmt-bind", "here", "--bootstrap-expect=-1", "--drain-delay=5x",
		"--allowed-address-space=10.0.0.1", "--allowed-address-space=10.0.0.0/33", "--config-store=mysql://ada:hunter2@db/x", "--cluster-node-name=a b",
		"--discovery=consul://x:8500/m", "--formation=sometimes", "--profile=lam", "--metrics-public=maybe", "--log-level=trace", "--tag=x",
		"--cluster-join-endpoint=http://ada:hunter2@b:1", "--mgmt-path-prefix=x/", "--mgmt-allowed-host=http://x", "stray")
	if code != 2 {
		t.Errorf("got exit code %d, want 2", code)
	}
	says := term.err.String()
	for _, want := range []string{
		"no flag --cluster-nme", "did you mean --cluster-name?", `no argument "stray"`, `--mgmt-bind: "here" is not HOST:PORT`, `--bootstrap-expect: "-1"`,
		`--drain-delay: "5x"`, `--allowed-address-space: "10.0.0.1"`, `--allowed-address-space: "10.0.0.0/33"`, `--config-store: the URL has the scheme "mysql"`,
		`--cluster-node-name: name "a b"`, `--discovery: the method "consul" is not supported by this version`, `--formation: "sometimes"`, `did you mean lan?`,
		`--metrics-public: "maybe"`, `--log-level: "trace"`, `--tag: "x"`, "--cluster-join-endpoint: the URL of \"b:1\" holds a user or password",
		`--mgmt-path-prefix: "x/"`, `--mgmt-allowed-host: "http://x"`, "--region (MUSTER_REGION)", "node.yaml:2:3: unknown key cluster_config.nam; did you mean cluster_config.name?",
		"node.yaml:3:3: unknown key cluster_config.profile; did you mean cluster_config.gossip.profile?", "node.yaml:4:1: health is not supported by this version",
	} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(says, "hunter2") {
		t.Error("a fault shows a password")
	}
	if t.Failed() {
		t.Log(says)
	}
}

func TestSecretsNeverAppear(t *testing.T) {
	t.Parallel()
	const canary = "hunter2hunter2"
	file := write(t, "node.yaml", "config_store:\n  type: postgres\n  config: {host: db, port: x, password: "+canary+"}\n")
	broken := write(t, "broken.yaml", "config_store:\n  config:\n    password: "+canary+"\n   port: [\n")
	dsn := write(t, "dsn", "postgres://ada:"+canary+"@:bad/x")
	for _, args := range [][]string{
		{"--config-store", "postgres://ada:" + canary + "@db:bad/x"}, {"--config-store", "postgres://ada:" + canary + "@db"},
		{"--config-store", "postgres://ada:" + canary + "%zz@db/x"}, {"--config-store", "postgres//ada:" + canary + "@db/x"},
		{"--config-store", canary}, {"--config-store", "postgres://ada:" + canary + "@db/x?sslmode=maybe"},
		{"--config-store", "file:" + dsn}, {"--cluster-cookie", canary}, {"--config", file}, {"--config", broken},
		{"--cluster-join-endpoint", "http://ada:" + canary + "@b:1"}, {"--mgmt-advertise", "http://ada:" + canary + "@b:1"},
	} {
		term := newTerminal(t)
		if code := term.muster(t, append([]string{"serve"}, args...)...); code != 2 {
			t.Errorf("%s: got exit code %d, want 2", args[0], code)
		}
		if says := term.out.String() + term.err.String(); strings.Contains(says, canary) {
			t.Errorf("%q shows the secret: %s", args, says)
		}
	}
	s := must(t)(newTerminal(t).settings(t, "--config-store", "postgres://ada:"+canary+"@db/x"))
	if shows := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shows, canary) {
		t.Error("printed settings show the secret")
	}
}

func TestSecretsInOpenPlacesAreWarnedOf(t *testing.T) {
	t.Parallel()
	file := write(t, "node.yaml", "config_store:\n  type: postgres\n  config: {host: db, db_name: x, password: pw}\n")
	dsn := write(t, "dsn", "postgres://ada:pw@db/x")
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"--cluster-cookie", "correct-horse-battery-staple-0123456789"}, "--cluster-cookie"},
		{[]string{"--config-store", "postgres://ada:pw@db/x"}, "--config-store file:PATH"},
		{[]string{"--config", file}, "password_file"},
		{[]string{"--config-store", "file:" + dsn}, ""},
		{[]string{"--config-store", "postgres://ada@db/x"}, ""},
	} {
		_, warnings, err := newTerminal(t).settings(t, tt.args...)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(warnings, "\n"); (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
			t.Errorf("%q: got warnings %q, want one of %q", tt.args, got, tt.says)
		}
	}
}

func TestExitCodeIsThatOfTheCode(t *testing.T) {
	t.Parallel()
	for _, info := range muster.Codes() {
		err := fmt.Errorf("doing it: %w", muster.Errorf(info.Code, "it broke"))
		if got := exitCode(err); got != info.Exit {
			t.Errorf("%s: got exit code %d, want %d", info.Code, got, info.Exit)
		}
	}
	if got := exitCode(errors.New("whatever")); got != 1 {
		t.Errorf("an unknown error: got exit code %d, want 1", got)
	}
}

func TestNearestFindsTheWordThatWasMeant(t *testing.T) {
	t.Parallel()
	known := []string{"cluster-name", "cluster-node-name", "zone", "region", "discovery"}
	for word, want := range map[string]string{
		"cluster-nmae": "cluster-name", "zoen": "zone", "Zone": "zone", "discover": "discovery", "node-name": "cluster-node-name", "q": "", "weather": "", "": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

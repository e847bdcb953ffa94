package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func TestOffLoopbackACookieIsNeeded(t *testing.T) {
	t.Parallel()
	for _, bind := range []string{"0.0.0.0:9113", ":9113", "[::]:9113", "10.0.0.1:9113", "node.example:9113"} {
		_, _, err := newTerminal(t).settings(t, "--mgmt-bind="+bind)
		if muster.CodeOf(err) != muster.CodeCookieMissing {
			t.Errorf("%s: got %v, want cookie-missing", bind, err)
		}
		s := must(t)(newTerminal(t).settings(t, "--mgmt-bind="+bind, "--insecure", "--data-dir="+t.TempDir()))
		if err := s.ensureCookie(); err != nil || len(s.Cookies) != 1 {
			t.Errorf("%s --insecure: got %v and %v, want a cookie made on the spot", bind, s.Cookies, err)
		}
	}
}

func TestOnLoopbackACookieIsMade(t *testing.T) {
	t.Parallel()
	for _, bind := range []string{"127.0.0.1:9113", "127.9.9.9:0", "[::1]:9113", "localhost:9113"} {
		dir := filepath.Join(t.TempDir(), "data")
		s := must(t)(newTerminal(t).settings(t, "--mgmt-bind="+bind, "--data-dir="+dir))
		if exists(dir) {
			t.Fatalf("reading the settings made %s", dir)
		}
		if err := s.ensureCookie(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "cookie"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v; want a cookie of mode 0600", bind, info, err)
		}
		again := must(t)(newTerminal(t).settings(t, "--mgmt-bind=0.0.0.0:9113", "--data-dir="+dir))
		if len(s.Cookies) != 1 || len(again.Cookies) != 1 || s.Cookies[0].KID() != again.Cookies[0].KID() {
			t.Errorf("%s: got %v, then %v; want the same cookie", bind, s.Cookies, again.Cookies)
		}
	}
}

func TestGivenCookiesAreUsedInOrder(t *testing.T) {
	t.Parallel()
	first, second := auth.NewCookie().Reveal(), auth.NewCookie().Reveal()
	term := newTerminal(t)
	term.stdin = strings.NewReader(second)
	s := must(t)(term.settings(t, "--cluster-cookie-file="+write(t, "c", first), "--cluster-cookie-file=-", "--mgmt-bind=0.0.0.0:1"))
	want, _ := auth.ParseCookie([]byte(first))
	if err := s.ensureCookie(); err != nil || len(s.Cookies) != 2 || s.Cookies[0].KID() != want.KID() {
		t.Errorf("got %v, %v; want the two cookies, the file's first", s.Cookies, err)
	}
	if exists(filepath.Join(s.DataDir, "cookie")) {
		t.Error("a cookie was made beside the given ones")
	}
}

func TestCookieFaultsAreAllReported(t *testing.T) {
	t.Parallel()
	open := write(t, "open", auth.NewCookie().Reveal())
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := newTerminal(t).settings(t, "--cluster-cookie-file="+open, "--cluster-cookie-file="+write(t, "weak", "secret"), "--cluster-cookie=short", "--mgmt-bind=0.0.0.0:1")
	wantFaults(t, err, "cookie-readable", "weak-cookie", "--cluster-cookie: the cookie has 5 characters")
}

func TestOptionsWithoutEffectAreRefused(t *testing.T) {
	t.Parallel()
	standalone := write(t, "node.yaml", "cluster_config: {enabled: false}\n")
	for _, tt := range []struct{ args, says string }{
		{"--cluster-join-node-id=n1", "cluster_config.join_node_id in the file) has no effect without --cluster-join-endpoint"},
		{"--discovery=store", "--discovery (MUSTER_DISCOVERY, cluster_config.discovery in the file): store reads the member table"},
		{"--config=" + standalone + " --cluster-join-endpoint=a:1", "--cluster-join-endpoint has no effect"},
		{"--config=" + standalone + " --bootstrap-expect=3", "--bootstrap-expect has no effect"},
		{"--config=" + write(t, "gossip.yaml", "cluster_config: {gossip: {port: 10101}}\n"), "gossip rides on the management port"},
	} {
		_, _, err := newTerminal(t).settings(t, strings.Fields(tt.args)...)
		wantFaults(t, err, tt.says)
	}
	for _, args := range []string{
		"--discovery=store --config-store=postgres://ada@db/x", "--config=" + standalone,
		"--config=" + write(t, "same.yaml", "cluster_config: {gossip: {port: 9113}}\n"),
	} {
		if _, _, err := newTerminal(t).settings(t, strings.Fields(args)...); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestStoreSectionMakesADSN(t *testing.T) {
	t.Parallel()
	password := write(t, "password", "p@ss:w/rd\n")
	dsn := write(t, "dsn", "postgres://ada@db/x?sslmode=require\n")
	for _, tt := range []struct{ name, section, want string }{
		{"full", "{enabled: true, type: postgres, config: {host: db, port: 5433, user: ada, password_file: " + password + ", db_name: m, ssl_mode: verify-full}}", "postgres://ada:p%40ss%3Aw%2Frd@db:5433/m?sslmode=verify-full"},
		{"least", "{type: postgres, config: {host: db, db_name: m}}", "postgres://db/m"},
		{"address", "{type: postgres, config: {host: 'fd00::1', db_name: m}}", "postgres://[fd00::1]:5432/m"},
		{"file", "{type: postgres, dsn_file: " + dsn + "}", "postgres://ada@db/x?sslmode=require"},
		{"sqlite", "{enabled: true, type: sqlite}", "sqlite"},
		{"off", "{enabled: false}", "auto"},
		{"scalar", "peer", "peer"},
	} {
		s := must(t)(newTerminal(t).settings(t, "--config="+write(t, "node.yaml", "config_store: "+tt.section+"\n")))
		if got := s.Store.Reveal(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	file := write(t, "node.yaml", "config_store: {type: postgres, config: {host: db, db_name: m}}\n")
	if s := must(t)(newTerminal(t).settings(t, "--config="+file, "--config-store=sqlite")); s.Store.Reveal() != "sqlite" {
		t.Errorf("got %q, want the flag to win over the section", s.Store.Reveal())
	}
}

func TestStoreSectionRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	dsn := write(t, "dsn", "postgres://ada@db/x")
	for section, says := range map[string]string{
		"{enabled: true}":                      "type is missing",
		"{config: {host: db}}":                 "type is missing",
		"{type: postgres}":                     "needs host and db_name",
		"{type: mysql}":                        `"mysql" is none of postgres, sqlite`,
		"{enabled: false, type: sqlite}":       "enabled is false, but",
		"{type: sqlite, config: {host: db}}":   "belong to type postgres",
		"{type: postgres, dsn_file: /no/file}": "no such file",
		"{type: postgres, dsn_file: " + dsn + ", config: {host: db}}":                     "both dsn_file and config",
		"{type: postgres, config: {host: db, db_name: m, password: a, password_file: b}}": "both password and password_file",
		"{type: postgres, config: {host: db, db_name: m, ssl_mode: on}}":                  "none of disable",
		"{type: postgres, config: {host: db, db_name: m, prot: 1}}":                       "did you mean config_store.config.port?",
	} {
		_, _, err := newTerminal(t).settings(t, "--config="+write(t, "node.yaml", "config_store: "+section+"\n"))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want it to say %q", section, err, says)
		}
	}
}

func TestPostgresURLsAreChecked(t *testing.T) {
	t.Parallel()
	for value, good := range map[string]bool{
		"postgres://ada@db/x": true, "postgresql://ada:pw@db:5432/x?sslmode=verify-full": true, "postgres:///x?host=/run/postgresql": true, "postgres://a:1,b:2/x": true,
		"postgres://db": false, "postgres:///x": false, "postgres://db:0/x": false, "postgres://db/x?sslmode=yes": false, "host=db dbname=x": false, "sqllite": false, "": false,
	} {
		if err := checkStore(value); (err == nil) != good {
			t.Errorf("%q: got %v, want good %t", value, err, good)
		}
	}
}

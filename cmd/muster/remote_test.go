package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/client"
)

// ring reads a cookie file.
func ring(t *testing.T, path string) auth.Ring {
	t.Helper()
	cookies, err := auth.LoadCookies([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cookies
}

func TestTokenIsMadeFromTheCookieOnThisMachine(t *testing.T) {
	t.Parallel()
	own, given := write(t, "cookie", auth.NewCookie().Reveal()), write(t, "given", auth.NewCookie().Reveal())
	for _, tt := range []struct {
		name, env string
		args      []string
		cookie    string // that must have signed; empty: anonymous
	}{
		{"the data directory's", "MUSTER_DATA_DIR=" + filepath.Dir(own), nil, own},
		{"that of a variable", "MUSTER_CLUSTER_COOKIE_FILE=" + given, nil, given},
		{"that of a flag", "MUSTER_TOKEN=other", []string{"--cluster-cookie-file", given}, given},
		{"by name", "MUSTER_CLUSTER_COOKIE_FILE=" + given, []string{"--addr", "localhost:9113"}, given},
		{"none", "X=1", nil, ""},
		{"none for another machine", "MUSTER_CLUSTER_COOKIE_FILE=" + given, []string{"--addr", "http://10.0.0.1:9113"}, ""},
	} {
		term := newTerminal(t, tt.env)
		if code := term.muster(t, append([]string{"status"}, tt.args...)...); code != 0 {
			t.Fatalf("%s: exit code %d: %s", tt.name, code, term.err)
		}
		token := term.dialled[0].token
		if tt.cookie == "" {
			if !token.Empty() {
				t.Errorf("%s: a token was sent", tt.name)
			}
			continue
		}
		claims, err := ring(t, tt.cookie).Verify(token.Reveal())
		if err != nil || claims.Subject != "ada" || claims.Role != auth.RoleAdmin || time.Until(claims.Expires) > 6*time.Minute {
			t.Errorf("%s: got %+v, %v; want a short admin token of ada", tt.name, claims, err)
		}
	}
}

func TestGivenTokenIsUsed(t *testing.T) {
	t.Parallel()
	file := write(t, "token", "of-the-file\n")
	for _, tt := range []struct {
		args []string
		want string
	}{{nil, "of-the-variable"}, {[]string{"--token-file", file}, "of-the-file"}} {
		term := newTerminal(t, "MUSTER_TOKEN=of-the-variable", "MUSTER_ADDR=http://10.0.0.1:9113/below")
		term.muster(t, append([]string{"status"}, tt.args...)...)
		if got := term.dialled[0]; got.token.Reveal() != tt.want || got.addr != "http://10.0.0.1:9113/below" {
			t.Errorf("got %s at %s, want %s", got.token.Reveal(), got.addr, tt.want)
		}
	}
}

func TestCookieIsNotUsedForAnotherMachine(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	code := term.muster(t, "members", "--addr=http://10.0.0.1:9113", "--cluster-cookie-file", write(t, "c", auth.NewCookie().Reveal()))
	if code != 2 || !strings.Contains(term.err.String(), "muster token create") || len(term.dialled) != 0 {
		t.Errorf("got exit code %d and %q", code, term.err)
	}
}

func TestMissingCredentialFilesAreNamed(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--token-file", "/no/such/token"}, {"--cluster-cookie-file", "/no/such/cookie"}} {
		term := newTerminal(t)
		if code := term.muster(t, append([]string{"members"}, args...)...); code != 2 || !strings.Contains(term.err.String(), args[1]) {
			t.Errorf("%s: got exit code %d and %q", args[0], code, term.err)
		}
	}
}

func TestTokenCreatePrintsOnlyTheToken(t *testing.T) {
	t.Parallel()
	cookie, cluster := write(t, "cookie", auth.NewCookie().Reveal()), muster.NewClusterID()
	term := newTerminal(t)
	if code := term.muster(t, "token", "create", "--role=operator", "--ttl=30d", "--subject=ci", "--cluster-id", string(cluster), "--cluster-cookie-file", cookie); code != 0 {
		t.Fatalf("exit code %d: %s", code, term.err)
	}
	claims, err := ring(t, cookie).VerifyFor(strings.TrimSuffix(term.out.String(), "\n"), cluster)
	life := time.Until(claims.Expires)
	if err != nil || claims.Subject != "ci" || claims.Role != auth.RoleOperator || claims.Cluster != cluster || life < 30*24*time.Hour-time.Minute || life > 30*24*time.Hour {
		t.Errorf("got %+v, %v", claims, err)
	}
	if term.err.Len() > 0 {
		t.Errorf("standard error has %q", term.err)
	}
	for _, args := range [][]string{{"--role=root"}, {"--ttl=367d"}, {"--ttl=0s"}, {"--cluster-id=mine"}} {
		if code := term.muster(t, append([]string{"token", "create", "--cluster-cookie-file", cookie}, args...)...); code != 2 || term.out.Len() > 0 {
			t.Errorf("%v: got exit code %d and %q", args, code, term.out)
		}
	}
}

func TestCookieNewNeverOverwrites(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	if code := term.muster(t, "cookie", "new"); code != 0 || len(strings.TrimSpace(term.out.String())) != 61 {
		t.Errorf("got exit code %d and %d bytes", code, term.out.Len())
	}
	path := filepath.Join(t.TempDir(), "cookie")
	if code := term.muster(t, "cookie", "new", "--out", path); code != 0 || term.out.Len() > 0 {
		t.Errorf("got exit code %d, standard output %q", code, term.out)
	}
	before := ring(t, path)[0].KID()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || !strings.Contains(term.err.String(), before) {
		t.Errorf("got %v, %v and %q", info, err, term.err)
	}
	if code := term.muster(t, "cookie", "new", "--out", path); code != 2 || !strings.Contains(term.err.String(), "exists already") {
		t.Errorf("again: got exit code %d and %q", code, term.err)
	}
	if code := term.muster(t, "cookie", "new", "--out", path, "--if-missing"); code != 0 || ring(t, path)[0].KID() != before {
		t.Errorf("--if-missing: got exit code %d, key id %s", code, ring(t, path)[0].KID())
	}
}

func TestConfigSetReplacesWhatItRead(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.meddle = func(c *fakeCluster) { c.seed("route", "demo", `{"by":"another"}`) }
	if code := term.muster(t, "config", "set", "route/demo", "1"); code != 6 {
		t.Errorf("somebody wrote in between: got exit code %d, want 6", code)
	}
	term.cluster.meddle = nil
	if code := term.muster(t, "config", "set", "route/demo", "2"); code != 0 {
		t.Errorf("nobody wrote in between: got exit code %d, want 0", code)
	}
	if code := term.muster(t, "config", "set", "route/demo", "3", "--if-rev=0"); code != 6 {
		t.Errorf("--if-rev 0 over a document: got exit code %d, want 6", code)
	}
	if got := string(term.cluster.docs["route/demo"].Spec); got != "2" {
		t.Errorf("got %s, want 2", got)
	}
}

func TestConfigSetForceWinsARace(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	times := 0
	term.cluster.meddle = func(c *fakeCluster) { // the document comes, then goes
		if times++; times == 1 {
			c.seed("route", "demo", "0")
		} else if times == 2 {
			delete(c.docs, "route/demo")
		}
	}
	if code := term.muster(t, "config", "set", "route/demo", "7", "--force"); code != 0 || string(term.cluster.docs["route/demo"].Spec) != "7" {
		t.Errorf("got exit code %d and %s after %d writes", code, term.cluster.docs["route/demo"].Spec, times)
	}
	term.cluster.meddle = func(c *fakeCluster) {
		if _, there := c.docs["route/demo"]; there {
			delete(c.docs, "route/demo")
		} else {
			c.seed("route", "demo", "0")
		}
	}
	if code := term.muster(t, "config", "set", "route/demo", "8", "--force"); code != 6 {
		t.Errorf("against endless meddling: got exit code %d, want 6", code)
	}
}

func TestConfigSetReadsFilesAndStandardInput(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.stdin = strings.NewReader(`{"from":"stdin"}`)
	for arg, want := range map[string]string{`"text"`: `"text"`, "@" + write(t, "doc.json", `{"from":"file"}`): `{"from":"file"}`, "-": `{"from":"stdin"}`} {
		if code := term.muster(t, "config", "set", "route/demo", arg, "--reason=test"); code != 0 {
			t.Errorf("%s: exit code %d: %s", arg, code, term.err)
		}
		if doc := term.cluster.docs["route/demo"]; string(doc.Spec) != want || doc.Reason != "test" {
			t.Errorf("%s: got %s because %q, want %s", arg, doc.Spec, doc.Reason, want)
		}
	}
}

func TestStatusExitCodeIsTheVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		health  muster.Health
		healthy int
		args    []string
		want    int
	}{
		{muster.Healthy, 3, nil, 0}, {muster.Degraded, 2, nil, 3}, {muster.Unhealthy, 1, nil, 3},
		{muster.Degraded, 2, []string{"--expected=2"}, 0}, {muster.Healthy, 3, []string{"--expected=4"}, 3}, {muster.Healthy, 3, []string{"--expected=-1"}, 2},
	} {
		term := newTerminal(t)
		term.cluster.status.ClusterHealth, term.cluster.status.HealthyMembers = tt.health, tt.healthy
		if got := term.muster(t, append([]string{"status"}, tt.args...)...); got != tt.want {
			t.Errorf("%s, %d healthy, %v: got exit code %d, want %d", tt.health, tt.healthy, tt.args, got, tt.want)
		}
	}
}

func TestStatusWaitsUntilHealthy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		bad := c.status
		bad.ClusterHealth = muster.Degraded
		refused := func() (muster.Status, bool, error) {
			return muster.Status{}, false, muster.Errorf(muster.CodePeerUnreachable, "nobody is there yet")
		}
		c.statuses = []func() (muster.Status, bool, error){refused, refused, func() (muster.Status, bool, error) { return bad, true, nil }}
		_, good, err := waitForStatus(t.Context(), c, client.When{Wait: time.Minute})
		if !good || err != nil || len(c.asked) != 4 {
			t.Errorf("got %t, %v after %d questions, want yes after 4", good, err, len(c.asked))
		}
		if last := c.asked[3].Wait; c.asked[0].Wait != 0 || last <= 0 || last > time.Minute {
			t.Errorf("got waits %v, want none in the first question and the rest of the minute in the last", c.asked)
		}
	})
}

func TestStatusWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.status.ClusterHealth = muster.Unhealthy
		start := time.Now()
		if _, good, err := waitForStatus(t.Context(), c, client.When{Wait: 5 * time.Second}); good || err != nil || time.Since(start) > 6*time.Second {
			t.Errorf("got %t, %v after %v, want no after 5s", good, err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := waitForStatus(ctx, c, client.When{Wait: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		c.statuses = append(c.statuses, func() (muster.Status, bool, error) {
			return muster.Status{}, false, muster.Errorf(muster.CodeUnauthenticated, "who are you?")
		})
		if _, _, err := waitForStatus(t.Context(), c, client.When{Wait: time.Hour}); muster.CodeOf(err) != muster.CodeUnauthenticated {
			t.Errorf("got %v, want a refusal at once", err)
		}
	})
}

func TestUIOpensTheBrowserOnlyIfAsked(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	opened := ""
	term.browse = func(_ context.Context, url string) error {
		opened = url
		return nil
	}
	if term.muster(t, "ui"); opened != "" {
		t.Errorf("%s was opened", opened)
	}
	if term.muster(t, "ui", "--open"); opened == "" || opened != strings.TrimSpace(term.out.String()) {
		t.Errorf("%q was opened, %q printed", opened, term.out)
	}
}

func TestProblemsOfAMemberAreThoseThatNameIt(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.cluster.status.Problems = []muster.Problem{
		{Code: muster.CodeMembersMissing, Text: "n3 (33333333) is dead for 2h"}, {Code: muster.CodeConfigLag, Text: "n33 is behind"},
	}
	if code := term.muster(t, "why", "n3"); code != 3 || !strings.Contains(term.out.String(), "members-missing") || strings.Contains(term.out.String(), "n33") {
		t.Errorf("got exit code %d and %s", code, term.out)
	}
}

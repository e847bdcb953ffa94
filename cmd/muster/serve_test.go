package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// fakeNode is a node that does nothing.
type fakeNode struct {
	settings settings
	started  chan struct{}
	ready    chan struct{}
	fail     error
}

func newFakeNode(s settings) *fakeNode {
	return &fakeNode{settings: s, started: make(chan struct{}), ready: make(chan struct{})}
}

func (n *fakeNode) Run(ctx context.Context) error {
	if n.fail != nil {
		return n.fail
	}
	if err := os.MkdirAll(n.settings.DataDir, 0o700); err != nil {
		return err
	}
	close(n.started)
	close(n.ready)
	<-ctx.Done()
	return nil
}

func (n *fakeNode) Started() <-chan struct{} { return n.started }
func (n *fakeNode) Ready() <-chan struct{}   { return n.ready }
func (n *fakeNode) Reload() error            { return nil }
func (n *fakeNode) Addr() string             { return n.settings.Bind }
func (n *fakeNode) Name() string             { return n.settings.NodeName }
func (n *fakeNode) LoginCode() string        { return "ONE-USE-CODE" }

func (n *fakeNode) Endpoint() string {
	if n.settings.Advertise == "none" {
		return ""
	}
	return "http://" + strings.Replace(n.settings.Bind, "0.0.0.0", "10.0.0.7", 1)
}

func (n *fakeNode) Status() muster.Status {
	return muster.Status{NodeID: "11111111-1111-8111-8111-111111111111", ClusterName: n.settings.ClusterName, ClusterHealth: muster.Healthy, HealthyMembers: 3, Summary: "all is well"}
}

// stage starts fake nodes instead of real ones and keeps them.
type stage struct {
	mu    sync.Mutex
	nodes []*fakeNode
	fail  error // of the node that is started next
}

func (st *stage) newNode(s settings, _ *slog.Logger) (node, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	n := newFakeNode(s)
	n.fail = st.fail
	st.nodes = append(st.nodes, n)
	return n, nil
}

// session runs a command that lasts until it is interrupted, for a while of
// virtual time, and returns its exit code.
func session(t *testing.T, term *terminal, args ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return term.run(ctx, args)
}

func TestServeSaysWhereItIsAndHowToGoOn(t *testing.T) {
	t.Parallel()
	cookie := write(t, "cookie", auth.NewCookie().Reveal())
	for _, tt := range []struct {
		name, args string
		says       []string
		not        []string
	}{
		{"loopback", "--cluster-node-name n1", []string{
			"node n1 (11111111-", "listening   http://127.0.0.1:9113\n", "http://127.0.0.1:9113/ui/#/login?code=ONE-USE-CODE", "reached from here only",
			"-2 --mgmt-bind 127.0.0.1:9114 --cluster-cookie-file /", "/cookie --cluster-join-endpoint http://127.0.0.1:9113\n",
		}, []string{"copy", "advertised"}},
		{"network", "--mgmt-bind 0.0.0.0:9113 --cluster-cookie-file " + cookie, []string{
			"listening   http://127.0.0.1:9113\n", "advertised  http://10.0.0.7:9113\n", "copy " + cookie + " to the other machine first",
			"--mgmt-bind 0.0.0.0:9113 --cluster-cookie-file cookie --cluster-join-endpoint http://10.0.0.7:9113\n",
		}, []string{"ONE-USE-CODE"}},
		{"outbound only", "--mgmt-advertise none", []string{"advertised  none: this node calls others"}, []string{"second node"}},
		{"insecure makes a cookie", "--mgmt-bind 0.0.0.0:9113 --insecure", []string{"listening", "/cookie to the other machine first"}, []string{"ONE-USE-CODE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				term, st := newTerminal(t), &stage{}
				term.newNode = st.newNode
				if code := session(t, term, append([]string{"serve"}, strings.Fields(tt.args)...)...); code != 0 {
					t.Fatalf("exit code %d: %s", code, term.err)
				}
				for _, want := range tt.says {
					if !strings.Contains(term.out.String(), want) {
						t.Errorf("it does not say %q", want)
					}
				}
				for _, bad := range tt.not {
					if strings.Contains(term.out.String(), bad) {
						t.Errorf("it says %q", bad)
					}
				}
				if t.Failed() {
					t.Log(term.out)
				}
			})
		})
	}
}

func TestServeFailsLikeItsNode(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	term.newNode = (&stage{fail: muster.Errorf(muster.CodeAddressInUse, "127.0.0.1:9113 is taken")}).newNode
	if code := term.muster(t, "serve"); code != 1 || !strings.Contains(term.err.String(), "muster explain address-in-use") || term.out.Len() > 0 {
		t.Errorf("got exit code %d, %q and %q", code, term.out, term.err)
	}
	term.newNode = func(settings, *slog.Logger) (node, error) { return nil, errors.New("no") }
	if code := term.muster(t, "serve"); code != 1 || term.err.String() != "error: no\n" {
		t.Errorf("got exit code %d and %q", code, term.err)
	}
}

func TestServeTouchesNothingWhenItsSettingsAreWrong(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if code := newTerminal(t).muster(t, "serve", "--data-dir", dir, "--zone=a b"); code != 2 || exists(dir) {
		t.Errorf("got exit code %d, data directory made: %t", code, exists(dir))
	}
}

func TestLogGoesToStandardErrorInItsFormat(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"json": `"msg":"hello"`, "text": "msg=hello"} {
		term := newTerminal(t)
		log := term.logger(must(t)(term.settings(t, "--log-format="+format, "--log-level=warn")))
		log.Info("quiet")
		log.Warn("hello")
		if got := term.err.String(); !strings.Contains(got, want) || strings.Contains(got, "quiet") {
			t.Errorf("%s: got %q", format, got)
		}
	}
}

func TestDevRunsAClusterAndRemovesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		term, st := newTerminal(t), &stage{}
		term.newNode = st.newNode
		if code := session(t, term, "dev", "--nodes=3"); code != 0 {
			t.Fatalf("exit code %d: %s", code, term.err)
		}
		if len(st.nodes) != 3 {
			t.Fatalf("%d nodes ran, want 3", len(st.nodes))
		}
		for i, n := range st.nodes {
			s := n.settings
			if joins := len(s.JoinEndpoints); joins != min(i, 1) || s.Cookies[0].KID() != st.nodes[0].settings.Cookies[0].KID() {
				t.Errorf("node %d joins %v with cookie %v", i, s.JoinEndpoints, s.Cookies)
			}
			if exists(s.DataDir) || exists(filepath.Dir(s.DataDir)) {
				t.Errorf("%s is still there", s.DataDir)
			}
		}
		for _, want := range []string{
			"127.0.0.1:9115", "dashboard  http://127.0.0.1:9113/ui/#/login?code=ONE-USE-CODE", "cluster dev is HEALTHY: all is well",
			"muster serve --data-dir d3 --mgmt-bind 127.0.0.1:9115 --cluster-node-name n3 --cluster-cookie-file cookie --cluster-join-endpoint http://127.0.0.1:9113",
		} {
			if !strings.Contains(term.out.String(), want) {
				t.Errorf("it does not say %q:\n%s", want, term.out)
			}
		}
		if term.cluster.rev < 5 || len(term.cluster.docs) < 3 {
			t.Errorf("%d writes to %d documents in 20 s, want some traffic", term.cluster.rev, len(term.cluster.docs))
		}
	})
}

func TestDevStopsWhenANodeFails(t *testing.T) {
	t.Parallel()
	term, st := newTerminal(t), &stage{fail: muster.Errorf(muster.CodeAddressInUse, "127.0.0.1:9113 is taken")}
	term.newNode = st.newNode
	if code := term.muster(t, "dev"); code != 1 || !strings.Contains(term.err.String(), "is taken") || len(st.nodes) != 1 {
		t.Errorf("got exit code %d, %d nodes and %q", code, len(st.nodes), term.err)
	}
	if dir := filepath.Dir(st.nodes[0].settings.DataDir); exists(dir) {
		t.Errorf("%s is still there", dir)
	}
}

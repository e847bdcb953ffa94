package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// TestStartRefusals: what is wrong at start ends the process within two seconds,
// with a documented exit code and one line that names cause and fix.
func TestStartRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cookie := newCookie(t, filepath.Join(dir, "cookie"))
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile(cookie)
	if err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	const secret = "hunter2-never-shown"
	cases := []struct {
		name string
		args []string
		exit int
		code muster.Code
		want []string
	}{
		{"no cookie off loopback", []string{"--mgmt-bind", "0.0.0.0:0"}, 2, muster.CodeCookieMissing, []string{"muster cookie new"}},
		{"unknown flag", []string{"--cluster-jion-endpoint", "http://x"}, 2, muster.CodeUsage, []string{"--cluster-join-endpoint"}},
		{"unknown file key", []string{"--config", write("k.yaml", "cluster_config:\n  nmae: x\n", 0o600)}, 2, muster.CodeBadConfig, []string{"nmae", "name"}},
		{"bad CIDR", []string{"--allowed-address-space", "10.0.0.0/99"}, 2, muster.CodeUsage, []string{"10.0.0.0/99", "--allowed-address-space"}},
		{"bad DSN", []string{"--config-store", "postgres://u:" + secret + "@h:notaport/db"}, 2, muster.CodeUsage, []string{"--config-store"}},
		{"short cookie", []string{"--cluster-cookie-file", write("short", "abc", 0o600)}, 2, muster.CodeWeakCookie, []string{"muster cookie new"}},
		{"readable cookie", []string{"--cluster-cookie-file", write("open", string(good), 0o644)}, 2, muster.CodeCookieReadable, []string{"chmod"}},
		{"empty cookie", []string{"--cluster-cookie-file", write("empty", "", 0o600)}, 2, muster.CodeWeakCookie, []string{"empty", "muster cookie new"}},
		{"cookie with a byte order mark", []string{"--cluster-cookie-file", write("bom", "\ufeff"+string(good), 0o600)}, 2, muster.CodeWeakCookie, []string{"byte order mark"}},
		{"two cookies on one line", []string{"--cluster-cookie-file", write("two", strings.TrimSpace(string(good))+" "+string(good), 0o600)}, 2, muster.CodeWeakCookie, []string{"one line"}},
		{"damaged cookie", []string{"--cluster-cookie-file", write("cut", string(good[:len(good)-3]), 0o600)}, 2, muster.CodeWeakCookie, []string{"checksum"}},
		{"directory as cookie", []string{"--cluster-cookie-file", dir}, 2, muster.CodeBadConfig, []string{"is a directory"}},
		{"bad network", []string{"--mgmt-allowed-networks", "10.0.0.0/8,10.0.0.1"}, 2, muster.CodeUsage, []string{"10.0.0.1", "--mgmt-allowed-networks"}},
		{"no network at all", []string{"--mgmt-allowed-networks", ""}, 2, muster.CodeUsage, []string{"the list is empty"}},
		{"bad proxy", []string{"--trusted-proxies", "nginx"}, 2, muster.CodeUsage, []string{"nginx", "--trusted-proxies"}},
		{"locked out join endpoint", []string{"--mgmt-allowed-networks", "10.0.0.0/8", "--cluster-join-endpoint", "http://192.0.2.1:9113"}, 2, muster.CodeBadConfig, []string{"192.0.2.1", "could not call back"}},
		{"loopback advertised from elsewhere", []string{"--mgmt-bind", "0.0.0.0:0", "--mgmt-advertise", "127.0.0.1"}, 2, muster.CodeAdvertise, []string{"127.0.0.1", "this machine has " + addressesOfThisMachine()}},
		{"localhost advertised from elsewhere", []string{"--mgmt-bind", "0.0.0.0:0", "--mgmt-advertise", "http://localhost:9113"}, 2, muster.CodeAdvertise, []string{"localhost", "this machine has"}},
		{"wildcard advertised", []string{"--mgmt-advertise", "0.0.0.0:9113"}, 2, muster.CodeAdvertise, []string{"0.0.0.0", "this machine has"}},
		{"link-local advertised", []string{"--mgmt-advertise", "[fe80::1]:9113"}, 2, muster.CodeAdvertise, []string{"fe80::1", "this machine has"}},
		{"loopback towards another machine", []string{"--cluster-join-endpoint", "192.0.2.1:9113"}, 2, muster.CodeAdvertise, []string{"192.0.2.1", "--mgmt-bind 0.0.0.0:", "it has"}},
		{"node id without an endpoint", []string{"--cluster-join-node-id", "n1"}, 2, muster.CodeUsage, []string{"--cluster-join-node-id", "MUSTER_CLUSTER_JOIN_NODE_ID", "cluster_config.join_node_id", "--cluster-join-endpoint"}},
		{"formation never without a way in", []string{"--formation", "never"}, 2, muster.CodeUsage, []string{"--formation", "MUSTER_FORMATION", "cluster_config.formation", "--cluster-join-endpoint"}},
		{"missing cookie file", []string{"--cluster-cookie-file", filepath.Join(dir, "absent")}, 2, "", []string{"absent"}},
		{"port busy", []string{"--mgmt-bind", busy.Addr().String()}, 1, muster.CodeAddressInUse, []string{busy.Addr().String()}},
		{"bad name", []string{"--cluster-node-name", "no spaces"}, 2, muster.CodeUsage, []string{"--cluster-node-name"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"serve", "--data-dir", filepath.Join(t.TempDir(), "d")}
			if !slices.Contains(c.args, "--mgmt-bind") {
				args = append(args, "--mgmt-bind", "127.0.0.1:0")
			}
			if !slices.Contains(c.args, "--cluster-cookie-file") && c.code != muster.CodeCookieMissing {
				args = append(args, "--cluster-cookie-file", cookie)
			}
			p := launch(t, nil, append(args, c.args...)...)
			if exit := p.exit(2 * time.Second); exit != c.exit {
				t.Errorf("exit %d, want %d", exit, c.exit)
			}
			out := p.Output()
			for _, want := range append(c.want, string(c.code)) {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, secret) {
				t.Errorf("the password is shown:\n%s", out)
			}
		})
	}
}

// TestMisspeltVariableStopsTheStart, and the variables of a Kubernetes Service do not.
func TestMisspeltVariableStopsTheStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	args := []string{"serve", "--data-dir", filepath.Join(c.dir, "n1"), "--mgmt-bind", fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	code, _, stderr := run(t, []string{"MUSTER_CLUSTER_COOKIE_FIEL=" + c.cookie}, args...)
	const want = "error: muster reads no variable MUSTER_CLUSTER_COOKIE_FIEL\n  fix: did you mean MUSTER_CLUSTER_COOKIE_FILE? otherwise unset it\n"
	if code != 2 || !strings.HasPrefix(stderr, want) {
		t.Errorf("exit %d, want 2 and\n%s\ngot\n%s", code, want, stderr)
	}
	n := c.node("n2")
	n.env = []string{"MUSTER_SERVICE_HOST=10.96.0.7", "MUSTER_SERVICE_PORT=9113", "MUSTER_PORT=tcp://10.96.0.7:9113", "MUSTER_PORT_9113_TCP_ADDR=10.96.0.7"}
	n.up()
	all(t, 5*time.Second, n)
}

// addressesOfThisMachine returns one address that other machines could use.
func addressesOfThisMachine() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if ip := p.Addr(); err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			return ip.String()
		}
	}
	return "none but loopback"
}

// TestCookieFileOfAnotherSystemIsGood: line ends and blanks around the cookie are
// no part of it.
func TestCookieFileOfAnotherSystemIsGood(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	good, err := os.ReadFile(c.cookie)
	if err != nil {
		t.Fatal(err)
	}
	windows := filepath.Join(t.TempDir(), "cookie")
	if err := os.WriteFile(windows, []byte(" "+strings.TrimSpace(string(good))+"\r\n\r\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url())
	n2.c = &cluster{t: t, dir: c.dir, cookie: windows, token: c.token}
	n2.up()
	all(t, 10*time.Second, n1, n2)
}

func TestDataDirectoryInUse(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node("n1").up()
	second := c.node("n1").start()
	if exit := second.exit(2 * time.Second); exit != 1 || !strings.Contains(second.Output(), string(muster.CodeDataDirInUse)) {
		t.Errorf("second process on one data directory: exit %d\n%s", exit, second.Output())
	}
}

// TestWrongCookie: the joiner is told, in all its own places, and the cluster it
// bothers stays as it was.
func TestWrongCookie(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	n2 := c.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 10*time.Second, n1, n2)
	wire := newTap(t, n1.addr)

	stranger := newCluster(t)
	s := stranger.node("stranger", "--cluster-join-endpoint", "http://"+wire.addr()).up()
	eventually(t, 10*time.Second, func() error { return tellsCookieMismatch(s) })
	if _, err := s.get("/health", nil); err != nil {
		t.Errorf("a refused joiner is still alive: %v", err)
	}
	if !strings.Contains(s.Output(), string(muster.CodeCookieMismatch)) {
		t.Errorf("the joiner's log does not name the reason:\n%s", s.Output())
	}

	sockets, goroutines := n1.sockets(), n1.goroutines()
	joinerSockets := s.sockets()
	deadline := time.Now().Add(time.Minute)
	eventually(t, 70*time.Second, func() error { return stillBefore(deadline) })
	if now := n1.sockets(); now > sockets+5 {
		t.Errorf("sockets of the member grew from %d to %d within a minute", sockets, now)
	}
	if now := n1.goroutines(); now > goroutines+10 {
		t.Errorf("goroutines of the member grew from %d to %d within a minute", goroutines, now)
	}
	if now := s.sockets(); now > joinerSockets+5 {
		t.Errorf("sockets of the joiner grew from %d to %d within a minute", joinerSockets, now)
	}
	all(t, time.Second, n1, n2)
	for _, file := range []string{c.cookie, stranger.cookie} {
		wire.lacks(t, file)
	}
}

// tellsCookieMismatch reports nil once /ready and the status of the node name the
// reason of the refusal.
func tellsCookieMismatch(n *node) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(s.Problems, func(p muster.Problem) bool { return p.Code == muster.CodeCookieMismatch }) {
		return fmt.Errorf("problems are %+v", s.Problems)
	}
	res, data, err := n.request(http.MethodGet, "/ready?verbose", "")
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(data, []byte("cookie")) {
		return fmt.Errorf("/ready: %s %s", res.Status, data)
	}
	return nil
}

// tap forwards TCP connections and keeps a copy of all bytes.
type tap struct {
	listener net.Listener
	mu       sync.Mutex
	seen     bytes.Buffer
}

func newTap(t *testing.T, target string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go w.accept(target)
	return w
}

func (w *tap) addr() string { return w.listener.Addr().String() }

func (w *tap) accept(target string) {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", target)
		if err != nil {
			_ = in.Close()
			continue
		}
		go w.copy(in, out)
		go w.copy(out, in)
	}
}

func (w *tap) copy(dst, src net.Conn) {
	_, _ = io.Copy(io.MultiWriter(dst, w), src) // ends with either side
	_ = dst.Close()
	_ = src.Close()
}

func (w *tap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen.Write(p)
}

// lacks fails the test if the content of the file crossed the wire.
func (w *tap) lacks(t *testing.T, file string) {
	t.Helper()
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen.Len() == 0 {
		t.Fatal("nothing was captured")
	}
	if bytes.Contains(w.seen.Bytes(), bytes.TrimSpace(secret)) {
		t.Errorf("the cookie of %s crossed the wire", filepath.Base(filepath.Dir(file)))
	}
}

// TestNothingSecretBetweenMembers captures what two members say to each other
// while a configuration value and a join pass.
func TestNothingSecretBetweenMembers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1")
	wire := newTap(t, n1.addr)
	n1.args = []string{"--mgmt-advertise", wire.addr()}
	n1.up()
	n2 := c.node("n2", "--cluster-join-endpoint", "http://"+wire.addr()).up()
	all(t, 10*time.Second, n1, n2)
	const canary = "canary-value-5f1c"
	if _, err := n2.create("route/demo", `{"password":"`+canary+`"}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, func() error { _, err := n1.read("route/demo"); return err })
	wire.lacks(t, c.cookie)
	wire.mu.Lock()
	defer wire.mu.Unlock()
	if bytes.Contains(wire.seen.Bytes(), []byte(canary)) {
		t.Error("a configuration value crossed the wire in clear text")
	}
}

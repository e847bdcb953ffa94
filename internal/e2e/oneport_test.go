package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testca"
)

// hosts is a set of network namespaces on one bridge. Between them one TCP port is
// open, and nothing else: no UDP, no second port, no echo.
type hosts struct {
	t      *testing.T
	prefix string
	token  string
	scheme string
	path   string   // of everything that the nodes serve
	env    []string // of commands
}

const onePort = "9113"

// newHosts makes hosts with names that begin with a letter of their own.
func newHosts(t *testing.T, letter string, count int) *hosts {
	t.Helper()
	h := &hosts{t: t, prefix: fmt.Sprintf("mu%s%d", letter, os.Getpid()%100000), scheme: "http"}
	bridge := h.prefix + "br"
	t.Cleanup(func() { h.try("ip", "netns", "del", bridge) })
	h.do("ip", "netns", "add", bridge)
	h.do("ip", "-n", bridge, "link", "add", "br0", "type", "bridge")
	h.do("ip", "-n", bridge, "link", "set", "br0", "up")
	for i := 1; i <= count; i++ {
		h.add(i, bridge)
	}
	return h
}

func (h *hosts) name(i int) string { return fmt.Sprintf("%sn%d", h.prefix, i) }

func (h *hosts) ip(i int) string { return fmt.Sprintf("10.113.7.%d", i) }

// add makes one host and its firewall.
func (h *hosts) add(i int, bridge string) {
	h.t.Helper()
	ns, port := h.name(i), fmt.Sprintf("p%d", i)
	h.t.Cleanup(func() { h.try("ip", "netns", "del", ns) })
	h.do("ip", "netns", "add", ns)
	h.do("ip", "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", bridge)
	h.do("ip", "-n", bridge, "link", "set", port, "master", "br0", "up")
	h.do("ip", "-n", ns, "addr", "add", h.ip(i)+"/24", "dev", "eth0")
	h.do("ip", "-n", ns, "link", "set", "lo", "up")
	h.do("ip", "-n", ns, "link", "set", "eth0", "up")
	for _, chain := range []string{"INPUT", "OUTPUT"} {
		h.inside(i, "iptables", "-P", chain, "DROP")
		h.inside(i, "iptables", "-A", chain, "-p", "tcp", "--dport", onePort, "-j", "ACCEPT")
		h.inside(i, "iptables", "-A", chain, "-p", "tcp", "--sport", onePort, "-j", "ACCEPT")
	}
}

func (h *hosts) do(args ...string) string {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// try runs a command of the cleanup, when the test's context has ended.
func (h *hosts) try(args ...string) {
	_ = exec.Command(args[0], args[1:]...).Run() // it may not be there
}

// inside runs a command on a host.
func (h *hosts) inside(i int, args ...string) string {
	h.t.Helper()
	return h.do(append([]string{"ip", "netns", "exec", h.name(i)}, args...)...)
}

// ask runs a muster command on a host, against its own node.
func (h *hosts) ask(i int, args ...string) (string, error) {
	all := append([]string{"netns", "exec", h.name(i), binary.Path()}, args...)
	cmd := exec.CommandContext(h.t.Context(), "ip", all...)
	cmd.Env = append(append(os.Environ(), "MUSTER_TOKEN="+h.token, "MUSTER_ADDR="+h.url(i)), h.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("muster %s on host %d: %w: %s", strings.Join(args, " "), i, err, out)
	}
	return string(out), err
}

// url is the address of a host's node.
func (h *hosts) url(i int) string { return h.scheme + "://" + h.ip(i) + ":" + onePort + h.path }

// TestOneOpenPortIsEnough runs three nodes on hosts that can reach nothing of each
// other but one TCP port: as plain HTTP, and as mutual TLS below a path.
func TestOneOpenPortIsEnough(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		h := newHosts(t, "p", 3)
		h.lifeOnOnePort(func(int) []string { return nil })
	})
	t.Run("TLS below a path", func(t *testing.T) {
		t.Parallel()
		h := newHosts(t, "s", 3)
		ca := testca.New(t, "authority")
		user := ca.Issue(t, testca.Leaf{CommonName: "ada"})
		h.scheme, h.path = "https", "/ops/muster"
		h.env = []string{"MUSTER_CA=" + ca.File, "MUSTER_CERT=" + user.CertFile, "MUSTER_KEY=" + user.KeyFile}
		h.lifeOnOnePort(func(i int) []string {
			pair := ca.Issue(t, testca.Leaf{CommonName: fmt.Sprintf("n%d", i), IPs: []net.IP{net.ParseIP(h.ip(i))}})
			return []string{
				"--mgmt-path-prefix", h.path, "--mgmt-tls-client-auth", "require-name",
				"--mgmt-tls-cert", pair.CertFile, "--mgmt-tls-key", pair.KeyFile, "--mgmt-tls-ca", ca.File,
			}
		})
	})
}

// lifeOnOnePort joins three nodes in a chain and uses what needs the others: writes,
// questions to all members, the news of a death and of a return, and leaving.
func (h *hosts) lifeOnOnePort(flags func(i int) []string) {
	t := h.t
	t.Helper()
	dir := t.TempDir()
	cookie := newCookie(t, filepath.Join(dir, "cookie"))
	h.token = token(t, cookie, "admin")
	start := func(i int) *process {
		args := append([]string{
			"netns", "exec", h.name(i), binary.Path(), "serve", "--data-dir", filepath.Join(dir, h.name(i)),
			"--mgmt-bind", h.ip(i) + ":" + onePort, "--cluster-node-name", fmt.Sprintf("n%d", i), "--cluster-cookie-file", cookie,
		}, flags(i)...)
		if i > 1 {
			args = append(args, "--cluster-join-endpoint", h.url(i-1))
		}
		return launchCommand(t, exec.Command("ip", args...))
	}
	start(1)
	second := start(2)
	start(3)
	h.await(15*time.Second, 3, "status", "--expected", "3")
	if _, err := h.ask(3, "config", "set", "route/demo", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
	h.await(2*time.Second, 1, "config", "get", "route/demo")
	h.await(2*time.Second, 2, "keys", "status") // asks all members
	second.kill()
	h.members(5*time.Second, 1, "dead")
	start(2)
	h.await(15*time.Second, 2, "status", "--expected", "3")
	if _, err := h.ask(3, "leave"); err != nil {
		t.Fatal(err)
	}
	h.await(5*time.Second, 2, "status", "--expected", "2")
}

// members waits until a host lists a member in that state.
func (h *hosts) members(limit time.Duration, i int, state string) {
	h.t.Helper()
	eventually(h.t, limit, func() error {
		out, err := h.ask(i, "members")
		if err == nil && !strings.Contains(out, state) {
			err = fmt.Errorf("nobody is %s in:\n%s", state, out)
		}
		return err
	})
}

// await repeats a command on a host until it exits with 0.
func (h *hosts) await(limit time.Duration, i int, args ...string) {
	h.t.Helper()
	eventually(h.t, limit, func() error {
		_, err := h.ask(i, args...)
		return err
	})
}

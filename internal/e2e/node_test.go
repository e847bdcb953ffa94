package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// cluster is the common ground of a test's nodes: one cookie, one token.
type cluster struct {
	t      *testing.T
	dir    string
	cookie string // file
	token  string

	secure *tls.Config // of callers; nil: the nodes serve plain HTTP
	prefix string      // of every path
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	c.cookie = newCookie(t, filepath.Join(c.dir, "cookie"))
	c.token = token(t, c.cookie, "admin")
	return c
}

func newCookie(t *testing.T, path string) string {
	t.Helper()
	if code, _, stderr := run(t, nil, "cookie", "new", "--out", path); code != 0 {
		t.Fatalf("cookie new: exit %d: %s", code, stderr)
	}
	return path
}

func token(t *testing.T, cookie, role string) string {
	t.Helper()
	code, out, stderr := run(t, nil, "token", "create", "--role", role, "--ttl", "1h", "--cluster-cookie-file", cookie)
	if code != 0 {
		t.Fatalf("token create: exit %d: %s", code, stderr)
	}
	return strings.TrimSpace(out)
}

// node is one member under test. It survives restarts: name, port and data
// directory stay.
type node struct {
	c      *cluster
	name   string
	addr   string
	prefix string // of the path of everything it serves
	args   []string
	env    []string // beside the test's own
	*process
}

// node describes a node; start runs it.
func (c *cluster) node(name string, args ...string) *node {
	c.t.Helper()
	return &node{c: c, name: name, addr: fmt.Sprintf("127.0.0.1:%d", freePort(c.t)), args: args}
}

func (n *node) url() string {
	if n.c.secure != nil {
		return "https://" + n.addr + n.c.prefix + n.prefix
	}
	return "http://" + n.addr + n.c.prefix + n.prefix
}

func (n *node) start() *node {
	n.c.t.Helper()
	args := append([]string{
		"serve", "--data-dir", filepath.Join(n.c.dir, n.name), "--mgmt-bind", n.addr,
		"--cluster-node-name", n.name, "--cluster-cookie-file", n.c.cookie,
	}, n.args...)
	n.process = launch(n.c.t, n.env, args...)
	return n
}

// up starts the node and waits until its HTTP port answers.
func (n *node) up() *node {
	n.c.t.Helper()
	n.start()
	eventually(n.c.t, 5*time.Second, func() error {
		_, err := n.get("/health", nil)
		return err
	})
	return n
}

// request sends one authenticated request and returns status, header and body.
func (n *node) request(method, path, body string, header ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(n.c.t.Context(), method, n.url()+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.c.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	client := http.Client{Timeout: 5 * time.Second}
	if n.c.secure != nil {
		client.Transport = &http.Transport{TLSClientConfig: n.c.secure, DisableKeepAlives: true}
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	return res, data, err
}

// get decodes a JSON answer into v (nil: ignore it). Any status but 200 is an error.
func (n *node) get(path string, v any) (*http.Response, error) {
	res, data, err := n.request(http.MethodGet, path, "")
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return res, fmt.Errorf("%s %s: %s: %s", n.name, path, res.Status, data)
	}
	if v != nil {
		err = json.Unmarshal(data, v)
	}
	return res, err
}

func (n *node) status() (s muster.Status, err error) {
	_, err = n.get("/cluster/status", &s)
	return s, err
}

// mustStatus fails the test if the node does not answer.
func (n *node) mustStatus() muster.Status {
	n.c.t.Helper()
	s, err := n.status()
	if err != nil {
		n.c.t.Fatal(err)
	}
	return s
}

// healthy reports nil once the node sees a healthy cluster of the given size.
func (n *node) healthy(size int) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	if s.Members != size || s.HealthyMembers != size || s.ClusterHealth != muster.Healthy {
		return fmt.Errorf("%s sees %d members, %d healthy, %s: %s", n.name, s.Members, s.HealthyMembers, s.ClusterHealth, s.Summary)
	}
	return nil
}

// member returns what the node says of another one.
func (n *node) member(name string) (muster.Member, error) {
	var list struct{ Members []muster.Member }
	if _, err := n.get("/cluster/members", &list); err != nil {
		return muster.Member{}, err
	}
	for _, m := range list.Members {
		if m.Name == name {
			return m, nil
		}
	}
	return muster.Member{}, fmt.Errorf("%s does not list %s", n.name, name)
}

// create writes a new document and returns its revision.
func (n *node) create(key, spec string) (int64, error) {
	res, data, err := n.request(http.MethodPut, "/v1/config/"+key, spec, "If-None-Match", "*")
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusCreated {
		return 0, fmt.Errorf("create %s at %s: %s: %s", key, n.name, res.Status, data)
	}
	var rev int64
	_, err = fmt.Sscanf(res.Header.Get("Muster-Revision"), "%d", &rev)
	return rev, err
}

func (n *node) read(key string) (d muster.Document, err error) {
	_, err = n.get("/v1/config/"+key, &d)
	return d, err
}

// problem decodes a problem document.
type problem struct {
	Code   muster.Code `json:"code"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Fix    string      `json:"fix"`
}

func (n *node) problemOf(method, path, body string, header ...string) (problem, error) {
	res, data, err := n.request(method, path, body, header...)
	if err != nil {
		return problem{}, err
	}
	p := problem{}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("%s %s: %s is no problem document: %s", method, path, res.Status, data)
	}
	p.Status = res.StatusCode
	return p, nil
}

// all waits until every node sees a healthy cluster of that many members.
func all(t *testing.T, limit time.Duration, nodes ...*node) {
	t.Helper()
	eventually(t, limit, func() error {
		for _, n := range nodes {
			if err := n.healthy(len(nodes)); err != nil {
				return err
			}
		}
		return nil
	})
}

// sockets counts the open sockets of the node's process.
func (n *node) sockets() int {
	n.c.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", n.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		n.c.t.Fatal(err)
	}
	count := 0
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			count++
		}
	}
	return count
}

// goroutines reads the node's own count from its metrics.
func (n *node) goroutines() int {
	n.c.t.Helper()
	_, data, err := n.request(http.MethodGet, "/metrics", "")
	if err != nil {
		n.c.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var count float64
		if _, err := fmt.Sscanf(line, "go_goroutines %g", &count); err == nil {
			return int(count)
		}
	}
	n.c.t.Fatalf("no go_goroutines in /metrics")
	return 0
}

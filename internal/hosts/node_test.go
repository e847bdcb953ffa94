package hosts_test

import (
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
	"github.com/musterhq/muster/internal/program"
)

// built is the program under test, set by TestMain.
var built *program.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, "../..", &built)) }

// cluster is nodes on hosts of one network, with one cookie.
type cluster struct {
	*network

	dir, cookie, token string
	options            []string // of every node
	nodes              []*node
}

// node is a process on a host. It keeps its data directory.
type node struct {
	*host

	c      *cluster
	name   string
	client *http.Client
	*program.Process
}

// form starts n1 to n<size> with further options, each on a host of its own, and waits until all see one
// healthy cluster. n1 is the config home.
func form(t *testing.T, size int, options ...string) *cluster {
	t.Helper()
	c := &cluster{network: newNetwork(t), dir: t.TempDir(), options: options}
	c.cookie = filepath.Join(c.dir, "cookie")
	built.Must(t, "cookie", "new", "--out", c.cookie)
	c.token = built.Must(t, "token", "create", "--role", "admin", "--ttl", "1h", "--cluster-cookie-file", c.cookie)
	for i := range size {
		c.add(byte(i + 1))
	}
	c.healthy(30*time.Second, c.nodes...)
	return c
}

// add starts a further node.
func (c *cluster) add(number byte) *node {
	c.t.Helper()
	n := &node{c: c, name: fmt.Sprintf("n%d", number), host: c.host(number)}
	c.nodes = append(c.nodes, n)
	n.start()
	return n
}

// start runs the program on the node's host.
func (n *node) start() {
	n.c.t.Helper()
	n.client = &http.Client{Transport: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}, Timeout: 8 * time.Second}
	args := []string{
		"serve", "--data-dir", filepath.Join(n.c.dir, n.name), "--mgmt-bind", n.address(),
		"--cluster-node-name", n.name, "--cluster-cookie-file", n.c.cookie,
	}
	args = append(args, n.c.options...)
	if first := n.c.nodes[0]; first != n {
		args = append(args, "--cluster-join-endpoint", first.url())
	}
	n.Process = program.Launch(n.c.t, n.command(built.Path(), args...))
}

// send sends one request from the node's own host.
func (n *node) send(method, path, body string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(n.c.t.Context(), method, n.url()+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.c.token)
	if method == http.MethodPut {
		req.Header.Set("If-None-Match", "*")
	}
	res, err := n.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }() // nothing is written
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, data, err
}

func (n *node) get(path string, into any) error {
	status, data, err := n.send(http.MethodGet, path, "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", n.name, path, status, data)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// write creates a document.
func (n *node) write(key string) error {
	status, data, err := n.send(http.MethodPut, "/v1/config/"+key+"?reason=test", `{"v":1}`)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("write %s at %s: %d %s", key, n.name, status, data)
	}
	return err
}

// reads returns nil if the node serves a document.
func (n *node) reads(key string) error {
	var doc muster.Document
	return n.get("/v1/config/"+key, &doc)
}

// await polls until check returns nil, and returns how long it took.
func (c *cluster) await(limit time.Duration, check func() error) time.Duration {
	c.t.Helper()
	begun := time.Now()
	program.Await(c.t, limit, check)
	return time.Since(begun)
}

// healthy waits until the nodes see a healthy cluster of just them.
func (c *cluster) healthy(limit time.Duration, nodes ...*node) time.Duration {
	c.t.Helper()
	return c.await(limit, func() error {
		for _, n := range nodes {
			var s muster.Status
			if err := n.get("/cluster/status", &s); err != nil {
				return err
			}
			if s.HealthyMembers != len(nodes) || s.ClusterSize != len(nodes) || s.ClusterHealth != muster.Healthy {
				return fmt.Errorf("%s sees %d healthy of %d, %s", n.name, s.HealthyMembers, s.ClusterSize, s.ClusterHealth)
			}
		}
		return nil
	})
}

// served waits until all nodes serve a document.
func (c *cluster) served(limit time.Duration, key string, nodes ...*node) time.Duration {
	c.t.Helper()
	return c.await(limit, func() error {
		for _, n := range nodes {
			if err := n.reads(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// pass lets time go by while steady holds; it looks each second.
func (c *cluster) pass(d time.Duration, steady func() error) {
	c.t.Helper()
	var looked time.Time
	end := time.Now().Add(d)
	program.Await(c.t, d+10*time.Second, func() error {
		if time.Since(looked) >= time.Second {
			looked = time.Now()
			if err := steady(); err != nil {
				c.t.Fatal(err)
			}
		}
		if left := time.Until(end); left > 0 {
			return fmt.Errorf("%s to go", left)
		}
		return nil
	})
}

// deaths counts how often the nodes have seen one another die. The journal has it,
// so that no death is missed between two looks.
func (c *cluster) deaths(among ...*node) (seen []string) {
	c.t.Helper()
	names := map[string]bool{}
	for _, n := range among {
		names[n.name] = true
	}
	for _, n := range among {
		var page muster.EventPage
		if err := n.get("/v1/events?wait=0s&kind=member.state", &page); err != nil {
			c.t.Fatal(err)
		}
		for _, e := range page.Events {
			if e.To == string(muster.StateDead) && names[e.Subject] {
				seen = append(seen, n.name+": "+e.Text)
			}
		}
	}
	return seen
}

// deathsOf counts how often the other nodes have seen one die.
func (c *cluster) deathsOf(gone *node) (seen []string) {
	c.t.Helper()
	for _, text := range c.deaths(c.nodes...) {
		if strings.Contains(text, ": "+gone.name+": ") {
			seen = append(seen, text)
		}
	}
	return seen
}

// listsAs reports nil if a node lists a member in a state.
func listsAs(n *node, member string, want muster.State) error {
	var m muster.Member
	if err := n.get("/v1/members/"+member, &m); err != nil {
		return err
	}
	if m.State != want {
		return fmt.Errorf("%s lists %s as %s", n.name, member, m.State)
	}
	return nil
}

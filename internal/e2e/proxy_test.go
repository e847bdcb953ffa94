package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/program"
)

// proxyStarter starts a proxy in front of one node. It listens on front and keeps
// the path as it is.
type proxyStarter func(t *testing.T, front, node string)

func proxies() map[string]proxyStarter {
	return map[string]proxyStarter{"nginx": startNginx, "haproxy": startHAProxy, "go": startReverseProxy}
}

// documented returns the code block of docs/proxies.md in a language.
func documented(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("docs/proxies.md has no block of %s", language)
	}
	return string(block[1])
}

// adapted puts the addresses of a test into a documented configuration.
func adapted(t *testing.T, config, front, node string) string {
	t.Helper()
	listen := ":8080"
	if strings.Contains(config, "listen 8080;") {
		listen = "8080"
	}
	for _, word := range []string{listen, "127.0.0.1:9113"} {
		if strings.Count(config, word) != 1 {
			t.Fatalf("want %q once in the documented configuration:\n%s", word, config)
		}
	}
	return strings.NewReplacer(listen, front, "127.0.0.1:9113", node).Replace(config)
}

func startNginx(t *testing.T, front, node string) {
	t.Helper()
	runNginx(t, front, adapted(t, documented(t, "nginx"), front, node))
}

// runNginx runs nginx in the foreground as one process, with all its files in a
// directory of the test.
func runNginx(t *testing.T, front, site string) {
	t.Helper()
	dir := t.TempDir()
	temp := ""
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("%s_temp_path %s/%s;\n", what, dir, what)
	}
	file := filepath.Join(dir, "nginx.conf")
	config := "daemon off; master_process off; error_log stderr; pid " + dir + "/pid;\nevents {}\nhttp {\naccess_log off;\n" + temp + site + "}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	program.Launch(t, exec.Command("nginx", "-e", "stderr", "-p", dir, "-c", file))
	listening(t, front)
}

func startHAProxy(t *testing.T, front, node string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	config := adapted(t, documented(t, "haproxy"), front, node)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	program.Launch(t, exec.Command("haproxy", "-db", "-f", file))
	listening(t, front)
}

func newReverseProxy(node *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(node)
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
}

func startReverseProxy(t *testing.T, front, node string) {
	t.Helper()
	l, err := net.Listen("tcp", front)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(newReverseProxy(&url.URL{Scheme: "http", Host: node}))
	_ = srv.Listener.Close() // ours instead
	srv.Listener = l
	srv.Start()
	t.Cleanup(func() { _ = srv.Config.Close() }) // upgraded connections end with their nodes
}

// listening waits until somebody listens.
func listening(t *testing.T, addr string) {
	t.Helper()
	eventually(t, 5*time.Second, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// TestDocumentedGoProxyIsTheTestedOne: the other two configurations are read from
// the page itself.
func TestDocumentedGoProxyIsTheTestedOne(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("proxy_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if block := documented(t, "go"); !strings.Contains(string(source), block) {
		t.Errorf("this file does not hold the proxy of docs/proxies.md:\n%s", block)
	}
}

// proxied is a node that is reached through a proxy only, as far as others know.
type proxied struct {
	*node
	front string // URL of the proxy
}

func newProxied(t *testing.T, start proxyStarter, n *node) proxied {
	t.Helper()
	front := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	start(t, front, n.addr)
	p := proxied{n, "http://" + front + n.prefix}
	n.args = append(n.args, "--mgmt-advertise", p.front, "--mgmt-allowed-host", "muster.example", "--trusted-proxies", "127.0.0.1/32")
	if n.prefix != "" {
		n.args = append(n.args, "--mgmt-path-prefix", n.prefix)
	}
	return p
}

// outside is the node as its proxy shows it.
func (p proxied) outside() *node {
	out := *p.node
	out.addr = strings.TrimSuffix(strings.TrimPrefix(p.front, "http://"), p.prefix)
	return &out
}

func TestClusterFormsThroughProxies(t *testing.T) {
	t.Parallel()
	for name, start := range proxies() {
		for _, prefix := range []string{"", "/muster"} {
			t.Run(name+prefix, func(t *testing.T) {
				t.Parallel()
				c := newCluster(t)
				list := make([]proxied, 3)
				nodes := make([]*node, 3)
				for i := range list {
					n := c.node(fmt.Sprintf("n%d", i+1))
					n.prefix = prefix
					if i > 0 {
						n.args = []string{"--cluster-join-endpoint", list[i-1].front}
					}
					list[i], nodes[i] = newProxied(t, start, n), n
					n.up()
				}
				all(t, 15*time.Second, nodes...)
				writeIsSeenEverywhere(t, nodes[2], nodes...)
				checkPeople(t, list[1])
			})
		}
	}
}

// checkPeople uses a node through its proxy as people do.
func checkPeople(t *testing.T, p proxied) {
	t.Helper()
	send := func(want int, method, path string, header ...string) {
		t.Helper()
		if res, body, err := p.outside().request(method, path, "", header...); err != nil || res.StatusCode != want {
			t.Errorf("%s %s %v through the proxy: %s %v, want %d", method, path, header, body, err, want)
		}
	}
	send(200, "GET", "/ui/")
	send(200, "GET", "/cluster/members", "Host", "muster.example")
	send(421, "GET", "/cluster/members", "Host", "evil.example")
	if _, err := p.outside().create("route/proxied", `{"by":"proxy"}`); err != nil {
		t.Error(err)
	}
	checkStream(t, p)
	checkAddress(t, p)
}

// checkStream wants the first event at once, not when a buffer is full.
func checkStream(t *testing.T, p proxied) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.front+"/v1/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.c.token)
	res, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for lines := bufio.NewScanner(res.Body); ; {
		if !lines.Scan() {
			t.Fatalf("the stream through the proxy ends without a snapshot: %v", lines.Err())
		}
		if lines.Text() == "event: snapshot" {
			return
		}
	}
}

// checkAddress logs out from another loopback address, with a lie about it: the
// node's log has the true one.
func checkAddress(t *testing.T, p proxied) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.front+"/v1/session", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.c.token)
	req.Header.Set("X-Forwarded-For", "203.0.113.9")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body) // there is none
	_ = res.Body.Close()
	eventually(t, 2*time.Second, func() error {
		line := regexp.MustCompile(`(?m)^.*operation=deleteSession.*$`).FindString(p.Output())
		if !strings.Contains(line, "address=127.0.0.77") {
			return fmt.Errorf("the log of a caller at 127.0.0.77 says %q", line)
		}
		return nil
	})
}

// TestProxyThatStripsUpgradeIsNamed: the joiner learns from its own log, status
// and readiness what to write into which file.
func TestProxyThatStripsUpgradeIsNamed(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n1 := c.node("n1").up()
	front := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	site := adapted(t, documented(t, "nginx"), front, n1.addr)
	bare := regexp.MustCompile(`(?m)^.*(proxy_http_version|header Upgrade|header Connection).*\n`).ReplaceAllString(site, "")
	if strings.Count(site, "\n")-strings.Count(bare, "\n") != 3 {
		t.Fatalf("the documented configuration has other upgrade lines:\n%s", site)
	}
	runNginx(t, front, bare)

	joiner := c.node("n2", "--cluster-join-endpoint", "http://"+front).up()
	words := []string{"nginx/", "proxy_set_header Upgrade $http_upgrade;", "proxy_set_header Connection"}
	eventually(t, 10*time.Second, func() error { return tellsProblem(joiner, muster.CodeUpgradeStripped, words...) })
	if out := joiner.Output(); !strings.Contains(out, "code=upgrade-stripped") || !strings.Contains(out, "nginx/") {
		t.Errorf("the joiner's log does not name the proxy:\n%s", out)
	}
	res, body, err := proxied{n1, "http://" + front}.outside().request("GET", "/cluster/v1/gossip", "")
	if err != nil || res.StatusCode != http.StatusUpgradeRequired {
		t.Fatalf("the link route behind the proxy: %v %v, want 426", res, err)
	}
	for _, word := range append(words[1:], "proxy", string(muster.CodeUpgradeStripped)) {
		if !strings.Contains(string(body), word) {
			t.Errorf("the 426 lacks %q: %s", word, body)
		}
	}
}

// tellsProblem reports nil once the status and /ready of a node show a problem
// with all those words in text or fix.
func tellsProblem(n *node, code muster.Code, words ...string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Problems, func(p muster.Problem) bool { return p.Code == code })
	if i < 0 {
		return fmt.Errorf("problems are %+v", s.Problems)
	}
	res, ready, err := n.request(http.MethodGet, "/ready?verbose", "")
	if err != nil || res.StatusCode != http.StatusServiceUnavailable {
		return fmt.Errorf("/ready: %v %s", err, ready)
	}
	for _, word := range words {
		if told := s.Problems[i].Text + s.Problems[i].Fix; !strings.Contains(told, word) || !strings.Contains(string(ready), word) {
			return fmt.Errorf("%q is missing in %q or in %s", word, told, ready)
		}
	}
	return nil
}

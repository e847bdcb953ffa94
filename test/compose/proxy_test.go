package compose_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/pgtest"
	"github.com/musterhq/muster/internal/program"
)

// proxyConf writes the proxy's configuration with addresses of this machine: it
// listens on listen, and the nodes are where nodes says.
func proxyConf(t *testing.T, listen string, nodes map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	text := read(t, "deploy/compose/nginx.conf")
	replace := func(from, to string) {
		if !strings.Contains(text, from) {
			t.Fatalf("nginx.conf lacks %q", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	replace("listen 8080;", "listen "+listen+";")
	for name, addr := range nodes {
		replace("server "+name+":9113", "server "+addr)
	}
	var own strings.Builder // the files that belong to the machine
	own.WriteString("http {\n  access_log off;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&own, "  %s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	replace("http {\n", own.String())
	text = "daemon off;\nmaster_process off;\nerror_log stderr;\npid " + filepath.Join(dir, "pid") + ";\n" + text
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func nginx(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		if path = "/usr/sbin/nginx"; exec.Command(path, "-v").Run() != nil { // not everybody's PATH
			t.Fatal("no nginx: apt-get install nginx-light")
		}
	}
	return exec.Command(path, append([]string{"-e", "stderr", "-p", t.TempDir()}, args...)...)
}

func TestProxyAcceptsItsConfiguration(t *testing.T) {
	t.Parallel()
	nodes := map[string]string{}
	for i, name := range nodeNames() {
		nodes[name] = fmt.Sprintf("127.0.0.1:%d", i+1)
	}
	conf := proxyConf(t, program.Address(t), nodes)
	if out, err := nginx(t, "-t", "-c", conf).CombinedOutput(); err != nil {
		t.Errorf("nginx -t: %v\n%s", err, out)
	}
	if err := os.WriteFile(conf, []byte("events {}\nhttp { proxy_bufering off; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if nginx(t, "-t", "-c", conf).Run() == nil {
		t.Error("nginx -t accepts anything")
	}
}

// publicName is what people call the demo in the test.
const publicName = "muster.example"

// demo is what docker compose up brings up, as processes.
type demo struct {
	store *pgtest.Server
	nodes []*program.Process
	addrs []string
	env   []string // of the last node
	token string
	proxy program.Caller
}

func up(t *testing.T) *demo {
	t.Helper()
	p, d := project(t, "PUBLIC_HOST="+publicName), &demo{store: pgtest.New(t)}
	dir, dsn := t.TempDir(), d.store.Database(t)
	binary.Must(t, moved(service(t, p, "cookie").Command, "/secrets", dir)...)
	d.token = binary.Must(t, moved(tokenCommand(t), "/secrets", dir)...)
	byName := map[string]string{}
	for _, name := range nodeNames() {
		addr := program.Address(t)
		d.env = moved(environ(service(t, p, name)), "/secrets", dir)
		d.env = append(d.env, "MUSTER_CONFIG_STORE="+dsn, "MUSTER_MGMT_ADVERTISE="+addr)
		args := moved(moved(words(t, "CMD"), "/data", filepath.Join(dir, name)), "0.0.0.0:9113", addr)
		d.nodes, d.addrs = append(d.nodes, binary.Start(t, d.env, args...)), append(d.addrs, addr)
		byName[name] = addr
	}
	listen := program.Address(t)
	program.Launch(t, nginx(t, "-c", proxyConf(t, listen, byName)))
	d.proxy = program.Caller{Base: "http://" + listen, Token: d.token}
	program.Await(t, 20*time.Second, func() error { return d.proxy.Healthy(t, 3) })
	return d
}

func TestProxyServesClusterThatLosesANodeAndItsStore(t *testing.T) {
	t.Parallel()
	d := up(t)
	d.healthcheckHolds(t)
	d.dashboardLoads(t)
	d.onlyKnownNamesAreServed(t)
	d.eventsArrive(t)
	d.nodes[0].Kill()
	d.readsSucceed(t, 30)
	if err := d.proxy.Put(t, "route/after-the-loss", `{}`); err != nil {
		t.Error(err)
	}
	d.store.Stop()
	for range 3 {
		a, err := d.proxy.Send(t, "PUT /v1/config/route/x", `{}`, "If-None-Match", "*")
		if err != nil || a.Code != http.StatusServiceUnavailable || !strings.Contains(string(a.Body), "store-unavailable") {
			t.Fatalf("a write without a store: %d %s %v", a.Code, a.Body, err)
		}
		d.readsSucceed(t, 5)
	}
}

// healthcheckHolds runs the command by which the engine judges a node.
func (d *demo) healthcheckHolds(t *testing.T) {
	t.Helper()
	for _, name := range nodeNames() {
		check := service(t, project(t), name).HealthCheck.Test
		if len(check) < 3 || check[0] != "CMD" || check[1] != "/muster" {
			t.Fatalf("%s is checked by %v", name, check)
		}
		for i, addr := range d.addrs {
			if r := binary.Run(t, append(d.env, "MUSTER_ADDR=http://"+addr), check[2:]...); r.Exit != 0 {
				t.Errorf("%v at n%d: exit %d\n%s%s", check, i+1, r.Exit, r.Stdout, r.Stderr)
			}
		}
		nobody := "MUSTER_ADDR=http://" + program.Address(t)
		if r := binary.Run(t, append(d.env, nobody), check[2:]...); r.Exit == 0 {
			t.Errorf("%v holds where nobody listens", check)
		}
	}
}

func (d *demo) dashboardLoads(t *testing.T) {
	t.Helper()
	page, err := d.proxy.Send(t, "GET /ui/", "")
	if err != nil || page.Code != http.StatusOK || page.Header.Get("Content-Security-Policy") == "" {
		t.Fatalf("/ui/: %d %v %v", page.Code, page.Header, err)
	}
	parts := regexp.MustCompile(`(?:src|href)="([^":]+\.(?:js|css))"`).FindAllStringSubmatch(string(page.Body), -1)
	if len(parts) < 2 {
		t.Fatalf("the page names no script and style:\n%s", page.Body)
	}
	for _, m := range parts {
		if a, err := d.proxy.Send(t, "GET /ui/"+strings.TrimPrefix(m[1], "./"), ""); err != nil || a.Code != http.StatusOK {
			t.Errorf("%s: %d %v", m[1], a.Code, err)
		}
	}
}

// onlyKnownNamesAreServed: the proxy passes on the name that people type, and the
// nodes answer to those they were told.
func (d *demo) onlyKnownNamesAreServed(t *testing.T) {
	t.Helper()
	for host, want := range map[string]int{"localhost:8080": 200, "127.0.0.1:8080": 200, publicName: 200, publicName + ":8080": 200, "rebound.example": 421} {
		if a, err := d.proxy.Send(t, "GET /cluster/members", "", "Host", host); err != nil || a.Code != want {
			t.Errorf("Host %s: got %d %s %v, want %d", host, a.Code, a.Body, err, want)
		}
	}
}

// eventsArrive writes through the proxy and waits for the event through the proxy.
func (d *demo) eventsArrive(t *testing.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.proxy.Base+"/v1/watch?topics=events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("watch: %v %v", res, err)
	}
	lines := make(chan string, 1024) // more than a young cluster tells
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	defer func() { _ = res.Body.Close() }() // ends the reader
	if err := d.proxy.Put(t, "route/by-proxy", `{"weight":10}`); err != nil {
		t.Fatal(err)
	}
	limit := time.After(3 * time.Second)
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatal("the stream ended")
			}
			if strings.HasPrefix(line, "data:") && strings.Contains(line, "route/by-proxy") {
				return
			}
		case <-limit:
			t.Fatal("no event of the write within 3 s")
		}
	}
}

// readsSucceed asks so often that every node was asked.
func (d *demo) readsSucceed(t *testing.T, times int) {
	t.Helper()
	for i := range times {
		if a, err := d.proxy.Send(t, "GET /v1/config/route/by-proxy", ""); err != nil || a.Code != http.StatusOK {
			t.Fatalf("read %d: %d %s %v", i+1, a.Code, a.Body, err)
		}
	}
}

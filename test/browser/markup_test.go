package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/musterhq/muster/internal/program"
)

// attack runs a script if anything makes markup of it: the page then fails its test.
const attack = `<img src=x onerror=violations.push("ran")>`

// TestNamesRefuseMarkup: what is a name has no room for it.
func TestNamesRefuseMarkup(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--cluster-node-name=" + attack, "--cluster-name=" + attack, "--region=<svg/onload=ran()>", "--zone=<svg/onload=ran()>", "--tag=" + attack + "=x"} {
		r := binary.Run(t, nil, "serve", "--data-dir", t.TempDir(), "--mgmt-bind", "127.0.0.1:0", flag)
		if name, _, _ := strings.Cut(flag, "="); r.Exit != 2 || !strings.Contains(r.Stderr, name) {
			t.Errorf("%s: exit %d, want 2 and the flag: %s", flag, r.Exit, r.Stderr)
		}
	}
	n := hostile(t)
	for _, key := range []string{url.PathEscape(attack) + "/x", "route/" + url.PathEscape(attack)} {
		a, err := n.Send(t, "PUT /v1/config/"+key, "{}", "If-None-Match", "*")
		if err != nil || a.Code < 400 || a.Code >= 500 || strings.Contains(string(a.Body), "<img") {
			t.Errorf("PUT %s: %d %s %v, want a refusal without markup", key, a.Code, a.Body, err)
		}
	}
}

// hostile starts a node of an operator whose name is an attack, as is all that he can
// say: a tag, a value, the reason of a write.
func hostile(t *testing.T) node {
	t.Helper()
	n := alone(t, "edge-1", "--tag", "note="+attack)
	program.Await(t, patience, func() error { return n.Healthy(t, 1) })
	a, err := n.Send(t, "PUT /v1/config/route/demo?reason="+url.QueryEscape(attack), fmt.Sprintf(`{"note":%q}`, attack), "If-None-Match", "*")
	if err != nil || a.Code != http.StatusCreated {
		t.Fatalf("write: %d %s %v", a.Code, a.Body, err)
	}
	return n
}

// alone starts one real node, whose operator is called as the attack.
func alone(t *testing.T, name string, flags ...string) node {
	t.Helper()
	dir, addr := t.TempDir(), program.Address(t)
	cookie := filepath.Join(dir, "cookie")
	binary.Must(t, "cookie", "new", "--out", cookie)
	token := binary.Must(t, "token", "create", "--role", "admin", "--subject", attack, "--cluster-cookie-file", cookie)
	process := binary.Start(t, nil, append([]string{"serve", "--data-dir", filepath.Join(dir, name), "--mgmt-bind", addr,
		"--mgmt-path-prefix", prefix, "--cluster-node-name", name, "--cluster-cookie-file", cookie}, flags...)...)
	n := node{Caller: program.Caller{Base: "http://" + addr + prefix, Token: token}, members: []string{name}, stop: process.Kill}
	program.Await(t, patience, func() error { _, err := n.Send(t, "GET /health", ""); return err })
	n.code = n.LoginCode(t)
	return n
}

// TestMarkupOfOthersIsShownAsText: the name of an operator, the value that he wrote
// and his reason.
func TestMarkupOfOthersIsShownAsText(t *testing.T) {
	t.Parallel()
	n, p := hostile(t), newPage(t, 1280, 900)
	signIn(p, n)
	p.shows(".config", "route/demo")
	p.shows(".config", attack) // by whom
	p.do(chromedp.Click(chromedp.CSS(".config .disclose")))
	p.shows(".spec pre", `<img src=x onerror=violations.push(\"ran\")>`)
	p.until("the events tell of the write", func() bool { return strings.Contains(p.text(".events"), "route/demo") })
	noMarkup(p)
}

// TestMarkupOfAProxyIsShownAsText: a node that seeks to join meets a server all of whose
// words are an attack; its own dashboard quotes them.
func TestMarkupOfAProxyIsShownAsText(t *testing.T) {
	t.Parallel()
	problem := fmt.Sprintf(`{"type":"urn:muster:bad-request","status":400,"code":"bad-request","title":%[1]q,"detail":%[1]q,"fix":%[1]q}`, attack)
	for name, answer := range map[string]string{
		"its name":          "426 Upgrade Required\r\nServer: " + attack + "\r\nContent-Type: text/html\r\n\r\n<h1>" + attack,
		"a status":          "404 " + attack + "\r\nContent-Type: text/html\r\n\r\n" + attack,
		"a redirect":        "302 Found\r\nLocation: " + attack + "\r\n\r\n",
		"a made up problem": "400 Bad Request\r\nContent-Type: application/problem+json\r\n\r\n" + problem,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, p := alone(t, "lost", "--formation", "never", "--cluster-join-endpoint", says(t, answer)), newPage(t, 1280, 900)
			p.open(n.ui("#/login?code=" + n.code))
			p.until("the page quotes the proxy", func() bool { return strings.Contains(p.text("main"), "<img src=x onerror=") })
			noMarkup(p)
		})
	}
}

// says starts a server that answers everything with the same bytes.
func says(t *testing.T, answer string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.1 " + answer)) // a caller that is gone needs none
		_ = conn.Close()
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// noMarkup fails the test if the page has an element that only an attack makes.
func noMarkup(p *page) {
	p.t.Helper()
	if got := p.count("img, [onerror], [onload], main script"); got != 0 {
		p.t.Errorf("%d elements were made from foreign text", got)
	}
}

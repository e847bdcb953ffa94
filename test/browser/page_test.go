package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take for anything.
const patience = 20 * time.Second

// page is one tab of a browser of its own. A message on its console that the
// test did not announce, an exception or a violated policy fails the test.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	console  []string
	expected []string
}

// newPage starts a browser with an empty profile.
func newPage(t *testing.T, width, height int64) *page {
	t.Helper()
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), flags(t)...)
	ctx, cancel := chromedp.NewContext(alloc)
	p := &page{t: t, ctx: ctx}
	t.Cleanup(func() {
		p.checkConsole()
		_ = chromedp.Cancel(ctx) // ends the browser
		cancel()
		cancelAlloc()
	})
	p.do(chromedp.EmulateViewport(width, height))
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatalf("give the page the focus: %v", err)
	}
	go p.listen(chromedp.Console(ctx))
	_, err := chromedp.Call(ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{
		Source: `window.violations = []; addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI + " " + e.sample))`,
	})
	if err != nil {
		t.Fatalf("watch the policy: %v", err)
	}
	return p
}

// flags keep the browser to itself: no window, no traffic but the page's own.
func flags(t *testing.T) []chromedp.ExecAllocatorOption {
	return []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(browserPath(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
	}
}

// browserPath finds the browser. Without one the tests fail: a silent skip
// would look like a page that works.
func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Fatal("no browser: install chromium, or name one in CHROMIUM")
	return ""
}

func (p *page) listen(messages func(func(chromedp.ConsoleMessage, error) bool)) {
	for m, err := range messages {
		if err != nil {
			return
		}
		p.mu.Lock()
		p.console = append(p.console, m.String())
		p.mu.Unlock()
	}
}

// expect announces a message of the console.
func (p *page) expect(part string) { p.expected = append(p.expected, part) }

func (p *page) checkConsole() {
	if !p.t.Failed() {
		for _, v := range evaluate[[]string](p, "window.violations ?? []") {
			p.t.Errorf("policy violated: %s", v)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.console {
		if !p.isExpected(line) {
			p.t.Errorf("console: %s", line)
		}
	}
}

func (p *page) isExpected(line string) bool {
	for _, part := range p.expected {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	done := make(chan error, 1) // holds the one answer if nobody waits any more
	go func() { done <- chromedp.Do(p.ctx, steps...) }()
	select {
	case err := <-done:
		if err != nil {
			p.t.Fatalf("drive the page: %v", err)
		}
	case <-time.After(patience):
		p.shoot("stuck-" + p.t.Name())
		p.t.Fatalf("the page did not get there; it shows:\n%s", p.text("body"))
	}
}

func (p *page) open(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// evaluate runs a script in the page; a promise is awaited.
func evaluate[T any](p *page, script string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("evaluate %.80s: %v", script, err)
	}
	return value
}

// text is what people read in the first element that matches, "" without one.
func (p *page) text(selector string) string {
	p.t.Helper()
	return evaluate[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

func (p *page) count(selector string) int {
	p.t.Helper()
	return evaluate[int](p, fmt.Sprintf("document.querySelectorAll(%q).length", selector))
}

// until waits for a claim about the page.
func (p *page) until(claim string, holds func() bool) {
	p.t.Helper()
	p.within(patience, claim, holds)
}

func (p *page) within(limit time.Duration, claim string, holds func() bool) {
	p.t.Helper()
	deadline, tick := time.After(limit), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			p.shoot("failed-" + p.t.Name())
			p.t.Fatalf("not within %s: %s; the page shows:\n%s", limit, claim, p.text("body"))
		case <-tick.C:
		}
	}
}

// shows waits until the first match of selector holds a text.
func (p *page) shows(selector, part string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s shows %q", selector, part), func() bool { return strings.Contains(p.text(selector), part) })
}

// scheme sets what the reader prefers, "light" or "dark".
func (p *page) scheme(name string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		p.t.Fatalf("prefer %s: %v", name, err)
	}
}

// shoot writes a picture of the whole page to artifacts, for people to look at.
func (p *page) shoot(name string) {
	p.t.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Logf("picture %s: %v", name, err)
		return
	}
	file := filepath.Join("artifacts", strings.ReplaceAll(name, "/", "-")+".png")
	if err := os.MkdirAll("artifacts", 0o755); err != nil {
		p.t.Fatalf("picture %s: %v", name, err)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		p.t.Fatalf("picture %s: %v", name, err)
	}
}

package browser_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/musterhq/muster/test/browser/fake"
)

// axeFile is put into the page by the test; the dashboard does not ship it.
const axeFile = "../../web/node_modules/axe-core/axe.min.js"

type violation struct {
	ID    string
	Help  string
	Nodes []struct {
		HTML           string
		FailureSummary string
	}
}

// accessible fails for every rule of WCAG 2.2 AA, and of good practice, that
// the page breaks.
func accessible(p *page) {
	p.t.Helper()
	source, err := os.ReadFile(axeFile)
	if err != nil {
		p.t.Fatalf("read axe: %v; run: npm ci --prefix web", err)
	}
	p.do(chromedp.Evaluate[chromedp.Void](string(source) + "; undefined"))
	report := evaluate[string](p, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then((r) => JSON.stringify({violations: r.violations, passes: r.passes.length}))`)
	var result struct {
		Violations []violation
		Passes     int
	}
	if err := json.Unmarshal([]byte(report), &result); err != nil {
		p.t.Fatalf("read the report: %v", err)
	}
	if result.Passes < 10 {
		p.t.Errorf("only %d rules applied: is the page there?", result.Passes)
	}
	for _, v := range result.Violations {
		for _, n := range v.Nodes {
			p.t.Errorf("%s: %s\n%s\n%s", v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// widths of the pictures: a desk and a telephone.
func widths() map[string]int64 { return map[string]int64{"wide": 1280, "narrow": 420} }

func TestPagesAreAccessibleInEveryDress(t *testing.T) {
	t.Parallel()
	made := func(world func() *fake.World) func(*testing.T) node {
		return func(t *testing.T) node { n, _ := pretend(t, world()); return n }
	}
	worlds := map[string]func(*testing.T) node{
		"real": cluster, "healthy": made(fake.Healthy), "degraded": made(fake.Degraded), "empty": made(fake.Empty),
	}
	for worldName, world := range worlds {
		for widthName, width := range widths() {
			t.Run(worldName+"/"+widthName, func(t *testing.T) {
				t.Parallel()
				n, p := world(t), newPage(t, width, 900)
				signIn(p, n)
				p.shows(".who, .pulse", "")
				if p.count(".disclose") > 0 {
					p.do(chromedp.Click(chromedp.CSS(".disclose")))
					p.until("the document is open", func() bool { return len(p.text(".spec pre")) > 5 })
				}
				inBothSchemes(p, worldName+"-"+widthName)
			})
		}
	}
}

func TestLoginPageIsAccessibleInEveryDress(t *testing.T) {
	t.Parallel()
	for name, width := range widths() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPage(t, width, 900)
			p.open(cluster(t).ui("#/login"))
			p.shows("h1", "Sign in")
			inBothSchemes(p, "login-"+name)
		})
	}
}

func inBothSchemes(p *page, name string) {
	p.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		p.scheme(scheme)
		p.shoot(name + "-" + scheme)
		accessible(p)
		if wide := evaluate[int](p, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
			p.t.Errorf("%s: the page is %d px wider than the window", scheme, wide)
		}
	}
}

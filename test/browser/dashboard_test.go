// Package browser_test opens the dashboard in a real browser.
package browser_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/test/browser/fake"
)

// signIn opens the overview as an operator.
func signIn(p *page, n node) {
	p.t.Helper()
	p.open(n.ui("#/login?code=" + n.code))
	p.until("the overview is open", func() bool { return p.count(".members tbody tr") > 0 || p.count(".empty") > 0 })
}

func TestLoginByCodeOpensOverview(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	signIn(p, n)
	if got, want := evaluate[string](p, "location.hash"), "#/"; got != want {
		t.Errorf("hash: got %q, want %q", got, want)
	}
	if got := evaluate[string](p, "JSON.stringify(performance.getEntriesByType('resource').map((e) => e.name))"); strings.Contains(got, n.code) {
		t.Errorf("the login code is part of a request's URL: %s", got)
	}
	p.shows(".verdict-word", "Healthy")
	p.shows("h1", "3")
	for _, name := range n.members {
		p.shows(".members", name)
	}
	if got := p.count(".members tbody tr"); got != len(n.members) {
		t.Errorf("members: got %d rows, want %d", got, len(n.members))
	}
	p.shows(".figures", "3/3")
	p.shows(".config", "route/checkout")
	p.shows(".config", "ops@anna")
	if got := p.text(".config") + p.text(".events"); strings.Contains(got, "ops@anna/") {
		t.Errorf("the page shows the ids of tokens:\n%s", got)
	}
	p.shows(".pulse", "live")
}

func TestUsedCodeIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	p.expect("401")
	p.open(n.ui("#/login?code=spent"))
	p.shows("[role=alert]", "login code")
	p.shows("[role=alert]", "muster ui")
	p.shoot("login-refused")
}

func TestPastedTokenSignsIn(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	p.open(n.ui("#/login"))
	p.do(chromedp.WaitVisible(chromedp.CSS("#token")), chromedp.SendKeys(chromedp.CSS("#token"), n.Token+"\n"))
	p.shows(".members", n.members[0])
	p.do(chromedp.Reload())
	p.shows(".members", n.members[0])
	p.do(chromedp.Click(chromedp.CSS(".who button")))
	p.shows(".hint", "Sign in")
	if got := p.count(".members"); got != 0 {
		t.Errorf("after signing out the members are still shown")
	}
}

func TestWrongTokenIsNotKept(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	p.expect("401")
	p.open(n.ui("#/login"))
	p.do(chromedp.WaitVisible(chromedp.CSS("#token")), chromedp.SendKeys(chromedp.CSS("#token"), "wrong\n"))
	p.shows("[role=alert]", "not one that muster made")
	if got := evaluate[int](p, "sessionStorage.length"); got != 0 {
		t.Errorf("the refused token is kept")
	}
}

func TestVisitorSeesVerdictAndHowToSignIn(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	p.open(n.ui(""))
	p.shows(".verdict-word", "Healthy")
	p.shows(".hint", "muster ui")
	p.shoot("visitor")
}

func TestWriteArrivesWithoutReload(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	signIn(p, n)
	evaluate[bool](p, "window.same = true")
	n.put(t, "route/live", `{"weight":10,"exact":12345678901234567890}`)
	p.within(3*time.Second, "the document is listed", func() bool { return strings.Contains(p.text(".config"), "route/live") })
	p.within(3*time.Second, "the event is listed", func() bool { return strings.Contains(p.text(".events"), "route/live") })
	if !evaluate[bool](p, "window.same") {
		t.Error("the page was loaded again")
	}
	p.do(chromedp.Click(`//button[contains(., "live")]`))
	p.shows(".spec", "12345678901234567890")
	if got := p.count(".disclose[aria-expanded=true]"); got != 1 {
		t.Errorf("open documents: got %d, want 1", got)
	}
}

func TestOldNumbersAreMarkedWithinThreeSeconds(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	p.expect("ERR_")
	signIn(p, n)
	p.shows(".pulse", "live")
	n.stop()
	p.within(3*time.Second, "the page says that it is old", func() bool {
		return strings.Contains(p.text(".pulse"), "last update") && p.count(".stale") == 1
	})
	p.shows(".lost", "reconnecting")
	p.shows(".members", n.members[0])
	p.shoot("stale")
}

func TestLostMemberIsNamed(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	signIn(p, n)
	p.shows(".verdict-word", "Healthy")
	n.lose()
	lost := n.members[len(n.members)-1]
	p.shows(".verdict-word", "Degraded")
	p.shows(".members tbody tr", lost) // the worst comes first
	p.shows(".members tbody tr", "dead")
	p.shows(".verdict-rest", lost+" dead")
	p.shows(".events li", lost)
	p.shows(".events li", "dead")
	p.shoot("real-degraded")
}

func TestSilentNodeIsNoticedWithinThreeSeconds(t *testing.T) {
	t.Parallel()
	n, behind := pretend(t, fake.Healthy())
	p := newPage(t, 1280, 900)
	signIn(p, n)
	p.shows(".pulse", "live")
	behind.Freeze()
	p.within(3*time.Second, "the page says that it is old", func() bool { return strings.Contains(p.text(".pulse"), "last update") })
}

func TestQuietNodeStaysLive(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	signIn(p, n)
	evaluate[bool](p, `window.lost = false; new MutationObserver(() => { lost ||= !!document.querySelector(".stale") })
		.observe(document.body, {subtree: true, childList: true, attributes: true}); true`)
	evaluate[bool](p, "new Promise((done) => setTimeout(() => done(true), 4500))")
	if evaluate[bool](p, "window.lost") {
		t.Error("a node with nothing to say was taken for lost")
	}
}

func TestAgesAreToldByTheClockOfTheNode(t *testing.T) {
	t.Parallel()
	world := fake.Healthy()
	world.Skew = 3 * time.Hour
	world.Members[2].State, world.Members[2].Since = muster.StateSuspect, time.Now().UTC().Add(world.Skew-90*time.Second)
	n, _ := pretend(t, world)
	p := newPage(t, 1280, 900)
	signIn(p, n)
	p.shows(".members tbody tr", "for 1 min 3")
}

func TestMemberStateChangesAreShownWorstFirst(t *testing.T) {
	t.Parallel()
	n, behind := pretend(t, fake.Healthy())
	p := newPage(t, 1280, 900)
	signIn(p, n)
	behind.Turn(2, muster.StateSuspect, "no answer to 3 probes")
	p.shows(".members tbody tr", "edge-3")
	p.shows(".members tbody tr", "suspect")
	p.shows(".events li", "edge-3")
}

func TestRowsStandStillUnderThePointer(t *testing.T) {
	t.Parallel()
	n, behind := pretend(t, fake.Healthy())
	p := newPage(t, 1280, 900)
	signIn(p, n)
	p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".members a").focus()`))
	behind.Turn(2, muster.StateDead, "no answer for 9 s")
	p.shows(".members", "dead")
	if got := p.text(".members tbody tr"); !strings.Contains(got, "edge-1") {
		t.Errorf("first row while focused: got %q, want edge-1", got)
	}
	p.shows(".chip", "held")
	p.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur()`))
	p.shows(".members tbody tr", "edge-3")
}

func TestEmptyConfigurationTeachesTheFirstWrite(t *testing.T) {
	t.Parallel()
	n, _ := pretend(t, fake.Empty())
	p := newPage(t, 1280, 900)
	signIn(p, n)
	p.shows(".empty", "muster config set")
	p.shows(".empty", n.Base+"/v1/config/route/demo")
	p.shoot("empty")
}

func TestCurlCommandIsCopied(t *testing.T) {
	t.Parallel()
	n, p := cluster(t), newPage(t, 1280, 900)
	signIn(p, n)
	p.do(chromedp.Click(chromedp.CSS(".verdict .ghost")))
	p.until("the command is copied or shown", func() bool { return strings.Contains(p.text(".verdict .copy"), "copied") || p.count(".copy-text") == 1 })
	if got, want := evaluate[string](p, `document.querySelector(".verdict .ghost").title`), n.Base+"/cluster/status"; !strings.Contains(got, want) || strings.Contains(got, n.Token) {
		t.Errorf("command: got %q, want %q in it and no token", got, want)
	}
}

func TestLongListsAreCutAndFiltered(t *testing.T) {
	t.Parallel()
	n, _ := pretend(t, fake.Large(500))
	p := newPage(t, 1280, 900)
	signIn(p, n)
	p.shows(".members tbody tr", "edge-500")
	p.shoot("large")
	if got := p.count(".members tbody tr"); got != 50 {
		t.Errorf("rows at first: got %d, want 50", got)
	}
	p.do(chromedp.SendKeys(chromedp.CSS("[aria-label='Filter members']"), "edge-37"))
	p.until("the filter is applied", func() bool { return p.count(".members tbody tr") == 11 }) // 37, 370 to 379
	p.do(chromedp.SendKeys(chromedp.CSS("[aria-label='Filter members']"), "\b\b\b\b\b\b\b"))
	p.do(chromedp.Click(`//button[contains(., "show all 500")]`))
	p.until("all are shown", func() bool { return p.count(".members tbody tr") == 500 })
}

func TestPageWritesNothingThatOthersControlAsMarkup(t *testing.T) {
	t.Parallel()
	world := fake.Healthy()
	const attack = `<img src=x onerror=violations.push("ran")>`
	world.Members[1].Name, world.Members[1].Reason, world.Members[1].Endpoint = attack, attack, "javascript:violations.push('ran')"
	world.Status.Summary = attack
	n, _ := pretend(t, world)
	p := newPage(t, 1280, 900)
	signIn(p, n)
	p.shows("h1", attack)
	p.shows(".members", attack)
	if got := p.count("main img, main a[href^='javascript']"); got != 0 {
		t.Errorf("%d elements were made from foreign text", got)
	}
}

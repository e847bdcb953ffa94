package mgmt_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/store"
)

// put and get and del are the calls of an operator.
func put(path, body string, header ...string) call {
	return call{method: "PUT", path: "/v1/config/" + path, body: body, role: auth.RoleOperator, header: pairs(header)}
}

func get(path string, header ...string) call {
	return call{method: "GET", path: path, role: auth.RoleViewer, header: pairs(header)}
}

func del(path string, header ...string) call {
	return call{method: "DELETE", path: "/v1/config/" + path, role: auth.RoleOperator, header: pairs(header)}
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

func TestDocumentLivesThroughItsLife(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)

	created := s.want(t, 201, put("route/demo?reason=first", ` {"weight" : 10} `, "If-None-Match", "*", "Content-Type", "application/x-www-form-urlencoded"))
	doc := decode[muster.Document](t, created)
	if doc.Rev != 1 || doc.Generation != 1 || string(doc.Spec) != `{"weight":10}` || doc.Reason != "first" || doc.UpdatedBy != "ann/t-operator" {
		t.Errorf("created %+v", doc)
	}
	if created.header.Get("ETag") != `"1"` || created.header.Get("Muster-Revision") != "1" {
		t.Errorf("headers %v", created.header)
	}

	read := s.want(t, 200, get("/v1/config/route/demo"))
	if diff := cmp.Diff(doc, decode[muster.Document](t, read)); diff != "" {
		t.Errorf("what is read is not what was answered:\n%s", diff)
	}
	for name, want := range map[string]string{
		"ETag": `"1"`, "Muster-Revision": "1", "Muster-Cluster-Id": string(testCluster), "Muster-Node-Id": string(testNode),
	} {
		if got := read.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if a := s.want(t, 200, get("/v1/config/route/demo?raw")); a.body != `{"weight":10}` || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("raw: %q as %q", a.body, a.header.Get("Content-Type"))
	}
	if a := s.want(t, 304, get("/v1/config/route/demo", "If-None-Match", `"1"`)); a.body != "" || a.header.Get("ETag") != `"1"` {
		t.Errorf("unchanged: %q %v", a.body, a.header)
	}

	replaced := s.want(t, 200, put("route/demo", `{"weight":20}`, "If-Match", `"1"`))
	if d := decode[muster.Document](t, replaced); d.Rev != 2 || d.Generation != 2 || replaced.header.Get("ETag") != `"2"` {
		t.Errorf("replaced %+v", d)
	}
	s.want(t, 200, get("/v1/config/route/demo", "If-None-Match", `"1"`))

	gone := s.want(t, 204, del("route/demo", "If-Match", `"2"`))
	if gone.body != "" || gone.header.Get("Muster-Revision") != "3" {
		t.Errorf("deleted: %q %v", gone.body, gone.header)
	}
	s.want(t, 404, get("/v1/config/route/demo"))
}

func TestWritesNeedACondition(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 201, put("a/b", "1", "If-None-Match", "*"))
	for _, c := range []struct {
		name string
		call call
		want int
		code string
	}{
		{"put without", put("a/b", "2"), 428, "precondition-required"},
		{"delete without", del("a/b"), 428, "precondition-required"},
		{"create what exists", put("a/b", "2", "If-None-Match", "*"), 412, "conflict"},
		{"replace an old revision", put("a/b", "2", "If-Match", `"7"`), 412, "conflict"},
		{"delete an old revision", del("a/b", "If-Match", `"7"`), 412, "conflict"},
		{"replace what is not there", put("a/none", "2", "If-Match", `"1"`), 412, "conflict"},
		{"replace whatever, not there", put("a/none", "2", "If-Match", "*"), 412, "conflict"},
		{"delete what is not there", del("a/none", "If-Match", "*"), 404, "not-found"},
		{"both conditions", put("a/b", "2", "If-Match", `"1"`, "If-None-Match", "*"), 400, "bad-request"},
		{"list of tags", put("a/b", "2", "If-Match", `"1", "2"`), 400, "bad-request"},
		{"no tag", put("a/b", "2", "If-Match", `"x"`), 400, "bad-request"},
		{"revision zero", put("a/b", "2", "If-Match", `"0"`), 400, "bad-request"},
		{"any by number", put("a/b", "2", "If-Match", `"-1"`), 400, "bad-request"},
		{"create unless a tag", put("a/b", "2", "If-None-Match", `"1"`), 400, "bad-request"},
	} {
		a := s.want(t, c.want, c.call)
		if p := a.problem(t); p.Code != c.code {
			t.Errorf("%s: code %q, want %q", c.name, p.Code, c.code)
		}
	}
	if got := s.config.View().Position().Rev; got != 1 {
		t.Errorf("refused writes moved the revision to %d", got)
	}
	s.want(t, 200, put("a/b", "3", "If-Match", "1")) // without quotes
	s.want(t, 200, put("a/b", "4", "If-Match", `W/"2"`))
	s.want(t, 200, put("a/b", "5", "If-Match", "*"))
	s.want(t, 204, del("a/b", "If-Match", "*"))
}

func TestConflictShowsWhatIsThere(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 201, put("a/b", `{"x":1}`, "If-None-Match", "*"))
	a := s.want(t, 412, put("a/b", `{"x":2}`, "If-Match", `"9"`))
	p := a.problem(t)
	if p.Current == nil || p.Current.Rev != 1 || string(p.Current.Spec) != `{"x":1}` || a.header.Get("ETag") != `"1"` {
		t.Errorf("the conflict does not show the current document: %s", a.body)
	}
}

func TestDocumentsMustBeAcceptable(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	big := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	for _, c := range []struct {
		body string
		want int
		code string
	}{
		{"", 422, "bad-document"},
		{"{", 422, "bad-document"},
		{"nonsense", 422, "bad-document"},
		{`{"a":1,"a":2}`, 422, "bad-document"},
		{`{"a":1} {"b":2}`, 422, "bad-document"},
		{`"\u0000"`, 422, "bad-document"},
		{strings.Repeat("[", 40) + strings.Repeat("]", 40), 422, "bad-document"},
		{big(muster.MaxSpec + 1), 413, "too-large"},
		{big(muster.MaxSpec + 80<<10), 413, "too-large"},
		{big(muster.MaxSpec), 201, ""},
		{big(muster.MaxSpec) + strings.Repeat(" ", 60<<10), 412, "conflict"},
	} {
		a := s.want(t, c.want, put("a/b", c.body, "If-None-Match", "*"))
		if c.code != "" && a.problem(t).Code != c.code {
			t.Errorf("%.20q: %s", c.body, a.body)
		}
	}
}

func TestPackedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 415, put("a/b", "\x1f\x8b", "If-None-Match", "*", "Content-Encoding", "gzip"))
	s.want(t, 201, put("a/b", "1", "If-None-Match", "*", "Content-Encoding", "identity"))
}

func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	long := strings.Repeat("x", 64)
	for _, c := range []call{
		put(long+"/b", "1", "If-None-Match", "*"), put("a/"+long, "1", "If-None-Match", "*"), put("a:b/c", "1", "If-None-Match", "*"),
		get("/v1/config/" + long), get("/v1/config/a:b"), get("/v1/config/a/" + long), del("a/"+long, "If-Match", "*"), get("/v1/members/" + long),
	} {
		a := s.want(t, 400, c)
		p := a.problem(t)
		if len(p.Errors) != 1 || p.Errors[0].Field != "kind" && p.Errors[0].Field != "name" && p.Errors[0].Field != "id" {
			t.Errorf("%s %s does not name the field: %s", c.method, c.path, a.body)
		}
	}
}

func TestParametersAreChecked(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for path, field := range map[string]string{
		"/v1/config?limit=0":              "limit",
		"/v1/config?limit=1001":           "limit",
		"/v1/config?limit=many":           "limit",
		"/v1/config?cursor=%21":           "cursor",
		"/v1/changes?after=-1":            "after",
		"/v1/changes?after=x":             "after",
		"/v1/changes?wait=soon":           "wait",
		"/v1/changes?wait=-1s":            "wait",
		"/cluster/status?expected=x":      "expected",
		"/cluster/status?wait=x":          "wait",
		"/cluster/status?key=nothing":     "key",
		"/ready?wait=x":                   "wait",
		"/v1/watch?topics=status,weather": "topics",
		"/v1/events?wait=x":               "wait",
	} {
		a := s.want(t, 400, get(path))
		if p := a.problem(t); len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: %s, want the field %q named", path, a.body, field)
		}
	}
	s.want(t, 400, put("a/b?reason="+strings.Repeat("x", 201), "1", "If-None-Match", "*"))
	s.want(t, 400, put("a/b", "1", "If-None-Match", "*", "Idempotency-Key", strings.Repeat("x", 201)))
	s.want(t, 400, get("/v1/config", "Muster-Min-Revision", "x"))
}

func TestRepeatedWriteIsAppliedOnce(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	once := put("a/b", `{"n":1}`, "If-None-Match", "*", "Idempotency-Key", "job-17")
	first, second := s.want(t, 201, once), s.want(t, 201, once)
	if first.body != second.body || first.header.Get("ETag") != second.header.Get("ETag") {
		t.Errorf("the repetition answers otherwise:\n%s%s", first.body, second.body)
	}
	if got := s.config.View().Position().Rev; got != 1 {
		t.Errorf("two writes with one key made %d revisions", got)
	}
	other := s.want(t, 400, put("a/c", `{"n":1}`, "If-None-Match", "*", "Idempotency-Key", "job-17"))
	if p := other.problem(t); len(p.Errors) != 1 || p.Errors[0].Field != "Idempotency-Key" {
		t.Errorf("another write under the same key: %s", other.body)
	}
	gone := del("a/b", "If-Match", `"1"`, "Idempotency-Key", "job-18")
	s.want(t, 204, gone)
	s.want(t, 204, gone)
}

func TestEveryWriteLeavesALogLine(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	a := s.want(t, 201, put("route/demo?reason=because", "1", "If-None-Match", "*"))
	s.want(t, 412, put("route/demo", "1", "If-None-Match", "*"))
	s.want(t, 200, get("/v1/config/route/demo"))
	s.want(t, 401, call{method: "PUT", path: "/v1/config/a/b", body: "1"})
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines for two writes and a read: %s", len(lines), s.log)
	}
	line := regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(lines[0], `"time":"T"`)
	want := `{"time":"T","level":"INFO","msg":"write","component":"mgmt","operation":"putConfig","status":201,` +
		`"actor":"ann/t-operator","via":"` + string(testNode) + `","address":"127.0.0.1","request_id":"` + a.header.Get("X-Request-Id") + `",` +
		`"kind":"route","name":"demo","reason":"because","rev":1}`
	if line != want {
		t.Errorf("the line of a write (subject and token id, node, address, request, what and why):\n got %s\nwant %s", line, want)
	}
	if !strings.Contains(lines[1], `"status":412`) {
		t.Errorf("the refused write: %s", lines[1])
	}
}

func TestListsAreSortedPagedAndNeverNull(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	if a := s.want(t, 200, get("/v1/config")); !strings.Contains(a.body, `"items":[]`) {
		t.Errorf("empty list: %s", a.body)
	}
	for _, key := range []string{"b/2", "a/1", "b/10", "a/2", "b/1"} {
		s.want(t, 201, put(key, "1", "If-None-Match", "*"))
	}
	var got []string
	for cursor, pages := "", 0; ; pages++ {
		list := decode[api.DocumentList](t, s.want(t, 200, get("/v1/config?limit=2&cursor="+cursor)))
		for _, d := range list.Items {
			got = append(got, d.Kind+"/"+d.Name)
		}
		if cursor = list.Next; cursor == "" {
			if pages != 2 || list.Rev != 5 {
				t.Errorf("%d further pages at revision %d, want 2 at 5", pages, list.Rev)
			}
			break
		}
	}
	if diff := cmp.Diff([]string{"a/1", "a/2", "b/1", "b/10", "b/2"}, got); diff != "" {
		t.Error(diff)
	}
	kind := decode[api.DocumentList](t, s.want(t, 200, get("/v1/config/a")))
	if len(kind.Items) != 2 || kind.Next != "" {
		t.Errorf("kind a: %+v", kind)
	}
	if a := s.want(t, 200, get("/v1/config/none")); !strings.Contains(a.body, `"items":[]`) {
		t.Errorf("kind without documents: %s", a.body)
	}
}

func TestNotSyncedNodeSaysSo(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.config.view = nil
	for _, c := range []call{
		get("/v1/config"), get("/v1/config/a"), get("/v1/config/a/b"), get("/v1/changes"),
		put("a/b", "1", "If-None-Match", "*"), del("a/b", "If-Match", "*"),
	} {
		a := s.want(t, 503, c)
		if p := a.problem(t); p.Code != "not-synced" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %s", c.method, c.path, a.body)
		}
	}
	if a := s.want(t, 200, get("/cluster/members")); a.header.Get("Muster-Revision") != "" || a.header.Get("Muster-Cluster-Id") == "" {
		t.Errorf("headers %v", a.header)
	}
}

func TestMinRevisionWaitsAndThenRefuses(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	began := time.Now()
	a := s.want(t, 503, get("/v1/config", "Muster-Min-Revision", "1"))
	if p := a.problem(t); p.Code != "behind" || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %s", a.body)
	}
	if took := time.Since(began); took < 1900*time.Millisecond || took > 10*time.Second {
		t.Errorf("refused after %v, want about 2 s", took)
	}
	done := make(chan answer, 1)
	go func() { done <- s.do(t, get("/v1/config", "Muster-Min-Revision", "1")) }()
	s.want(t, 201, put("a/b", "1", "If-None-Match", "*"))
	if a := <-done; a.status != 200 || a.header.Get("Muster-Revision") == "" {
		t.Errorf("after the write: %d %s", a.status, a.body)
	}
}

func TestChangesAreDenseAndWaited(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	if a := s.want(t, 200, get("/v1/changes")); !strings.Contains(a.body, `"changes":[]`) {
		t.Errorf("empty history: %s", a.body)
	}
	done := make(chan answer, 1)
	go func() { done <- s.do(t, get("/v1/changes?wait=20s")) }()
	for i := range 3 {
		s.want(t, 201, put(fmt.Sprintf("a/%d", i), "1", "If-None-Match", "*"))
	}
	if list := decode[api.ChangeList](t, <-done); len(list.Changes) == 0 || list.Changes[0].Rev != 1 {
		t.Errorf("waited for changes and got %+v", list)
	}
	list := decode[api.ChangeList](t, s.want(t, 200, get("/v1/changes?after=1&limit=1")))
	if len(list.Changes) != 1 || list.Changes[0].Rev != 2 || list.Rev != 3 {
		t.Errorf("changes %+v", list)
	}
	all := decode[api.ChangeList](t, s.want(t, 200, get("/v1/changes")))
	if err := config.Verify(config.Genesis(testCluster), all.Changes); err != nil {
		t.Errorf("the history cannot be verified from outside: %v", err)
	}
	if got := decode[api.ChangeList](t, s.want(t, 200, get("/v1/changes?after=99"))); len(got.Changes) != 0 {
		t.Errorf("changes from the future: %+v", got)
	}
}

// failingConfig answers every write and history with one error.
type failingConfig struct {
	*fakeConfig

	err error
}

func (c failingConfig) Apply(context.Context, []store.Write) ([]store.Outcome, error) {
	return nil, c.err
}

func (c failingConfig) Changes(context.Context, int64, int) ([]muster.Change, error) {
	return nil, c.err
}

func TestStoreFailuresKeepTheirCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
		code string
	}{
		{muster.Errorf(muster.CodeStoreUnavailable, "the database does not answer"), 503, "store-unavailable"},
		{muster.Errorf(muster.CodeOutcomeUnknown, "it broke"), 504, "outcome-unknown"},
		{fmt.Errorf("apply: %w", muster.Errorf(muster.CodeConfigHomeDown, "n1 is down")), 503, "config-home-down"},
		{store.ErrNoCluster, 503, "not-formed"},
		{fmt.Errorf("dial postgres://u:secret@h/db: refused"), 500, "internal"},
	} {
		s := setup(t, func(cfg *mgmt.Config) { cfg.Config = failingConfig{cfg.Config.(*fakeConfig), c.err} })
		a := s.want(t, c.want, put("a/b", "1", "If-None-Match", "*"))
		if p := a.problem(t); p.Code != c.code || strings.Contains(a.body, "secret") {
			t.Errorf("%v: %s", c.err, a.body)
		}
		if c.want == 503 && a.header.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", c.err)
		}
	}
	s := setup(t, nil)
	s.want(t, 201, put("a/b", "1", "If-None-Match", "*"))
	gone := setup(t, func(cfg *mgmt.Config) { cfg.Config = failingConfig{s.config, store.ErrCompacted} })
	if p := gone.want(t, 410, get("/v1/changes")).problem(t); p.Code != "compacted" {
		t.Errorf("code %q", p.Code)
	}
}

func TestProblemHasItsDocumentedForm(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	a := s.want(t, 400, put("a:b/c", "1", "If-None-Match", "*"))
	got := strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "ID")
	if !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(a.header.Get("X-Request-Id")) {
		t.Errorf("request id %q", a.header.Get("X-Request-Id"))
	}
	want, err := os.ReadFile("testdata/problem.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("testdata/problem.json (-want +got):\n%s", diff)
	}
}

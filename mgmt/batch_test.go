package mgmt_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
)

func batch(query string, items ...string) call {
	return post("/v1/config:apply"+query, `{"items":[`+strings.Join(items, ",")+`]}`)
}

// item is one item of a batch.
func item(key, rest string) string {
	kind, name, _ := strings.Cut(key, "/")
	return fmt.Sprintf(`{"kind":%q,"name":%q,%s}`, kind, name, rest)
}

func outcomes(o api.ConfigOutcome) string {
	var words []string
	for _, r := range o.Items {
		words = append(words, fmt.Sprintf("%s/%s %s %d", r.Kind, r.Name, r.Outcome, r.Rev))
	}
	return strings.Join(words, ", ")
}

func TestBatchIsWrittenAsOne(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	all := []string{
		item("route/new", `"spec":{"b":1,"a":null},"if_absent":true`), item("route/demo", `"spec":null,"if_rev":6`),
		item("route/other", `"op":"delete","force":true`), item("route/more", `"op":"put","spec":0,"force":true`),
	}
	dry := decode[api.ConfigOutcome](t, s.want(t, 200, batch("?dry_run=true", all...)))
	if got, want := outcomes(dry), "route/new created 0, route/demo changed 6, route/other deleted 4, route/more created 0"; got != want || !dry.DryRun || dry.Rev != 6 {
		t.Errorf("dry run %+v: %s, want %s", dry, got, want)
	}
	if rev := s.config.View().Position().Rev; rev != 6 {
		t.Fatalf("the dry run has written: revision %d", rev)
	}
	done := decode[api.ConfigOutcome](t, s.want(t, 200, batch("?reason=all+of+it", all...)))
	if got, want := outcomes(done), "route/new created 7, route/demo changed 8, route/other deleted 9, route/more created 10"; got != want || done.DryRun || done.Rev != 10 {
		t.Errorf("%+v: %s, want %s", done, got, want)
	}
	doc := decode[muster.Document](t, s.want(t, 200, get("/v1/config/route/new")))
	if string(doc.Spec) != `{"a":null,"b":1}` || doc.Reason != "all of it" || doc.UpdatedBy != "ann/t-operator" {
		t.Errorf("written %+v", doc)
	}
	if a := s.want(t, 200, get("/v1/config/route/demo?raw")); a.body != "null" {
		t.Errorf("null came back as %q", a.body)
	}
}

func TestRefusedBatchWritesNothingAndNamesTheItem(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	good := item("route/good", `"spec":1,"force":true`)
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for _, c := range []struct {
		bad    string
		status int
		code   string
	}{
		{item("route/demo", `"spec":1,"if_rev":3`), 412, "conflict"},
		{item("route/demo", `"spec":1,"if_absent":true`), 412, "conflict"},
		{item("route/none", `"spec":1,"if_rev":3`), 412, "conflict"},
		{item("route/none", `"op":"delete","force":true`), 404, "not-found"},
		{item("route/x", `"spec":1`), 428, "precondition-required"},
		{item("route/x", `"spec":1,"force":true,"if_absent":true`), 400, "bad-request"},
		{item("route/x", `"spec":1,"if_rev":0`), 400, "bad-request"},
		{item("route/x", `"op":"delete","if_absent":true`), 400, "bad-request"},
		{item("route/x", `"op":"delete","spec":1,"force":true`), 400, "bad-request"},
		{item("route/x", `"op":"merge","spec":1,"force":true`), 400, "bad-request"},
		{item("route/x", `"force":true`), 400, "bad-request"},
		{item("ro:te/x", `"spec":1,"force":true`), 400, "bad-request"},
		{item("route/good", `"spec":2,"force":true`), 400, "bad-request"},
		{item("route/x", `"spec":{"a":1,"a":2},"force":true`), 422, "bad-document"},
		{item("route/x", `"spec":`+deep+`,"force":true`), 422, "bad-document"},
		{item("route/x", `"spec":"`+strings.Repeat("x", muster.MaxSpec)+`","force":true`), 413, "too-large"},
		{item("token-deny/x", `"spec":{},"force":true`), 403, "forbidden"},
		{item("tombstone/x", `"op":"delete","force":true`), 403, "forbidden"},
	} {
		for _, query := range []string{"", "?dry_run"} {
			p := s.want(t, c.status, batch(query, good, c.bad, item("route/last", `"spec":3,"force":true`))).problem(t)
			if p.Code != c.code || len(p.Errors) != 1 || p.Errors[0].Field != "items[1]" || !strings.Contains(p.Detail, "nothing was written") {
				t.Errorf("%.80s%s: %+v", c.bad, query, p)
			}
		}
	}
	if p := s.want(t, 412, batch("", good, item("route/demo", `"spec":1,"if_rev":3`))).problem(t); p.Current == nil || p.Current.Rev != 6 {
		t.Errorf("the conflict does not show the document: %+v", p)
	}
	if rev := s.config.View().Position().Rev; rev != 6 {
		t.Errorf("refused batches have written: revision %d", rev)
	}
	s.want(t, 422, batch("", item("token-deny/x", `"spec":{},"force":true`)).as(auth.RoleAdmin))
}

func TestBatchIsBounded(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	var items []string
	for i := range 65 {
		items = append(items, item(fmt.Sprintf("route/%d", i), `"spec":1,"if_absent":true`))
	}
	for _, c := range []call{batch("", items...), batch(""), post("/v1/config:apply", "{}"), post("/v1/config:apply", "")} {
		p := s.want(t, 400, c).problem(t)
		if len(c.body) > 20 && !strings.Contains(p.Detail, "limit") {
			t.Errorf("65 items: %s", p.Detail)
		}
	}
	if out := decode[api.ConfigOutcome](t, s.want(t, 200, batch("", items[:64]...))); out.Rev != 64 {
		t.Errorf("64 items: %+v", out)
	}
	large := item("route/large", `"spec":"`+strings.Repeat("x", muster.MaxSpec-2)+`","if_absent":true`)
	s.want(t, 413, batch("", slicesRepeat(large, 70)...))
}

func slicesRepeat(text string, n int) (list []string) {
	for range n {
		list = append(list, text)
	}
	return list
}

func TestRepeatedBatchIsAppliedOnce(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	once := batch("", item("a/b", `"spec":1,"if_absent":true`), item("a/c", `"spec":2,"if_absent":true`))
	once.header = map[string]string{"Idempotency-Key": "job-17"}
	first, second := s.want(t, 200, once), s.want(t, 200, once)
	if first.body != second.body || s.config.View().Position().Rev != 2 {
		t.Errorf("the repetition answers otherwise, or wrote:\n%s%s", first.body, second.body)
	}
	other := batch("", item("a/b", `"spec":1,"if_absent":true`), item("a/d", `"spec":2,"if_absent":true`))
	other.header = once.header
	if p := s.want(t, 400, other).problem(t); !strings.Contains(p.Detail, "Idempotency-Key") || s.config.View().Position().Rev != 2 {
		t.Errorf("another batch under the same key: %+v", p)
	}
}

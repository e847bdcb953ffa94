package mgmt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
	"github.com/musterhq/muster/store/memory"
)

// post is a call of an operator.
func post(path, body string, header ...string) call {
	return call{method: "POST", path: path, body: body, role: auth.RoleOperator, header: pairs(header)}
}

// as makes a call with another role.
func (c call) as(role auth.Role) call {
	c.role = role
	return c
}

// lived is a surface with a history: route/demo is written at 1 and 3, deleted at 5,
// and written again at 6; route/other is written at 2 and 4.
func lived(t *testing.T, adjust func(*mgmt.Config)) *surface {
	t.Helper()
	s := setup(t, adjust)
	s.want(t, 201, put("route/demo?reason=first", `{"w":1}`, "If-None-Match", "*"))
	s.want(t, 201, put("route/other", `[1]`, "If-None-Match", "*"))
	s.want(t, 200, put("route/demo?reason=more", `{"w":2}`, "If-Match", `"1"`))
	s.want(t, 200, put("route/other", `[2]`, "If-Match", `"2"`))
	s.want(t, 204, del("route/demo", "If-Match", `"3"`))
	s.want(t, 201, put("route/demo", `{"w":3}`, "If-None-Match", "*"))
	return s
}

// compact makes the log forget.
func (s *surface) compact(t *testing.T, upTo int64) {
	t.Helper()
	if err := s.config.store.(*memory.Store).Compact(t.Context(), upTo); err != nil {
		t.Fatal(err)
	}
}

func revs(list api.RevisionList) (revs []int64) {
	for _, c := range list.Revisions {
		revs = append(revs, c.Rev)
	}
	return revs
}

func TestRevisionsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	for _, c := range []struct {
		query string
		want  []int64
		next  int64
	}{
		{"", []int64{6, 5, 4, 3, 2, 1}, 0},
		{"?limit=2", []int64{6, 5}, 5},
		{"?limit=2&before=5", []int64{4, 3}, 3},
		{"?limit=2&before=3", []int64{2, 1}, 0},
		{"?before=1", nil, 0},
		{"?kind=route&name=demo", []int64{6, 5, 3, 1}, 0},
		{"?kind=route&name=demo&limit=2", []int64{6, 5}, 5},
		{"?kind=none", nil, 0},
	} {
		a := s.want(t, 200, get("/v1/revisions"+c.query))
		list := decode[api.RevisionList](t, a)
		if got := revs(list); !slices.Equal(got, c.want) || list.Next != c.next || list.Rev != 6 {
			t.Errorf("%s: %v next %d at %d, want %v next %d", c.query, got, list.Next, list.Rev, c.want, c.next)
		}
		if strings.Contains(a.body, `"spec"`) || strings.Contains(a.body, "null") {
			t.Errorf("%s: %s", c.query, a.body)
		}
	}
	c := decode[api.RevisionList](t, s.want(t, 200, get("/v1/revisions?before=4&limit=1"))).Revisions[0]
	if c.Actor != "ann/t-operator" || c.Node != testNode || c.Reason != "more" || c.Generation != 2 || c.At.IsZero() || c.Digest == (muster.Hash{}) {
		t.Errorf("revision 3 does not say who, where, why and when: %+v", c)
	}
	for query, field := range map[string]string{"before=0": "before", "before=x": "before", "limit=0": "limit", "name=a": "kind", "kind=a:b": "kind", "kind=a&name=:": "name"} {
		if p := s.want(t, 400, get("/v1/revisions?"+query)).problem(t); len(p.Errors) != 1 || p.Errors[0].Field != field {
			t.Errorf("%s: %+v", query, p)
		}
	}
}

func TestRevisionShowsItsSpecification(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	if c := decode[muster.Change](t, s.want(t, 200, get("/v1/revisions/3"))); string(c.Spec) != `{"w":2}` || c.Rev != 3 {
		t.Errorf("revision 3: %+v", c)
	}
	if c := decode[muster.Change](t, s.want(t, 200, get("/v1/revisions/5"))); c.Spec != nil || c.Op != muster.OpDelete {
		t.Errorf("revision 5: %+v", c)
	}
	s.want(t, 404, get("/v1/revisions/7"))
	s.want(t, 400, get("/v1/revisions/0"))
	s.want(t, 400, get("/v1/revisions/x"))
}

func TestForgottenHistoryIsGone(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	s.compact(t, 4)
	list := decode[api.RevisionList](t, s.want(t, 200, get("/v1/revisions?limit=2")))
	if !slices.Equal(revs(list), []int64{6, 5}) || list.Next != 0 || list.CompactedRev != 4 {
		t.Errorf("the rest of the log: %+v", list)
	}
	for _, path := range []string{
		"/v1/revisions?before=5", "/v1/revisions?before=2", "/v1/revisions/4", "/v1/revisions/2/diff", "/v1/revisions/5/diff",
		"/v1/revisions/1/diff?to=6&kind=route&name=demo",
	} {
		if p := s.want(t, 410, get(path)).problem(t); p.Code != "compacted" {
			t.Errorf("%s: %s", path, p.Code)
		}
	}
	s.want(t, 410, post("/v1/revisions/3:rollback?kind=route&name=demo", "", "If-Match", "*"))
	// What has not changed since is known, and so is what a creation came from.
	if d := decode[api.DocumentDiff](t, s.want(t, 200, get("/v1/revisions/4/diff?to=6&kind=route&name=other"))); !d.Equal || string(d.From.Spec) != `[2]` {
		t.Errorf("route/other: %+v", d)
	}
	s.compact(t, 5)
	if d := decode[api.DocumentDiff](t, s.want(t, 200, get("/v1/revisions/6/diff"))); d.From.Exists || string(d.To.Spec) != `{"w":3}` {
		t.Errorf("the creation: %+v", d)
	}
}

func TestDiffShowsBothStates(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	for path, want := range map[string]string{
		"1/diff":                            `route/demo 0 - 1 {"w":1} false`,
		"3/diff":                            `route/demo 2 {"w":1} 3 {"w":2} false`,
		"5/diff":                            `route/demo 4 {"w":2} 5 - false`,
		"6/diff":                            `route/demo 5 - 6 {"w":3} false`,
		"3/diff?to=6":                       `route/demo 3 {"w":2} 6 {"w":3} false`,
		"6/diff?to=3":                       `route/demo 6 {"w":3} 3 {"w":2} false`,
		"1/diff?to=0":                       `route/demo 1 {"w":1} 0 - false`,
		"3/diff?to=4":                       `route/demo 3 {"w":2} 4 {"w":2} true`,
		"3/diff?kind=route&name=other":      `route/other 2 [1] 3 [1] true`,
		"2/diff?to=6&kind=route&name=other": `route/other 2 [1] 6 [2] false`,
		"2/diff?kind=route&name=none":       `route/none 1 - 2 - true`,
	} {
		d := decode[api.DocumentDiff](t, s.want(t, 200, get("/v1/revisions/"+path)))
		if got := fmt.Sprintf("%s/%s %d %s %d %s %v", d.Kind, d.Name, d.From.At, specOf(d.From), d.To.At, specOf(d.To), d.Equal); got != want {
			t.Errorf("%s:\n got %s\nwant %s", path, got, want)
		}
	}
	s.want(t, 404, get("/v1/revisions/3/diff?to=7"))
	s.want(t, 400, get("/v1/revisions/3/diff?to=-1"))
	s.want(t, 400, get("/v1/revisions/3/diff?name=other"))
}

func specOf(d api.DocumentAt) string {
	if !d.Exists {
		return "-"
	}
	return string(d.Spec)
}

func TestRollbackIsANewRevision(t *testing.T) {
	t.Parallel()
	s := lived(t, nil)
	back := "/v1/revisions/3:rollback"
	s.want(t, 428, post(back, ""))
	if p := s.want(t, 412, post(back, "", "If-Match", `"3"`)).problem(t); p.Current == nil || p.Current.Rev != 6 {
		t.Errorf("the conflict does not show what is there: %+v", p)
	}
	dry := decode[api.ConfigOutcome](t, s.want(t, 200, post(back+"?dry_run=true", "", "If-Match", `"6"`)))
	if !dry.DryRun || dry.Items[0].Outcome != "changed" || dry.Rev != 6 || s.config.View().Position().Rev != 6 {
		t.Errorf("dry run: %+v at %d", dry, s.config.View().Position().Rev)
	}
	s.want(t, 412, post(back+"?dry_run=true", "", "If-Match", `"3"`))
	done := decode[api.ConfigOutcome](t, s.want(t, 200, post(back, "", "If-Match", `"6"`, "Idempotency-Key", "k")))
	doc := decode[muster.Document](t, s.want(t, 200, get("/v1/config/route/demo")))
	if done.Rev != 7 || done.Items[0].Outcome != "changed" || doc.Rev != 7 || string(doc.Spec) != `{"w":2}` || doc.Reason != "rollback to revision 3" {
		t.Errorf("rolled back: %+v, %+v", done, doc)
	}
	if again := decode[api.ConfigOutcome](t, s.want(t, 200, post(back, "", "If-Match", `"6"`, "Idempotency-Key", "k"))); again.Rev != 7 {
		t.Errorf("the repetition: %+v", again)
	}
	same := decode[api.ConfigOutcome](t, s.want(t, 200, post(back, "", "If-Match", "*")))
	if same.Items[0].Outcome != "unchanged" || s.config.View().Position().Rev != 7 {
		t.Errorf("what is as it was: %+v", same)
	}
	gone := decode[api.ConfigOutcome](t, s.want(t, 200, post("/v1/revisions/5:rollback?reason=away", "", "If-Match", `"7"`)))
	if gone.Items[0].Outcome != "deleted" || gone.Rev != 8 {
		t.Errorf("back to where it was not: %+v", gone)
	}
	made := decode[api.ConfigOutcome](t, s.want(t, 200, post("/v1/revisions/4:rollback?kind=route&name=demo", "", "If-None-Match", "*")))
	if made.Items[0].Outcome != "created" || made.Rev != 9 {
		t.Errorf("made again: %+v", made)
	}
	if c := decode[muster.Change](t, s.want(t, 200, get("/v1/revisions/3"))); string(c.Spec) != `{"w":2}` {
		t.Errorf("the history was rewritten: %+v", c)
	}
}

// TestRollbackKeepsTheRulesOfKinds: what an operator must not write, he must not
// restore either.
func TestRollbackKeepsTheRulesOfKinds(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	id := "7a000000-0000-8000-8000-000000000002"
	tomb := fmt.Sprintf(`{"node_id":%q,"at":"2026-05-01T12:00:00Z","by":"ann"}`, id)
	s.want(t, 201, put("tombstone/"+id, tomb, "If-None-Match", "*").as(auth.RoleAdmin))
	s.want(t, 204, del("tombstone/"+id, "If-Match", `"1"`).as(auth.RoleAdmin))
	s.want(t, 201, put("token-deny/x", `{"jti":"t-1"}`, "If-None-Match", "*").as(auth.RoleAdmin))
	for _, path := range []string{"/v1/revisions/1:rollback", "/v1/revisions/1:rollback?dry_run"} {
		s.want(t, 403, post(path, "", "If-None-Match", "*"))
	}
	s.want(t, 403, post("/v1/revisions/2:rollback?kind=token-deny&name=x", "", "If-Match", `"3"`))
	if rev := s.config.View().Position().Rev; rev != 3 {
		t.Errorf("revision %d", rev)
	}
	s.want(t, 200, post("/v1/revisions/1:rollback", "", "If-None-Match", "*").as(auth.RoleAdmin))
	s.want(t, 200, post("/v1/revisions/2:rollback", "", "If-Match", `"4"`).as(auth.RoleAdmin))
}

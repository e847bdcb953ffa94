package client_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/musterhq/muster/client"
)

func TestHistoryIsAskedForAsDocumented(t *testing.T) {
	t.Parallel()
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.RequestURI() + r.Header.Get("If-Match") + r.Header.Get("If-None-Match") + r.Header.Get("Idempotency-Key") + string(body)
		reply(w, 200, "{}")
	})
	ctx := t.Context()
	items := []client.Item{
		{Kind: "route", Name: "demo", Expect: 7}, {Kind: "route", Name: "new", Spec: []byte("null")}, {Kind: "route", Name: "any", Spec: []byte("1"), Expect: client.Any},
	}
	for _, step := range []struct {
		call func() error
		want string
	}{
		{func() error {
			_, err := c.Revisions(ctx, client.Past{Kind: "route", Name: "demo", Before: 9, Limit: 3})
			return err
		}, "GET /p/v1/revisions?before=9&kind=route&name=demo&limit=3"},
		{func() error { _, err := c.Revision(ctx, 7); return err }, "GET /p/v1/revisions/7"},
		{func() error { _, err := c.Diff(ctx, client.Span{From: 7}); return err }, "GET /p/v1/revisions/7/diff"},
		{func() error {
			_, err := c.Diff(ctx, client.Span{Kind: "route", Name: "demo", From: 3, To: 7})
			return err
		}, "GET /p/v1/revisions/3/diff?to=7&kind=route&name=demo"},
		{func() error {
			_, err := c.Rollback(ctx, client.Rollback{To: 3, Expect: 7, DryRun: true})
			return err
		}, `POST /p/v1/revisions/3:rollback?dry_run=true"7"`},
		{func() error {
			_, err := c.Rollback(ctx, client.Rollback{Kind: "route", Name: "demo", To: 3, Reason: "oops", Key: "k"})
			return err
		}, "POST /p/v1/revisions/3:rollback?kind=route&name=demo&reason=oops*k"},
		{func() error { _, err := c.Apply(ctx, client.Batch{Items: items, Reason: "r", Key: "k"}); return err },
			`POST /p/v1/config:apply?reason=rk{"items":[{"if_rev":7,"kind":"route","name":"demo","op":"delete"},` +
				`{"if_absent":true,"kind":"route","name":"new","spec":null},{"force":true,"kind":"route","name":"any","spec":1}]}`},
	} {
		if err := step.call(); err != nil {
			t.Errorf("%s: %v", step.want, err)
		}
		if got != step.want {
			t.Errorf("asked\n%s, want\n%s", got, step.want)
		}
	}
	got = ""
	if _, err := c.Apply(ctx, client.Batch{Items: []client.Item{{Kind: "a:b", Name: "c"}}}); err == nil || got != "" {
		t.Errorf("a bad name: %v, asked %q", err, got)
	}
}

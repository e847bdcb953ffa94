package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

// serve starts a fake node and returns a client for it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{Addr: s.URL + "/p/", Token: "tok"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 && strings.Contains(body, `"detail"`) {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func TestCallsGoWhereTheyAreDocumented(t *testing.T) {
	t.Parallel()
	var got, body string
	var header http.Header
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body, header = r.Method+" "+r.URL.RequestURI(), string(text), r.Header
		w.Header().Set("Muster-Revision", "9")
		if r.Method == http.MethodDelete || r.URL.Path == "/p/v1/leave" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		reply(w, 200, "{}")
	})
	ctx := t.Context()
	for _, step := range []struct {
		call func() error
		want string
		head map[string]string
	}{
		{func() error { _, err := c.Version(ctx); return err }, "GET /p/version", nil},
		{func() error { _, err := c.Ready(ctx, 90*time.Second); return err }, "GET /p/ready?wait=1m30s", nil},
		{func() error { _, err := c.Status(ctx); return err }, "GET /p/cluster/status", nil},
		{func() error {
			_, _, err := c.StatusWhen(ctx, client.When{Expected: 3, Rev: 4, Wait: time.Second})
			return err
		}, "GET /p/cluster/status?expected=3&wait_rev=4&wait=1s", nil},
		{func() error { _, err := c.Members(ctx); return err }, "GET /p/cluster/members", nil},
		{func() error { _, err := c.Matrix(ctx); return err }, "GET /p/v1/members/matrix", nil},
		{func() error { _, err := c.Member(ctx, "n1"); return err }, "GET /p/v1/members/n1", nil},
		{func() error { _, err := c.Expel(ctx, "n3", client.ExpelOrder{Reason: "lost"}); return err }, "POST /p/v1/members/n3:expel", nil},
		{func() error { _, err := c.Readmit(ctx, "n3", "found"); return err }, "POST /p/v1/members/n3:readmit?reason=found", nil},
		{func() error { return c.Leave(ctx) }, "POST /p/v1/leave", nil},
		{func() error { _, err := c.LoginCode(ctx); return err }, "POST /p/v1/logins", nil},
		{func() error { _, err := c.Caller(ctx); return err }, "GET /p/v1/session", nil},
		{func() error { _, err := c.ConfigGet(ctx, "route", "demo"); return err }, "GET /p/v1/config/route/demo", nil},
		{func() error { _, _, err := c.ConfigList(ctx, ""); return err }, "GET /p/v1/config", nil},
		{func() error { _, _, err := c.ConfigList(ctx, "route"); return err }, "GET /p/v1/config/route", nil},
		{func() error { _, err := c.Changes(ctx, 7, time.Second); return err }, "GET /p/v1/changes?after=7&wait=1s", nil},
		{func() error {
			_, err := c.ConfigPut(ctx, client.Write{Kind: "route", Name: "demo", Spec: []byte(`{"a":1}`), Reason: "why not", Key: "k"})
			return err
		}, "PUT /p/v1/config/route/demo?reason=why%20not", map[string]string{"If-None-Match": "*", "Idempotency-Key": "k"}},
		{func() error {
			_, err := c.ConfigPut(ctx, client.Write{Kind: "route", Name: "demo", Spec: []byte("1"), Expect: 5})
			return err
		}, "PUT /p/v1/config/route/demo", map[string]string{"If-Match": `"5"`, "If-None-Match": ""}},
		{func() error {
			rev, err := c.ConfigDelete(ctx, client.Write{Kind: "route", Name: "demo", Expect: client.Any})
			if rev != 9 {
				return fmt.Errorf("revision %d", rev)
			}
			return err
		}, "DELETE /p/v1/config/route/demo", map[string]string{"If-Match": "*"}},
	} {
		if err := step.call(); err != nil {
			t.Errorf("%s: %v", step.want, err)
		}
		if strings.ReplaceAll(got, "+", "%20") != step.want {
			t.Errorf("asked %s, want %s", got, step.want)
		}
		if header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%s: no token", step.want)
		}
		for name, want := range step.head {
			if header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", step.want, name, header.Get(name), want)
			}
		}
		if strings.HasSuffix(step.want, ":expel") && body != `{"force":false,"reason":"lost"}` {
			t.Errorf("order %q", body)
		}
		if strings.Contains(step.want, "reason=why") && body != `{"a":1}` {
			t.Errorf("body %q", body)
		}
	}
}

func TestProblemsBecomeErrors(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 403, `{"code":"forbidden","detail":"needs operator","fix":"use another token","status":403}`)
	})
	_, err := c.Members(t.Context())
	e, ok := errors.AsType[*muster.Error](err)
	if !ok || e.Code != muster.CodeForbidden || e.Text != "needs operator" || e.Advice() != "use another token" {
		t.Errorf("got %#v", err)
	}
}

func TestConflictCarriesTheCurrentDocument(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 412, `{"code":"conflict","detail":"changed","current":{"kind":"a","name":"b","rev":8,"spec":{"x":1}}}`)
	})
	_, err := c.ConfigPut(t.Context(), client.Write{Kind: "a", Name: "b", Spec: []byte("1"), Expect: 3})
	conflict, ok := errors.AsType[*client.Conflict](err)
	if !ok || conflict.Current == nil || conflict.Current.Rev != 8 || muster.CodeOf(err) != muster.CodeConflict {
		t.Errorf("got %#v", err)
	}
}

func TestNotYetIsNoFailure(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/p/ready" {
			reply(w, 503, `{"ready":false,"conditions":[{"code":"not-synced","ok":false}]}`)
			return
		}
		reply(w, 503, `{"local_node":"n1","healthy_members":2}`)
	})
	s, good, err := c.StatusWhen(t.Context(), client.When{Expected: 3})
	if err != nil || good || s.HealthyMembers != 2 {
		t.Errorf("status %+v, %v, %v", s, good, err)
	}
	r, err := c.Ready(t.Context(), 0)
	if err != nil || r.Ready || r.Conditions[0].Code != muster.CodeNotSynced {
		t.Errorf("ready %+v, %v", r, err)
	}
}

func TestSilenceAndStrangersAreNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	c, err := client.New(client.Config{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	if muster.CodeOf(err) != muster.CodePeerUnreachable || !strings.Contains(err.Error(), addr) {
		t.Errorf("nobody: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, h := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<h1>Bad Gateway</h1>", 502) },
		func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://192.0.2.1/", 302) },
	} {
		if _, err := serve(t, h).Status(t.Context()); muster.CodeOf(err) != muster.CodeNotMuster {
			t.Errorf("stranger: %v", err)
		}
	}
}

func TestAddressesAndNamesAreChecked(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"ftp://x", "http://", "http://a b"} {
		if _, err := client.New(client.Config{Addr: addr}); muster.CodeOf(err) != muster.CodeUsage {
			t.Errorf("%q: %v", addr, err)
		}
	}
	c, err := client.New(client.Config{})
	if err != nil || c.Addr() != client.DefaultAddr {
		t.Errorf("default address: %v, %v", c.Addr(), err)
	}
	if _, err := c.ConfigGet(t.Context(), "a/b", "c"); muster.CodeOf(err) != muster.CodeBadRequest {
		t.Errorf("a name with a slash: %v", err)
	}
}

func TestListIsReadToItsEndAtOneRevision(t *testing.T) {
	t.Parallel()
	asked := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		rev := min(asked, 3) // moves between the first pages
		if r.URL.Query().Get("cursor") == "" {
			reply(w, 200, fmt.Sprintf(`{"items":[{"kind":"a","name":"1"}],"next":"x","rev":%d}`, rev))
			return
		}
		reply(w, 200, fmt.Sprintf(`{"items":[{"kind":"a","name":"2"}],"next":"","rev":%d}`, rev))
	})
	items, rev, err := c.ConfigList(t.Context(), "a")
	if err != nil || rev != 3 || len(items) != 2 || items[1].Name != "2" || asked != 4 {
		t.Errorf("got %v at %d after %d requests, %v", items, rev, asked, err)
	}
}

func TestEventsAreFollowed(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" || r.Header.Get("Last-Event-ID") != "e-1" {
			t.Errorf("asked with %v", r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 2000\n\n: still here\n\nid: e-2\nevent: join\ndata: {\"seq\":2,\"text\":\"two\"}\n\n",
			"event: gap\ndata: {\"node\":\"n1\",\"lost\":3}\n\nevent: missing\ndata: {\"missing\":[\"n2\"]}\n\nevent: missing\ndata: {\"missing\":[]}\n\n",
			"id: e-3\nevent: join\ndata: {\"seq\":3}\n\nevent: bye\ndata: {\"reason\":\"draining\"}\n\n")
	})
	var said []string
	for n, err := range c.Events(t.Context(), client.EventQuery{After: "e-1"}) {
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("ends with %v", err)
			}
			break
		}
		switch {
		case n.Event != nil:
			said = append(said, n.Cursor)
		case n.Gap != nil:
			said = append(said, fmt.Sprintf("%s lost %d", n.Gap.Node, n.Gap.Lost))
		case n.Missing != nil:
			said = append(said, fmt.Sprint(n.Missing))
		default:
			said = append(said, "open at "+n.Cursor)
		}
	}
	if got := strings.Join(said, "; "); got != "open at e-1; e-2; n1 lost 3; [n2]; []; e-3" {
		t.Errorf("the stream said %s", got)
	}
	for range c.Events(t.Context(), client.EventQuery{After: "e-1"}) {
		break // must not go on
	}
	refused := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 401, `{"code":"unauthenticated","detail":"no"}`)
	})
	for _, err := range refused.Events(t.Context(), client.EventQuery{}) {
		if muster.CodeOf(err) != muster.CodeUnauthenticated {
			t.Errorf("refused with %v", err)
		}
	}
}

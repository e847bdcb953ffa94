package client_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/client"
)

func TestWritesBringBackWhoServesThem(t *testing.T) {
	t.Parallel()
	var asked *http.Request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		if r.URL.Query().Has("wait") {
			w.Header().Set("Muster-Wait", "partial")
			w.Header().Set("Muster-Confirmed", "n1,n2")
			w.Header().Set("Muster-Lagging", "")
			w.Header().Set("Muster-Dead", "n3")
		}
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		reply(w, 200, "{}")
	})
	want := muster.Confirmation{Confirmed: []string{"n1", "n2"}, Lagging: []string{}, Dead: []string{"n3"}}
	var got muster.Confirmation
	w := client.Write{Kind: "a", Name: "b", Spec: []byte("1"), Wait: muster.WaitAll, WaitTime: 1500 * time.Millisecond, Confirmed: &got}
	for verb, call := range map[string]func() error{
		"PUT":    func() error { _, err := c.ConfigPut(t.Context(), w); return err },
		"DELETE": func() error { _, err := c.ConfigDelete(t.Context(), w); return err },
	} {
		got = muster.Confirmation{}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", verb, diff)
		}
		if asked.URL.Query().Get("wait") != "all" || asked.Header.Get("Prefer") != "wait=2" {
			t.Errorf("%s asked %s, Prefer: %s", verb, asked.URL, asked.Header.Get("Prefer"))
		}
	}
	if _, err := c.ConfigPut(t.Context(), client.Write{Kind: "a", Name: "b", Spec: []byte("1")}); err != nil || asked.URL.RawQuery != "" || asked.Header.Get("Prefer") != "" {
		t.Errorf("a write that waits for nobody asked %s, Prefer: %s, %v", asked.URL, asked.Header.Get("Prefer"), err)
	}
}

func TestAtLeastGoesWithEveryRead(t *testing.T) {
	t.Parallel()
	var asked *http.Request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		reply(w, 200, "{}")
	})
	late := c.AtLeast(42, 7*time.Second)
	for _, of := range []struct {
		c           *client.Client
		rev, prefer string
	}{{late, "42", "wait=7"}, {c, "", ""}} {
		for name, read := range map[string]func() error{
			"get":  func() error { _, err := of.c.ConfigGet(t.Context(), "a", "b"); return err },
			"list": func() error { _, _, err := of.c.ConfigList(t.Context(), ""); return err },
			"kind": func() error { _, _, err := of.c.ConfigList(t.Context(), "a"); return err },
		} {
			if err := read(); err != nil || asked.Header.Get("Muster-Min-Revision") != of.rev || asked.Header.Get("Prefer") != of.prefer {
				t.Errorf("%s: %v, asked for %q, Prefer: %q", name, err, asked.Header.Get("Muster-Min-Revision"), asked.Header.Get("Prefer"))
			}
		}
	}
}

func TestTraceAndDriftAreRead(t *testing.T) {
	t.Parallel()
	var path string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		reply(w, 200, `{"rev":42,"same":true,"nodes":[{"name":"n1","delay_ms":1.5}],"verdict":"all the same"}`)
	})
	if tr, err := c.Trace(t.Context(), 42); err != nil || path != "/p/v1/revisions/42/trace" || tr.Rev != 42 || *tr.Nodes[0].Delay != 1.5 {
		t.Errorf("%s: %+v %v", path, tr, err)
	}
	if d, err := c.Drift(t.Context()); err != nil || path != "/p/v1/drift" || !d.Same || d.Verdict != "all the same" {
		t.Errorf("%s: %+v %v", path, d, err)
	}
}

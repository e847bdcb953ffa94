package mgmt_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/mgmt"
)

// message is one server-sent event or, without a name, a comment.
type message struct{ name, id, data string }

// feed is an open stream.
type feed struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
}

func (s *surface) open(t *testing.T, c call) *feed {
	t.Helper()
	resp, err := s.client.Do(s.request(t, c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("%s answered %d %q", c.path, resp.StatusCode, got)
	}
	return &feed{t, resp, bufio.NewScanner(resp.Body)}
}

// next returns the next message, and false at the end of the stream.
func (f *feed) next() (m message, ok bool) {
	f.t.Helper()
	for f.lines.Scan() {
		line := f.lines.Text()
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && m != (message{}):
			return m, true
		case field == "event":
			m.name = value
		case field == "id":
			m.id = value
		case field == "data" || line != "" && field == "":
			m.data = value
		}
	}
	return m, false
}

// named skips to the next event of a name.
func (f *feed) named(name string) message {
	f.t.Helper()
	for {
		m, ok := f.next()
		if !ok {
			f.t.Fatalf("the stream ends before a %q", name)
		}
		if m.name == name {
			return m
		}
	}
}

func TestEventStreamResumesWhereItBroke(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, text := range []string{"one", "two", "three"} {
		s.events.add(text)
	}
	first := s.open(t, get("/v1/events"))
	if first.resp.Header.Get("X-Accel-Buffering") != "no" || first.resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", first.resp.Header)
	}
	var last message
	for _, want := range []string{"one", "two"} {
		if last = first.named("member.state"); !strings.Contains(last.data, want) {
			t.Fatalf("got %+v, want %s", last, want)
		}
	}
	_ = first.resp.Body.Close()
	s.events.add("four")
	second := s.open(t, get("/v1/events", "Last-Event-ID", last.id))
	for _, want := range []string{"three", "four"} {
		if m := second.named("member.state"); !strings.Contains(m.data, want) {
			t.Errorf("resumed with %+v, want %s", m, want)
		}
	}
	s.events.add("five")
	if m := second.named("member.state"); !strings.Contains(m.data, "five") {
		t.Errorf("live: %+v", m)
	}
	other := s.open(t, get("/v1/events", "Last-Event-ID", "00000000.1.3"))
	if m := other.named("member.state"); !strings.Contains(m.data, "one") {
		t.Errorf("an id of another node resumes with %+v, want the oldest event", m)
	}
}

func TestEventsAlsoComeAsJSON(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	empty := s.want(t, 200, get("/v1/events?wait=0s"))
	if !strings.Contains(empty.body, `"events":[]`) {
		t.Errorf("no events: %s", empty.body)
	}
	s.events.add("one")
	list := decode[api.EventList](t, s.want(t, 200, get("/v1/events", "Accept", "application/json")))
	if len(list.Events) != 1 || list.Events[0].Text != "one" || list.Next == "" {
		t.Fatalf("events %+v", list)
	}
	waiting := make(chan answer, 1)
	go func() { waiting <- s.do(t, get("/v1/events?wait=30s&after="+list.Next)) }()
	poll(t, s.events.more.awaited)
	s.events.add("two")
	if next := decode[api.EventList](t, <-waiting); len(next.Events) != 1 || next.Events[0].Text != "two" {
		t.Errorf("waited for %+v", next)
	}
}

func TestStreamsSayByeWhenTheServerStops(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/events", "/v1/watch"} {
		s := setup(t, nil)
		f := s.open(t, get(path))
		stopped := make(chan error, 1)
		go func() { stopped <- s.server.Shutdown(t.Context()) }()
		if m := f.named("bye"); m.data != `{"reason":"draining"}` {
			t.Errorf("%s: %+v", path, m)
		}
		if m, ok := f.next(); ok {
			t.Errorf("%s goes on with %+v", path, m)
		}
		select {
		case err := <-stopped:
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s holds the shutdown up", path)
		}
	}
}

func TestHeadOfAStreamEnds(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, path := range []string{"/v1/events", "/v1/watch"} {
		a := s.want(t, 200, call{method: "HEAD", path: path, role: auth.RoleViewer})
		if a.header.Get("Content-Type") != "text/event-stream" || a.body != "" {
			t.Errorf("%s: %v %q", path, a.header, a.body)
		}
	}
}

// bubble runs a surface and its client on a pipe in virtual time.
func bubble(t *testing.T, adjust func(*mgmt.Config), body func(t *testing.T, s *surface)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t, adjust)
		pipes := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		go func() { _ = s.server.Serve(pipes) }()
		transport := &http.Transport{DialContext: pipes.dial}
		s.reach(t, "http://localhost", transport)
		body(t, s)
		s.api.Drain()
		_ = s.server.Close()
		transport.CloseIdleConnections()
	})
}

func TestQuietStreamsHaveAHeartbeat(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/events", "/v1/watch?topics=events"} {
		bubble(t, nil, func(t *testing.T, s *surface) {
			f := s.open(t, get(path))
			began := time.Now()
			for range 8 { // longer than the timeouts of ordinary answers
				m, ok := f.next()
				for ok && m.name != "" {
					m, ok = f.next()
				}
				if !ok || m.data != "still here" {
					t.Fatalf("%s: %+v after %v", path, m, time.Since(began))
				}
			}
			if took := time.Since(began); took < 119*time.Second || took > 121*time.Second {
				t.Errorf("%s: eight heartbeats took %v, want 2 min", path, took)
			}
			_ = f.resp.Body.Close()
		})
	}
}

func TestLongPollOutlastsOrdinaryTimeouts(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, s *surface) {
		began := time.Now()
		s.want(t, 503, get("/cluster/status?expected=9&wait=1h"))
		if took := time.Since(began); took != 5*time.Minute {
			t.Errorf("held back for %v, want the longest wait, 5 min", took)
		}
	})
}

func TestStreamEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/events", "/v1/watch"} {
		bubble(t, nil, func(t *testing.T, s *surface) {
			f := s.open(t, get(path)) // with a token that is good for an hour
			began := time.Now()
			if m := f.named("bye"); m.data != `{"reason":"session"}` {
				t.Errorf("%s: %+v", path, m)
			}
			if took := time.Since(began); took < time.Hour || took > time.Hour+2*time.Minute {
				t.Errorf("%s: cut after %v, want soon after an hour", path, took)
			}
			_ = f.resp.Body.Close()
		})
	}
}

func TestWatchSendsTheWholeAndThenDifferences(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, s *surface) {
		s.events.add("before")
		s.want(t, 201, put("route/a", "1", "If-None-Match", "*"))
		f := s.open(t, get("/v1/watch"))
		hello := parse[api.WatchHello](t, f.named("hello"))
		if hello.Node != "n1" || hello.ClusterID != string(testCluster) || len(hello.Topics) != 4 {
			t.Errorf("hello %+v", hello)
		}
		whole := parse[api.WatchSnapshot](t, f.named("snapshot"))
		if whole.Status == nil || len(whole.Members) != 3 || len(whole.Config) != 1 || whole.Config[0].Name != "a" {
			t.Errorf("snapshot %+v", whole)
		}
		if e := parse[muster.Event](t, f.named("event")); e.Text != "before" {
			t.Errorf("event %+v", e)
		}

		s.node.edit(func(n *fakeNode) {
			members := append([]muster.Member{}, n.members[1:]...)
			members[1].State = muster.StateSuspect
			n.members, n.status.Uptime = members, 99
		})
		patch := f.named("patch")
		if strings.Contains(patch.data, "uptime") {
			t.Errorf("a growing uptime alone is sent: %s", patch.data)
		}
		p := parse[api.WatchPatch](t, patch)
		if len(p.Members) != 1 || p.Members[0].Name != "n2" || len(p.MembersGone) != 1 || p.Config != nil || p.Status != nil {
			t.Errorf("patch %s", patch.data)
		}

		s.want(t, 201, put("route/b", "1", "If-None-Match", "*"))
		s.want(t, 204, del("route/a", "If-Match", "*"))
		patch = f.named("patch")
		p = parse[api.WatchPatch](t, patch)
		if len(p.Config) != 1 || p.Config[0].Name != "b" || len(p.ConfigGone) != 1 || p.ConfigGone[0] != "route/a" || p.Members != nil {
			t.Errorf("patch %s", patch.data)
		}
		s.want(t, 200, put("route/b", "2", "If-Match", "*"))
		if p := parse[api.WatchPatch](t, f.named("patch")); len(p.Config) != 1 || p.Config[0].Rev != 4 || p.Config[0].Generation != 2 {
			t.Errorf("patch %+v", p)
		}
		s.node.edit(func(n *fakeNode) { n.status.ClusterHealth = muster.Unhealthy })
		if p := parse[api.WatchPatch](t, f.named("patch")); p.Status == nil || p.Status.ClusterHealth != muster.Unhealthy {
			t.Errorf("patch %+v", p)
		}
		_ = f.resp.Body.Close()
	})
}

func parse[T any](t *testing.T, m message) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(m.data), &v); err != nil {
		t.Fatalf("%v in %+v", err, m)
	}
	return v
}

func TestWatchSpeaksAtMostOncePerSecond(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, s *surface) {
		f := s.open(t, get("/v1/watch?topics=status"))
		f.named("snapshot")
		stop := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					s.node.edit(func(n *fakeNode) { n.status.Members = i })
				}
			}
		}()
		began := time.Now()
		for range 20 {
			f.named("patch")
		}
		close(stop)
		if took := time.Since(began); took < 19*time.Second || took > 21*time.Second {
			t.Errorf("2000 changes came as 20 patches in %v, want 20 s", took)
		}
		_ = f.resp.Body.Close()
	})
}

func TestWatchTellsAQuietViewerAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, s *surface) {
		f := s.open(t, get("/v1/watch?topics=members,events"))
		f.named("snapshot")
		time.Sleep(5*time.Second + 300*time.Millisecond)
		began := time.Now()
		s.events.add("news")
		f.named("event")
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("told after %v", took)
		}
		_ = f.resp.Body.Close()
	})
}

// TestSlowViewerHoldsUpNobody: a viewer that reads nothing fills its connection;
// the others see every change in time, and it is cut off.
func TestSlowViewerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, s *surface) {
		stuck := s.open(t, get("/v1/watch")) // a pipe has no buffer: the first unread byte blocks
		f := s.open(t, get("/v1/watch?topics=status"))
		f.named("snapshot")
		for i := range 60 {
			s.node.edit(func(n *fakeNode) { n.status.Members = 100 + i })
			began := time.Now()
			f.named("patch")
			if took := time.Since(began); took > 2*time.Second {
				t.Fatalf("change %d came after %v", i, took)
			}
		}
		if _, err := io.ReadAll(stuck.resp.Body); err == nil {
			t.Error("the stuck viewer was not cut off")
		}
	})
}

func TestOversizedHistoryIsCutForNewViewers(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for range 150 {
		s.events.add("old")
	}
	f := s.open(t, get("/v1/watch?topics=events"))
	if e := parse[muster.Event](t, f.named("event")); e.Seq != 51 {
		t.Errorf("a new viewer begins with event %d, want 51", e.Seq)
	}
	id := f.named("event").id
	_ = f.resp.Body.Close()
	again := s.open(t, get("/v1/watch?topics=events", "Last-Event-ID", id))
	if e := parse[muster.Event](t, again.named("event")); e.Seq != 53 {
		t.Errorf("a viewer who comes back begins with event %d, want 53", e.Seq)
	}
}

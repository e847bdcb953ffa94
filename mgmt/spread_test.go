package mgmt_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/mgmt"
)

// fakeSpread is a cluster of n1, n2 and n3, of which a test says who confirms.
type fakeSpread struct {
	config *fakeConfig

	mu        sync.Mutex
	confirmed []string // nil: nobody is waited for
	asked     []muster.Position
	waits     []muster.Wait
	patience  time.Duration
}

func (f *fakeSpread) Confirm(ctx context.Context, at muster.Position, wait muster.Wait) muster.Confirmation {
	f.mu.Lock()
	defer f.mu.Unlock()
	deadline, _ := ctx.Deadline()
	f.asked, f.waits, f.patience = append(f.asked, at), append(f.waits, wait), time.Until(deadline)
	c := muster.Confirmation{Met: len(f.confirmed) >= wait.Need(3), Confirmed: f.confirmed, Lagging: []string{}, Dead: []string{}}
	if len(f.confirmed) < 3 {
		c.Dead = []string{"n3"}
	}
	if len(f.confirmed) < 2 {
		c.Lagging = []string{"n2"}
	}
	return c
}

func (f *fakeSpread) Trace(_ context.Context, rev int64) (muster.Trace, error) {
	if newest := f.config.View().Position().Rev; rev > newest {
		return muster.Trace{}, muster.Errorf(muster.CodeNotFound, "there is no revision %d yet: the newest is %d", rev, newest)
	}
	return muster.Trace{Rev: rev, Reference: "write", Nodes: []muster.TraceNode{
		{ID: testNode, Name: "n1", Serves: rev, Way: muster.WayWrite, Applied: time.Unix(1700000000, 0).UTC(), Delay: new(0.25), Text: "wrote it"},
	}, Missing: []string{"n3"}}, nil
}

func (f *fakeSpread) Drift(context.Context) (muster.Drift, error) {
	at := f.config.View().Position()
	return muster.Drift{Verdict: "n3 did not answer", Newest: at, Missing: []string{"n3"}, Members: []muster.DriftMember{
		{ID: testNode, Name: "n1", State: muster.StateAlive, Answered: true, Position: at, Source: "store", Store: "fresh"},
		{ID: "6f1c3f2e-0000-8000-8000-000000000003", Name: "n3", State: muster.StateDead, Difference: "did not answer"},
	}}, nil
}

// outcome is what the headers of a write say of its wait.
func outcome(a answer) string {
	h := a.header
	return strings.Join([]string{h.Get("Muster-Wait"), h.Get("Muster-Confirmed"), h.Get("Muster-Lagging"), h.Get("Muster-Dead")}, "|")
}

func TestWritesWaitForTheMembers(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, c := range []struct {
		confirm []string
		query   string
		want    string
		header  []string
		most    time.Duration
	}{
		{nil, "", "|||", nil, 0},
		{nil, "?wait=none", "|||", nil, 0},
		{[]string{"n1", "n2", "n3"}, "?wait=all", "confirmed|n1,n2,n3||", nil, 5 * time.Second},
		{[]string{"n1", "n2"}, "?wait=all", "partial|n1,n2||n3", []string{"Prefer", "respond-async, wait=30"}, 30 * time.Second},
		{[]string{"n1", "n2"}, "?wait=quorum", "confirmed|n1,n2||n3", []string{"Prefer", "wait=100000"}, 5 * time.Minute},
		{[]string{"n1"}, "?wait=quorum", "partial|n1|n2|n3", nil, 5 * time.Second},
	} {
		s.spread.confirmed, s.spread.patience = c.confirm, 0
		made := s.want(t, 201, put("a/b"+c.query, "1", append(c.header, "If-None-Match", "*")...))
		at := s.config.View().Position()
		changed := s.want(t, 200, put("a/b"+c.query, "2", append(c.header, "If-Match", "*")...))
		gone := s.want(t, 204, del("a/b"+c.query, append(c.header, "If-Match", "*")...))
		for verb, a := range map[string]answer{"create": made, "replace": changed, "delete": gone} {
			if got := outcome(a); got != c.want {
				t.Errorf("%s with %q: %s, want %s", verb, c.query, got, c.want)
			}
		}
		if n := len(s.spread.asked); c.most > 0 && s.spread.asked[n-3] != at {
			t.Errorf("asked for %v, the write is at %v", s.spread.asked[n-3], at)
		}
		if got := s.spread.patience.Round(time.Second); got != c.most {
			t.Errorf("%q %v: waits %s, want %s", c.query, c.header, got, c.most)
		}
	}
}

// TestWaitsAreCheckedBeforeTheWrite: what is refused has not been written.
func TestWaitsAreCheckedBeforeTheWrite(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	for _, c := range []struct {
		call  call
		field string
	}{
		{put("a/b?wait=some", "1", "If-None-Match", "*"), "wait"},
		{put("a/b?wait=5s", "1", "If-None-Match", "*"), "wait"},
		{put("a/b?wait=all", "1", "If-None-Match", "*", "Prefer", "wait=soon"), "Prefer"},
		{put("a/b?wait=all", "1", "If-None-Match", "*", "Prefer", "wait=-1"), "Prefer"},
		{put("a/b?wait=all", "1", "If-None-Match", "*", "Prefer", "wait"), "Prefer"},
	} {
		p := s.want(t, 400, c.call).problem(t)
		if len(p.Errors) != 1 || p.Errors[0].Field != c.field {
			t.Errorf("%s %v: %+v, want %s", c.call.path, c.call.header, p.Errors, c.field)
		}
	}
	if rev := s.config.View().Position().Rev; rev != 0 || len(s.spread.asked) > 0 {
		t.Errorf("refused writes moved the revision to %d", rev)
	}
}

// TestReadsWaitForTheirRevision, by header and by query, no longer than they are told.
func TestReadsWaitForTheirRevision(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 201, put("a/b", "1", "If-None-Match", "*"))
	for _, path := range []string{"/v1/config", "/v1/config/a", "/v1/config/a/b"} {
		s.want(t, 200, get(path+"?min_rev=1"))
		s.want(t, 200, get(path, "Muster-Min-Revision", "1"))
		for _, c := range []call{
			get(path+"?min_rev=2", "Prefer", "wait=0"), get(path, "Muster-Min-Revision", "2", "Prefer", "wait=0"),
			get(path+"?min_rev=1", "Muster-Min-Revision", "2", "Prefer", "wait=0"), get(path+"?min_rev=2", "Muster-Min-Revision", "1", "Prefer", "wait=0"),
		} {
			p := s.want(t, 503, c).problem(t)
			if p.Code != string(muster.CodeBehind) || p.Detail != "this node serves revision 1, 2 was asked for" {
				t.Errorf("%s: %+v", path, p)
			}
		}
		s.want(t, 400, get(path+"?min_rev=x"))
		s.want(t, 400, get(path, "Prefer", "wait=long"))
	}
	s.config.changed.wait()
	read := make(chan answer)
	go func() { read <- s.do(t, get("/v1/config/a/c", "Muster-Min-Revision", "2", "Prefer", "wait=60")) }()
	s.want(t, 201, put("a/c", "2", "If-None-Match", "*"))
	if a := <-read; a.status != 200 {
		t.Errorf("a read of what came meanwhile: %d %s", a.status, a.body)
	}
}

// TestReadsWaitAsLongAsAsked measures it in virtual time.
func TestReadsWaitAsLongAsAsked(t *testing.T) {
	t.Parallel()
	for prefer, want := range map[string]time.Duration{"": 2 * time.Second, "wait=20": 20 * time.Second, "wait=9999": 5 * time.Minute} {
		bubble(t, nil, func(t *testing.T, s *surface) {
			begun := time.Now()
			a := s.do(t, get("/v1/config?min_rev=7", "Prefer", prefer))
			if took := time.Since(begun); a.status != http.StatusServiceUnavailable || took != want {
				t.Errorf("%q: %d after %s, want 503 after %s", prefer, a.status, took, want)
			}
		})
	}
}

func TestTraceAndDriftAreAnswered(t *testing.T) {
	t.Parallel()
	s := setup(t, nil)
	s.want(t, 201, put("a/b", "1", "If-None-Match", "*"))
	tr := decode[muster.Trace](t, s.want(t, 200, get("/v1/revisions/1/trace")))
	if len(tr.Nodes) != 1 || *tr.Nodes[0].Delay != 0.25 || tr.Complete || tr.Missing[0] != "n3" {
		t.Errorf("trace %+v", tr)
	}
	s.want(t, 404, get("/v1/revisions/2/trace"))
	for _, rev := range []string{"0", "-1", "x"} {
		if p := s.want(t, 400, get("/v1/revisions/"+rev+"/trace")).problem(t); p.Errors[0].Field != "rev" {
			t.Errorf("revision %s: %+v", rev, p)
		}
	}
	d := decode[muster.Drift](t, s.want(t, 200, get("/v1/drift")))
	if d.Same || d.Newest.Rev != 1 || len(d.Members) != 2 || d.Members[1].Answered {
		t.Errorf("drift %+v", d)
	}
	alone := setup(t, func(c *mgmt.Config) { c.Spread = nil })
	alone.want(t, 404, get("/v1/drift"))
	alone.want(t, 404, get("/v1/revisions/1/trace"))
}

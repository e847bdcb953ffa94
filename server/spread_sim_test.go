package server_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store/memory"
)

// write sends a write and returns its status and headers.
func (n *simNode) write(method, key, spec string, header ...string) (int, http.Header, error) {
	req, err := http.NewRequestWithContext(n.s.t.Context(), method, n.url()+"/v1/config/"+key, strings.NewReader(spec))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.s.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := n.s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, res.Header, res.Body.Close()
}

// waited is what the headers of a write say.
func waited(h http.Header) string {
	return fmt.Sprintf("%s [%s] lagging [%s] dead [%s]", h.Get("Muster-Wait"), h.Get("Muster-Confirmed"), h.Get("Muster-Lagging"), h.Get("Muster-Dead"))
}

// wait writes with ?wait and demands an outcome, and returns how long that took.
func (n *simNode) wait(who, want string, header ...string) time.Duration {
	n.s.t.Helper()
	begun := time.Now()
	key := fmt.Sprintf("route/w%d?wait=%s", begun.UnixNano(), who)
	status, h, err := n.write(http.MethodPut, key, `{}`, append(header, "If-None-Match", "*")...)
	if err != nil || status != http.StatusCreated || waited(h) != want {
		n.s.t.Errorf("%s at %s: %d %s %v, want %s", who, n.name, status, waited(h), err, want)
	}
	return time.Since(begun)
}

// TestWaitCountsTheDurableMembers writes while all serve it, while one is cut off,
// dead, and stopped: it counts in each case, and is named.
func TestWaitCountsTheDurableMembers(t *testing.T) {
	simulate(t, func(s *sim) {
		a, b, c := chain(s)
		s.formed(5*time.Second, a, b, c)
		if took := b.wait("all", "confirmed [n1,n2,n3] lagging [] dead []"); took > 100*time.Millisecond {
			s.t.Errorf("all confirmed after %s", took)
		}
		status, h, err := b.write(http.MethodDelete, "route/none", "", "If-Match", "*")
		if err != nil || status != http.StatusNotFound || h.Get("Muster-Wait") != "" {
			s.t.Errorf("a refused write: %d %v %v", status, h, err)
		}

		s.net.Partition([]string{"n1", "n2", "client"}, []string{"n3"})
		if took := b.wait("quorum", "confirmed [n1,n2] lagging [n3] dead []"); took > 100*time.Millisecond {
			s.t.Errorf("a quorum after %s", took)
		}
		if took := b.wait("all", "partial [n1,n2] lagging [n3] dead []", "Prefer", "wait=1"); took < time.Second || took > 1200*time.Millisecond {
			s.t.Errorf("one cut off: answered after %s, want the 1 s that was asked for", took)
		}
		s.within(10*time.Second, func() error { return call("n3", muster.StateDead, a, b) })
		if took := b.wait("all", "partial [n1,n2] lagging [] dead [n3]"); took > 100*time.Millisecond {
			s.t.Errorf("one dead: answered after %s, nobody is left to wait for", took)
		}
		s.net.MendAll()
		s.formed(20*time.Second, a, b, c)
		b.wait("all", "confirmed [n1,n2,n3] lagging [] dead []")

		c.stop()
		s.within(5*time.Second, func() error { return call("n3", muster.StateLeft, a, b) })
		b.wait("all", "partial [n1,n2] lagging [] dead [n3]")
		b.stop()
		s.within(5*time.Second, func() error { return call("n2", muster.StateLeft, a) })
		a.wait("quorum", "partial [n1] lagging [] dead [n2,n3]")
		a.stop()
	})
}

// lossy loses the calls of nodes whose path begins with something.
type lossy struct{ paths atomic.Pointer[[]string] }

func (l *lossy) lose(paths ...string) { l.paths.Store(&paths) }

var errLost = errors.New("lost on the way")

// through makes a node's calls subject to loss.
func (l *lossy) through(cfg *server.Config) {
	cfg.Between = func(_ muster.NodeID, next http.RoundTripper) http.RoundTripper {
		return tripFunc(func(r *http.Request) (*http.Response, error) {
			if paths := l.paths.Load(); paths != nil && slices.ContainsFunc(*paths, func(p string) bool { return strings.HasPrefix(r.URL.Path, p) }) {
				return nil, errLost
			}
			return next.RoundTrip(r)
		})
	}
}

type tripFunc func(*http.Request) (*http.Response, error)

func (f tripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// five starts five nodes on one database, whose calls go through l.
func five(s *sim, l *lossy) []*simNode { return several(s, l, 5) }

// several starts so many nodes on one database.
func several(s *sim, l *lossy, count int) (nodes []*simNode) {
	s.shared = memory.New()
	for i := range count {
		nodes = append(nodes, s.node(fmt.Sprintf("n%d", i+1), l.through).start())
	}
	s.formed(30*time.Second, nodes...)
	return nodes
}

// spreadSize is of the clusters in which changes must spread without hints.
func spreadSize() int {
	if os.Getenv("MUSTER_LONG") != "" {
		return 20
	}
	return 5
}

// readAt reads a document with demands on the revision.
func (n *simNode) readAt(path string, header ...string) (int, string, error) {
	status, body, err := n.request(http.MethodGet, path, "", header...)
	return status, string(body), err
}

// TestMinRevisionReadsWhatWasWrittenElsewhere: with every hint lost, a read right after
// a write at another node waits for it. A revision that does not come is a 503 with
// both revisions.
func TestMinRevisionReadsWhatWasWrittenElsewhere(t *testing.T) {
	simulate(t, func(s *sim) {
		l := &lossy{}
		nodes := five(s, l)
		l.lose("/peer/v1/hint")
		a, b := nodes[0], nodes[1]
		if err := a.create("route/demo", `{"weight":1}`); err != nil {
			s.t.Fatal(err)
		}
		if status, _, err := b.readAt("/v1/config/route/demo"); err != nil || status != http.StatusNotFound {
			s.t.Fatalf("read without a demand: %d %v, want 404: the test proves nothing else", status, err)
		}
		begun := time.Now()
		status, body, err := b.readAt("/v1/config/route/demo", "Muster-Min-Revision", "1", "Prefer", "wait=5")
		if err != nil || status != http.StatusOK || !strings.Contains(body, `"rev":1`) {
			s.t.Errorf("read at revision 1: %d %s %v", status, body, err)
		}
		s.t.Logf("read what was written elsewhere after %s, every hint lost", time.Since(begun))
		begun = time.Now()
		status, body, err = b.readAt("/v1/config/route?min_rev=2", "Prefer", "wait=3")
		if took := time.Since(begun); err != nil || status != http.StatusServiceUnavailable || took < 3*time.Second || took > 3200*time.Millisecond {
			s.t.Errorf("read at a revision that does not come: %d after %s, %v", status, took, err)
		}
		if !strings.Contains(body, `"code":"behind"`) || !strings.Contains(body, "serves revision 1, 2 was asked for") {
			s.t.Errorf("the refusal: %s", body)
		}
		stopAll(nodes)
	})
}

// everywhere waits until all nodes serve a revision of one history.
func everywhere(s *sim, rev int64, limit time.Duration, nodes []*simNode) time.Duration {
	s.t.Helper()
	return s.within(limit, func() error { return agree(rev, nodes...) })
}

// TestLostHintsAreRepairedOnWholeNodes writes with every hint lost.
func TestLostHintsAreRepairedOnWholeNodes(t *testing.T) {
	simulate(t, func(s *sim) {
		l := &lossy{}
		nodes := several(s, l, spreadSize())
		l.lose("/peer/v1/hint")
		var worst time.Duration
		for i := range 2 * len(nodes) {
			if err := nodes[i%len(nodes)].create(fmt.Sprintf("route/r%d", i), `{}`); err != nil {
				s.t.Fatal(err)
			}
			worst = max(worst, everywhere(s, int64(i+1), 5*time.Second, nodes))
		}
		s.t.Logf("%d writes on %d nodes, every hint lost: on all after %s at most", 2*len(nodes), len(nodes), worst)
		stopAll(nodes)
	})
}

// TestDigestsAloneLevelWholeNodes writes at the one node that still has the database,
// with every hint lost, and then takes the database away from that one too.
func TestDigestsAloneLevelWholeNodes(t *testing.T) {
	simulate(t, func(s *sim) {
		l := &lossy{}
		nodes := several(s, l, spreadSize())
		l.lose("/peer/v1/hint", "/peer/v1/store/") // no way to the database through the first node either
		for _, n := range nodes[1:] {
			s.disconnect(n.process)
		}
		time.Sleep(6 * time.Second) // past every head read
		if err := nodes[0].create("route/demo", `{"weight":1}`); err != nil {
			s.t.Fatal(err)
		}
		s.database(memory.Faults{Down: true})
		s.t.Logf("on all %d nodes after %s, by digests alone", len(nodes), everywhere(s, 1, 10*time.Second, nodes))
		for _, n := range nodes[1:] {
			if st, err := n.status(); err != nil || st.Config.Source != "peer" || st.Store.State != "stale" {
				s.t.Errorf("%s: copy from %q, store %q, %v", n.name, st.Config.Source, st.Store.State, err)
			}
		}
		stopAll(nodes)
	})
}

// TestDigestsAloneLevelWithoutTheHome: without a database, every hint lost. A member
// writes through the config home, which dies at once; the other member levels by
// digests.
func TestDigestsAloneLevelWithoutTheHome(t *testing.T) {
	simulate(t, func(s *sim) {
		l := &lossy{}
		a := s.node("n1", l.through).start()
		with := func(cfg *server.Config) { l.through(cfg); joining(a)(cfg) }
		b, c := s.node("n2", with).start(), s.node("n3", with).start()
		s.formed(10*time.Second, a, b, c)
		l.lose("/peer/v1/hint")
		if err := b.create("route/demo", `{}`); err != nil {
			s.t.Fatal(err)
		}
		a.kill()
		if _, rev, err := c.serves(); err != nil || rev != 0 {
			s.t.Fatalf("n3 serves revision %d already (%v): the test proves nothing", rev, err)
		}
		s.t.Logf("on both after %s, with the home dead", everywhere(s, 1, 10*time.Second, []*simNode{b, c}))
		if source, _, err := c.serves(); err != nil || source != "peer" {
			s.t.Errorf("the copy is from %q, %v", source, err)
		}
		stopAll([]*simNode{b, c})
	})
}

// serves returns where a node's copy is from and its revision.
func (n *simNode) serves() (source string, rev int64, err error) {
	st, err := n.status()
	return st.Config.Source, st.Config.Rev, err
}

// traced asks a node for the trace of a revision.
func (n *simNode) traced(rev int64) (t muster.Trace, err error) {
	err = n.get(fmt.Sprintf("/v1/revisions/%d/trace", rev), &t)
	return t, err
}

// TestTraceShowsTheWayOfARevision: of two nodes, one has a clock that is three seconds
// ahead. Asked at either, the trace shows who wrote the revision and who was pushed it,
// and delays without the skew. Who came later has it from its first copy; who is dead
// is missed by name.
func TestTraceShowsTheWayOfARevision(t *testing.T) {
	simulate(t, func(s *sim) {
		s.shared = memory.New()
		a := s.node("n1", nil).start()
		b := s.node("n2", func(cfg *server.Config) {
			cfg.Now = func() time.Time { return time.Now().Add(3 * time.Second) }
		}).start()
		s.formed(10*time.Second, a, b)
		if err := a.create("route/demo", `{}`); err != nil {
			s.t.Fatal(err)
		}
		everywhere(s, 1, time.Second, []*simNode{a, b})
		for _, n := range []*simNode{a, b} {
			tr, err := n.traced(1)
			if err != nil {
				s.t.Fatal(err)
			}
			if len(tr.Nodes) != 2 || !tr.Complete || tr.Reference != "write" || tr.Change == nil || tr.Change.Name != "demo" || tr.Change.Spec != nil {
				s.t.Fatalf("asked at %s: %+v", n.name, tr)
			}
			first, second := tr.Nodes[0], tr.Nodes[1]
			if first.Name != "n1" || first.Way != muster.WayWrite || second.Name != "n2" || second.Way != muster.WayHint || second.From != "n1" {
				s.t.Errorf("asked at %s: %+v", n.name, tr.Nodes)
			}
			if d := *second.Delay; d < 0.5 || d > 20 || second.Error > 10 || tr.Max != d {
				s.t.Errorf("asked at %s: n2 served it after %v ms ± %v, max %v; it takes a millisecond or two", n.name, d, second.Error, tr.Max)
			}
		}
		c := s.node("n3", nil).start()
		s.formed(10*time.Second, a, b, c)
		tr, err := c.traced(1)
		if err != nil || len(tr.Nodes) != 3 {
			s.t.Fatalf("%+v %v", tr, err)
		}
		if last := tr.Nodes[2]; last.Name != "n3" || last.Way != muster.WayCopy || last.Delay != nil {
			s.t.Errorf("who came later: %+v", last)
		}
		status, body, err := c.request(http.MethodGet, "/v1/revisions/2/trace", "")
		if err != nil || status != http.StatusNotFound || !strings.Contains(string(body), "newest that a member serves is 1") {
			s.t.Errorf("a revision that is not there: %d %s %v", status, body, err)
		}
		b.kill()
		s.within(10*time.Second, func() error { return call("n2", muster.StateDead, a) })
		if tr, err := a.traced(1); err != nil || tr.Complete || strings.Join(tr.Missing, " ") != "n2" || len(tr.Nodes) != 2 {
			s.t.Errorf("with n2 dead: %+v %v", tr, err)
		}
		c.stop()
		a.stop()
	})
}

// drifts reports nil once a node's drift view says this.
func (n *simNode) drifts(verdict string) (d muster.Drift, err error) {
	err = n.get("/v1/drift", &d)
	if err == nil && !strings.Contains(d.Verdict, verdict) {
		err = fmt.Errorf("%s: %s, want %s", n.name, d.Verdict, verdict)
	}
	return d, err
}

// lagProblem returns the problem about lag that a node shows.
func (n *simNode) lagProblem() (muster.Problem, bool) {
	st, err := n.status()
	if err != nil {
		n.s.t.Fatal(err)
	}
	i := slices.IndexFunc(st.Problems, func(p muster.Problem) bool { return p.Code == muster.CodeConfigLag })
	if i < 0 {
		return muster.Problem{}, false
	}
	return st.Problems[i], true
}

// TestDriftTellsOfAnotherHistory: a database that has lost its last commits is told of
// by all members, which serve on what they have.
func TestDriftTellsOfAnotherHistory(t *testing.T) {
	simulate(t, func(s *sim) {
		nodes := five(s, &lossy{})
		for i := range 3 {
			if err := nodes[0].create(fmt.Sprintf("route/r%d", i), `{}`); err != nil {
				s.t.Fatal(err)
			}
		}
		everywhere(s, 3, time.Second, nodes)
		if err := s.shared.Rewind(1); err != nil {
			s.t.Fatal(err)
		}
		s.within(10*time.Second, func() error {
			d, err := nodes[1].drifts("n5: the store has another history than this member")
			for _, m := range d.Members {
				if err == nil && (!m.Diverged || m.Position.Rev != 3 || m.Store != "diverged" || m.Behind != 0) {
					err = fmt.Errorf("%+v", m)
				}
			}
			return err
		})
		stopAll(nodes)
	})
}

// TestAConfirmedWriteIsReadEverywhere writes with ?wait=all while half of all calls are
// lost. What is confirmed is there at once at every member, without any demand.
func TestAConfirmedWriteIsReadEverywhere(t *testing.T) {
	simulate(t, func(s *sim) {
		var calls atomic.Int64
		s.shared = memory.New()
		var nodes []*simNode
		for i := range 4 {
			nodes = append(nodes, s.node(fmt.Sprintf("n%d", i+1), func(cfg *server.Config) {
				cfg.Between = func(_ muster.NodeID, next http.RoundTripper) http.RoundTripper {
					return tripFunc(func(r *http.Request) (*http.Response, error) {
						if strings.HasPrefix(r.URL.Path, "/peer/v1/h") && calls.Add(1)%2 == 0 { // hints and heads
							return nil, errLost
						}
						return next.RoundTrip(r)
					})
				}
			}).start())
		}
		s.formed(10*time.Second, nodes...)
		var slowest time.Duration
		for i := range 20 {
			key := fmt.Sprintf("route/r%d", i)
			begun := time.Now()
			status, h, err := nodes[i%4].write(http.MethodPut, key+"?wait=all", `{}`, "If-None-Match", "*")
			if err != nil || status != http.StatusCreated || waited(h) != "confirmed [n1,n2,n3,n4] lagging [] dead []" {
				s.t.Fatalf("write %d: %d %s %v", i, status, waited(h), err)
			}
			slowest = max(slowest, time.Since(begun))
			for _, n := range nodes {
				if status, body, err := n.readAt("/v1/config/" + key); err != nil || status != http.StatusOK {
					s.t.Errorf("%s has confirmed write %d and answers %d %s %v", n.name, i, status, body, err)
				}
			}
		}
		s.t.Logf("20 writes confirmed by all 4 members, half of the calls lost: the slowest after %s", slowest)
		stopAll(nodes)
	})
}

// TestDriftNamesWhoLags cuts one member off everything that brings changes, but not off
// gossip: drift names it, says how far it is behind and for how long, and after ten
// seconds the lag is a problem of the status. Mended, both are gone.
func TestDriftNamesWhoLags(t *testing.T) {
	simulate(t, func(s *sim) {
		l := &lossy{}
		nodes := five(s, l)
		a, lagger := nodes[0], nodes[4]
		if d, err := a.drifts("All 5 members serve revision 0 of epoch 1."); err != nil || !d.Same || len(d.Members) != 5 {
			s.t.Errorf("converged: %+v %v", d, err)
		}
		l.lose("/peer/v1/hint", "/peer/v1/changes", "/peer/v1/snapshot", "/peer/v1/store/")
		s.disconnect(lagger.process)
		time.Sleep(6 * time.Second)
		begun := time.Now()
		for i := range 2 {
			if err := a.create(fmt.Sprintf("route/r%d", i), `{}`); err != nil {
				s.t.Fatal(err)
			}
		}
		everywhere(s, 2, 5*time.Second, nodes[:4])
		time.Sleep(2 * time.Second)
		for _, n := range nodes { // the lagging one knows it, too
			d, err := n.drifts("n5: 2 revisions behind, for ")
			if err != nil || d.Same || d.Newest.Rev != 2 || len(d.Missing) != 0 {
				s.t.Fatalf("%+v %v", d, err)
			}
			m, real, slow := d.Members[4], time.Since(begun).Seconds(), 1.0
			if n != a && n != lagger {
				slow = 2.5 // it has pulled the changes, and counts from there
			}
			if m.Name != "n5" || m.Behind != 2 || m.BehindFor < real-slow || m.BehindFor > real+1 || m.Store != "stale" || m.Diverged || m.Damaged {
				s.t.Errorf("after %.1f s: %+v", real, m)
			}
		}
		if p, ok := a.lagProblem(); ok {
			s.t.Errorf("a problem after %s already: %+v", time.Since(begun), p)
		}
		took := s.within(12*time.Second, func() error {
			if _, ok := a.lagProblem(); !ok {
				return errors.New("no problem is shown")
			}
			return nil
		})
		if took = time.Since(begun); took < 10*time.Second || took > 11*time.Second {
			s.t.Errorf("the lag is a problem after %s, want 10 s", took)
		}
		if p, _ := a.lagProblem(); !strings.Contains(p.Text, "n5 is alive and 2 revisions behind") || p.Fix == "" || p.Since.Sub(begun).Abs() > time.Second {
			s.t.Errorf("the problem: %+v", p)
		}
		s.within(2*time.Second, func() error {
			if p, ok := lagger.lagProblem(); !ok || !strings.Contains(p.Text, "n5 is alive and 2 revisions behind") {
				return fmt.Errorf("the one that lags does not say so itself: %+v", p)
			}
			return nil
		})
		l.lose()
		everywhere(s, 2, 5*time.Second, nodes)
		for _, n := range nodes {
			s.within(10*time.Second, func() error {
				if p, ok := n.lagProblem(); ok {
					return errors.New(p.Text)
				}
				return nil
			})
		}
		lagger.kill()
		s.within(10*time.Second, func() error { return call("n5", muster.StateDead, a) })
		if d, err := a.drifts("no answer from n5"); err != nil || d.Same || d.Members[4].Answered {
			s.t.Errorf("with n5 dead: %+v %v", d, err)
		}
		stopAll(nodes[:4])
	})
}

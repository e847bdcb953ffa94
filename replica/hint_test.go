package replica_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
)

// post sends a body to a node's hint route as another node would.
func (n *node) post(from *node, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/peer/v1/hint", bytes.NewReader(body))
	req = req.WithContext(context.WithValue(n.w.t.Context(), callerKey{}, from.id))
	rec := httptest.NewRecorder()
	n.Handler().ServeHTTP(rec, req)
	return rec
}

// captured returns the hint that a write at from sent to to, which never came.
func captured(from, to *node, name, spec string) []byte {
	w := from.w
	var body []byte
	recorder := roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			body, _ = io.ReadAll(req.Body)
		}
		return nil, fmt.Errorf("captured")
	})
	w.lose(everything)
	from.spy = map[muster.NodeID]http.RoundTripper{to.id: recorder}
	from.write(name, spec)
	synctest.Wait()
	from.spy = nil
	w.lose(nil)
	return body
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestHintAppliesWithoutTheStore(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		hint := captured(a, b, "a", `"<&>\u2028"`)
		b.store.SetDown(true)
		rec := b.post(a, hint)
		if rec.Code != http.StatusNoContent || b.View().Position() != a.View().Position() {
			t.Fatalf("got %d %s, at %v", rec.Code, rec.Body, b.View().Position())
		}
		if ack := rec.Header().Get(replica.DigestHeader); !strings.Contains(ack, fmt.Sprintf(" 1 1 %s ", b.View().Position().Chain)) {
			t.Errorf("the answer says %q", ack)
		}
		b.serves("a", `"<&>\u2028"`)
		if rec := b.post(a, hint); rec.Code != http.StatusNoContent || b.View().Position().Rev != 1 {
			t.Errorf("again: got %d", rec.Code)
		}
	})
}

func TestForgedHintsAreNotApplied(t *testing.T) {
	for name, forge := range map[string]func(map[string]any, *node){
		"another document": func(h map[string]any, _ *node) {
			text, _ := json.Marshal(h["changes"])
			var changes any
			_ = json.Unmarshal(bytes.ReplaceAll(text, []byte(`"right"`), []byte(`"wrong"`)), &changes)
			h["changes"] = changes
		},
		"another actor": func(h map[string]any, _ *node) {
			h["changes"].([]any)[0].(map[string]any)["actor"] = "mallory"
		},
		"no signature":    func(h map[string]any, _ *node) { delete(h, "signature") },
		"another signer":  func(h map[string]any, c *node) { h["node_id"] = string(c.id) },
		"an unknown node": func(h map[string]any, _ *node) { h["node_id"] = "aaaaaaaa-0000-8000-8000-000000000001" },
		"another epoch":   func(h map[string]any, _ *node) { h["epoch"] = 2 },
		"a later revision": func(h map[string]any, _ *node) {
			h["rev"] = 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 3, func(t *testing.T, w *world) {
				a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
				body := captured(a, b, "a", `"right"`)
				w.lose(everything)
				var h map[string]any
				if err := json.Unmarshal(body, &h); err != nil {
					t.Fatal(err)
				}
				forge(h, c)
				forged, _ := json.Marshal(h)
				calls := counted(b.store, time.Millisecond)
				if rec := b.post(a, forged); rec.Code != http.StatusNoContent {
					t.Fatalf("got %d %s", rec.Code, rec.Body)
				}
				if rev := b.View().Position().Rev; rev != 0 {
					t.Errorf("serves revision %d", rev)
				}
				time.Sleep(2 * time.Millisecond) // pull instead
				if b.serves("a", `"right"`); calls("Changes") == 0 {
					t.Error("the store was not asked")
				}
			})
		})
	}
}

func TestHintOfAnotherClusterIsRefused(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		hint := captured(a, b, "a", `1`)
		foreign := bytes.Replace(hint, []byte(clusterID), []byte(muster.NewClusterID()), 1)
		if rec := b.post(a, foreign); rec.Code != http.StatusConflict {
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
		if rec := b.post(a, bytes.Repeat([]byte(" "), 1<<20)); rec.Code != http.StatusBadRequest {
			t.Errorf("a large one: got %d", rec.Code)
		}
	})
}

func TestHintsThatOvertakeAreKept(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		var hints [][]byte
		for i := range 4 {
			hints = append(hints, captured(a, b, "a", fmt.Sprint(i)))
		}
		w.lose(everything)
		calls := counted(b.store, 0)
		for _, i := range []int{2, 1, 3, 0} {
			b.post(a, hints[i])
		}
		if rev := b.View().Position().Rev; rev != 4 {
			t.Errorf("serves revision %d", rev)
		}
		time.Sleep(100 * time.Millisecond)
		if got := calls("Changes"); got != 0 {
			t.Errorf("read the store %d times", got)
		}
	})
}

func TestLargeBatchIsAnnouncedWithoutItsChanges(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		spec := `"` + strings.Repeat("x", 100_000) + `"`
		if hint := captured(a, b, "a", spec); len(hint) > 1<<10 {
			t.Errorf("the hint has %d bytes", len(hint))
		}
		w.level(1, 6*time.Second)
		a.write("a", spec)
		w.level(2, 5*time.Millisecond)
	})
}

func TestDeadPeerDelaysNobody(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		hung := w.nodes[2]
		for _, n := range w.nodes[:2] {
			n.spy = map[muster.NodeID]http.RoundTripper{hung.id: roundTrip(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			})}
		}
		for i := range 200 {
			start := time.Now()
			change := w.nodes[0].write("a", fmt.Sprint(i))
			w.nodes[1].reaches(change.Rev, time.Second)
			if took := time.Since(start); took > 10*time.Millisecond {
				t.Fatalf("write %d took %v", i, took)
			}
		}
		w.level(200, 5*time.Second+100*time.Millisecond)
	})
}

func TestDigestNamesOnlyItsSender(t *testing.T) {
	simulate(t, 3, func(t *testing.T, w *world) {
		a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
		a.write("a", `1`)
		w.level(1, time.Second)
		lie := strings.Replace(string(a.Digest()), " 1 1 ", " 1 99 ", 1)
		req := httptest.NewRequest(http.MethodGet, "/peer/v1/head", nil)
		req.Header.Set(replica.DigestHeader, lie)
		req = req.WithContext(context.WithValue(t.Context(), callerKey{}, c.id)) // c speaks in a's name
		b.Handler().ServeHTTP(httptest.NewRecorder(), req)
		if got := b.Status().Peers[a.id]; got.Rev == 99 {
			t.Errorf("b believes %v", got)
		}
		for _, bad := range []string{"", "v1", "v2 a b c", strings.Repeat("x", 1000), "v1 " + strings.Repeat("y ", 20)} {
			b.Observe([]byte(bad))
		}
	})
}

// TestLyingPeerCostsLittle checks that a peer which promises what nobody has does
// not make a node read the store in a loop.
func TestLyingPeerCostsLittle(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		lie := []byte(strings.Replace(string(a.Digest()), " 1 0 ", " 1 99 ", 1))
		calls := counted(b.store, 0)
		for range 10_000 {
			b.Observe(lie)
			time.Sleep(100 * time.Microsecond)
		}
		if got := calls("Changes"); got > 10 {
			t.Errorf("read the store %d times in a second", got)
		}
		if b.View().Position().Rev != 0 {
			t.Errorf("serves %v", b.View().Position())
		}
	})
}

// TestPeerWithAnotherHistoryIsNotFollowed has a member with a valid key serve
// changes that the store never had.
func TestPeerWithAnotherHistoryIsNotFollowed(t *testing.T) {
	simulate(t, 2, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.write("a", `1`)
		w.level(1, time.Second)
		w.lose(everything)
		a.write("a", `"forgotten"`) // only a has it
		if err := w.data.Rewind(1); err != nil {
			t.Fatal(err)
		}
		b.write("a", `"kept"`)
		w.lose(nil)
		time.Sleep(10 * time.Second)
		b.serves("a", `"kept"`)
		a.serves("a", `"forgotten"`)
		if a.Status().StoreState != replica.Diverged || b.Status().StoreState != replica.Fresh {
			t.Errorf("a is %s, b is %s", a.Status().StoreState, b.Status().StoreState)
		}
		b.write("a", `"more"`)
		time.Sleep(10 * time.Second)
		a.serves("a", `"forgotten"`)
	})
}

func FuzzHint(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	r, err := replica.New(replica.Config{
		Self:    replica.Self{ID: muster.NodeIDOf(public), Sign: func(m []byte) []byte { return ed25519.Sign(private, m) }},
		Verify:  func(_ muster.NodeID, m, sig []byte) bool { return ed25519.Verify(public, m, sig) },
		Cluster: func() muster.ClusterID { return clusterID },
		Store:   struct{ store.Store }{},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"cluster_id":"` + clusterID + `","rev":1,"changes":[{"rev":1}]}`))
	h := r.Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/peer/v1/hint", bytes.NewReader(body)))
		r.Observe(body)
		if rec.Code >= 500 {
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
	})
}

package join_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/link"
)

// dials records what a back-dialer dials. Nobody ever answers; each dial takes as long
// as its context or slow lets it.
type dials struct {
	mu          sync.Mutex
	at          map[string][]time.Time
	now, atOnce int
	slow        time.Duration
}

var errSecret = errors.New("the body says topsecret")

func (d *dials) meet(ctx context.Context, endpoint string, _ muster.NodeID) (join.Meeting, error) {
	d.mu.Lock()
	if d.at == nil {
		d.at = map[string][]time.Time{}
	}
	d.at[endpoint] = append(d.at[endpoint], time.Now())
	d.now++
	d.atOnce = max(d.atOnce, d.now)
	d.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(d.slow):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now--
	return nil, errSecret
}

func (d *dials) total() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.at {
		n += len(at)
	}
	return n
}

func refusedAlways(error) string { return "refused" }

func helloNumber(i int) link.Hello {
	return link.Hello{ID: muster.NodeID(fmt.Sprintf("%08x-0000-8000-8000-000000000000", i)), Name: "x", Boot: muster.Boot{Counter: 1}}
}

// TestBackDialsAreFewAndSpaced: 100 joiners in a second name 100 addresses, or one in
// many spellings. Four dials run at once, and one a second goes to one host and port.
func TestBackDialsAreFewAndSpaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dials{slow: 100 * time.Millisecond}
		b := join.NewBackDialer(d.meet, refusedAlways)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { _, _ = b.Check(t.Context(), fmt.Sprintf("http://h%d:9113", i), helloNumber(i)) })
		}
		wg.Wait()
		if d.atOnce != 4 || d.total() != 100 {
			t.Errorf("%d dials, %d at once; want 100 and 4", d.total(), d.atOnce)
		}
		one := &dials{}
		b = join.NewBackDialer(one.meet, refusedAlways)
		spellings := []string{
			"http://[2001:db8::1]:80", "http://[2001:0db8:0:0::1]:80", "http://[2001:DB8::1]:80/path", "https://[2001:db8::1]:80",
		}
		begun := time.Now()
		for i, endpoint := range spellings {
			wg.Go(func() { _, _ = b.Check(t.Context(), endpoint, helloNumber(i)) })
		}
		wg.Wait()
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("4 checks of one address took %v, want one a second", took)
		}
	})
}

// TestNobodyBooksTheBackDialsOfAnother: calls that are given up at once must not push
// the next check of an address, which may be another's, into the far future.
func TestNobodyBooksTheBackDialsOfAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dials{}
		b := join.NewBackDialer(d.meet, refusedAlways)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range 1000 {
			_, _ = b.Check(gone, "http://victim:9113", helloNumber(i))
		}
		if _, err := b.Check(t.Context(), "http://victim:9113", helloNumber(2000)); muster.CodeOf(err) != muster.CodeTooManyRequests {
			t.Errorf("with a full queue: %v, want too-many-requests", err)
		}
		time.Sleep(2 * time.Second)
		begun := time.Now()
		if class, err := b.Check(t.Context(), "http://victim:9113", helloNumber(2001)); err != nil || class != "refused" {
			t.Errorf("the owner of the address: %q, %v", class, err)
		}
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("the owner of the address waited %v", took)
		}
	})
}

// TestAFloodOfNamesDoesNotUndoTheSpacing: the table of turns is full, and still an
// address in it is dialled once a second.
func TestAFloodOfNamesDoesNotUndoTheSpacing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dials{}
		b := join.NewBackDialer(d.meet, refusedAlways)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range 2 {
			_, _ = b.Check(t.Context(), "http://victim:9113", helloNumber(i))
			for j := range 5000 {
				_, _ = b.Check(gone, fmt.Sprintf("http://h%d-%d:9113", i, j), helloNumber(10+j))
			}
		}
		at := d.at["http://victim:9113"]
		if len(at) != 2 || at[1].Sub(at[0]) < time.Second {
			t.Errorf("dials to one address at %v", at)
		}
	})
}

// TestVerdictsAreCachedPerNodeAndBoot: success for 30 s, failure for 1 s, for nobody else.
func TestVerdictsAreCachedPerNodeAndBoot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dials{}
		b := join.NewBackDialer(d.meet, refusedAlways)
		ask := func(peer link.Hello) { _, _ = b.Check(t.Context(), "http://h:9113", peer) }
		peer := helloNumber(1)
		ask(peer)
		ask(peer)
		if n := d.total(); n != 1 {
			t.Errorf("%d dials for two calls at once, want 1", n)
		}
		time.Sleep(time.Second)
		ask(peer)
		peer.Boot.Counter++
		ask(peer)
		ask(helloNumber(2))
		if n := d.total(); n != 4 {
			t.Errorf("%d dials, want 4: after a second, for another boot, for another node", n)
		}
	})
}

// TestTheJoinerLearnsAClassAndNothingElse closes the oracle: a cookie holder who names
// an address of the inside is told one word, whatever is there.
func TestTheJoinerLearnsAClassAndNothingElse(t *testing.T) {
	t.Parallel()
	d := &dials{}
	body := joinAnswer(t, d.meet, `{"endpoint":"http://inside:80/secret"}`)
	if body.Code != muster.CodeEndpointUnreachable || !strings.HasSuffix(body.Text, "http://inside:80/secret: refused") {
		t.Errorf("answer %+v, want the class alone", body)
	}
	if strings.Contains(body.Text+body.Fix, "topsecret") {
		t.Errorf("the answer has words of the target: %+v", body)
	}
}

type joinRefusal struct {
	Code      muster.Code
	Text, Fix string
}

// joinAnswer posts a join request to a formed node as a peer with the cookie.
func joinAnswer(t *testing.T, meet join.Meet, request string) (answer joinRefusal) {
	t.Helper()
	state, err := join.OpenMemory(&join.Memory{}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if err := state.SetCluster(join.Cluster{ID: "0b8cf2d5-9a3e-4c1f-8f67-2f1f3a9d7c55", Name: "c"}); err != nil {
		t.Fatal(err)
	}
	s, err := join.New(join.Config{
		State: state, Meet: meet, Class: refusedAlways, Endpoint: "http://n1:9113",
		PeerFrom: func(context.Context) (link.Hello, bool) { return helloNumber(7), true },
	})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, join.PathJoin, strings.NewReader(request)))
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	return answer
}

// TestAJoinRequestNamesNobody: whatever node a request names, it is the connection's
// that joins; and what is not an endpoint is not dialled.
func TestAJoinRequestNamesNobody(t *testing.T) {
	t.Parallel()
	d := &dials{}
	body := joinAnswer(t, d.meet, `{"endpoint":"http://h:1","id":"victim","node_id":"victim","name":"victim"}`)
	if !strings.Contains(body.Text, "x (00000007") || strings.Contains(body.Text, "victim") {
		t.Errorf("the answer is about %q, want the caller", body.Text)
	}
	before := d.total()
	for _, endpoint := range []string{
		"", "file:///etc/passwd", "gopher://h:1", "http://", "http://user:pw@h:1", "http://h:1/?x=1", "http://h:1/#x",
		"http://h:0", "http://h:99999", "http://h%00:1", "http://h\\r\\nX: y:1", "http://" + strings.Repeat("h", 300) + ":1",
	} {
		if body := joinAnswer(t, d.meet, `{"endpoint":"`+endpoint+`"}`); body.Code == "" {
			t.Errorf("endpoint %q was admitted", endpoint)
		}
	}
	if n := d.total() - before; n != 0 {
		t.Errorf("%d dials to what is no endpoint", n)
	}
	for name, request := range map[string]string{"no JSON": "x", "a huge body": `{"endpoint":"` + strings.Repeat("h", 2<<20) + `"}`} {
		if body := joinAnswer(t, d.meet, request); body.Code != muster.CodeBadRequest {
			t.Errorf("%s: %+v, want bad-request", name, body)
		}
	}
}

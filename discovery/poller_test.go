package discovery_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/musterhq/muster/discovery"
)

// fake is a source that says what a test tells it to.
type fake struct {
	name string

	mu    sync.Mutex
	found []discovery.Candidate
	err   error
	hang  bool
	asked []time.Time
}

func (f *fake) Name() string { return f.name }

func (f *fake) Find(ctx context.Context) ([]discovery.Candidate, error) {
	f.mu.Lock()
	f.asked = append(f.asked, time.Now())
	found, err, hang := f.found, f.err, f.hang
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return found, err
}

func (f *fake) set(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func endpoint(urls ...string) []discovery.Candidate {
	var list []discovery.Candidate
	for _, u := range urls {
		list = append(list, discovery.Candidate{Endpoint: u})
	}
	return list
}

// run starts a poller in a bubble and returns it with its log.
func run(t *testing.T, sources ...discovery.Source) (*discovery.Poller, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	p, err := discovery.New(discovery.Config{Sources: sources, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(t.Context()); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return p, log
}

func TestPollerMergesSources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &fake{name: "a", found: endpoint("http://n2:1", "http://n1:1", "http://n1:1")}
		b := &fake{name: "b", found: []discovery.Candidate{{Endpoint: "http://n1:1", ID: "id-1"}, {Endpoint: "http://n3:1"}}}
		p, log := run(t, a, b)
		time.Sleep(time.Second)
		synctest.Wait()
		want := []discovery.Candidate{
			{Endpoint: "http://n1:1", ID: "id-1", Source: "b"},
			{Endpoint: "http://n2:1", Source: "a"}, {Endpoint: "http://n3:1", Source: "b"},
		}
		if diff := cmp.Diff(want, p.Candidates()); diff != "" {
			t.Error(diff)
		}
		if st := p.Status(); st[0].Method != "a" || st[0].Found != 2 || st[1].Found != 2 || st[0].LastError != "" {
			t.Errorf("status = %+v", st)
		}
		if !strings.Contains(log.String(), "discovered 2 nodes") {
			t.Errorf("the log lacks the phrase:\n%s", log)
		}
	})
}

func TestFailingSourceSpoilsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := &fake{name: "bad", found: endpoint("http://n9:1")}
		hung := &fake{name: "hung", hang: true}
		good := &fake{name: "good", found: endpoint("http://n1:1")}
		p, log := run(t, bad, hung, good)
		time.Sleep(time.Second)
		if p.Settled() {
			t.Error("settled before the hung source has answered")
		}
		bad.set(func() { bad.err = errors.New("no such host\x1b[2J") })
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]string{"http://n1:1", "http://n9:1"}, urls(p)); diff != "" {
			t.Errorf("the last good answer is not kept: %s", diff)
		}
		if got := p.Status()[0].LastError; got != "no such host[2J" {
			t.Errorf("last error = %q, want it printable", got)
		}
		synctest.Wait()
		if got := strings.Count(log.String(), "discovery failed"); got != 2 {
			t.Errorf("%d lines about failures, want one per source", got)
		}
		time.Sleep(20 * time.Minute)
		if diff := cmp.Diff([]string{"http://n1:1"}, urls(p)); diff != "" {
			t.Errorf("the answer of a source that is gone is kept for ever: %s", diff)
		}
		if got := good.count(); got < 200 {
			t.Errorf("the good source was asked %d times in 21 minutes, want every 5 s", got)
		}
		if got := bad.count(); got > 60 {
			t.Errorf("the bad source was asked %d times in 21 minutes, want it left alone", got)
		}
		hung.set(func() { hung.hang = false })
		bad.set(func() { bad.err = nil })
		time.Sleep(2 * time.Minute)
		if !p.Settled() || p.Status()[0].LastError != "" {
			t.Errorf("status = %+v, want all well", p.Status())
		}
	})
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &fake{name: "a", found: endpoint("http://n1:1")}
		told := 0
		p, err := discovery.New(discovery.Config{Sources: []discovery.Source{src}, Changed: func() { told++ }})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = p.Run(t.Context()) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if told != 1 {
			t.Errorf("told %d times of one answer", told)
		}
		src.set(func() { src.found = nil })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if told != 2 || len(p.Candidates()) != 0 {
			t.Errorf("told %d times, candidates %v", told, p.Candidates())
		}
	})
}

func urls(p *discovery.Poller) []string {
	var list []string
	for _, c := range p.Candidates() {
		list = append(list, c.Endpoint)
	}
	return list
}

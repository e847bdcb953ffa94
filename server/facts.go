package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/join"
)

// factsPath answers what does not fit into gossip's 512 bytes.
const factsPath = "/peer/v1/node"

const (
	maxFacts     = 16 << 10
	factsTimeout = 2 * time.Second
)

// facts is what a member says of itself beyond gossip.
type facts struct {
	Region string            `json:"region"`
	Tags   map[string]string `json:"tags"`
	Drain  *join.Drain       `json:"drain,omitempty"`
}

// How long what a member said is believed without asking again.
const (
	pageAge  = time.Second      // while gossip says otherwise
	drainAge = 10 * time.Second // the order of a draining member: another one may have followed
)

// factbook fetches the facts of members once per boot and remembers them.
type factbook struct {
	node *node
	want chan known // 256: a burst of joins; more are asked for at the next change

	mu   sync.Mutex
	book map[known]page
}

// known names one run of a member.
type known struct {
	id   muster.NodeID
	boot muster.Boot
}

// page is what one member said, and when.
type page struct {
	facts
	at time.Time
}

// good reports whether the page agrees with what gossip says now.
func (p page) good(draining bool) bool {
	age := time.Since(p.at)
	return age < pageAge || draining == (p.Drain != nil) && (!draining || age < drainAge)
}

func newFactbook(n *node) *factbook {
	return &factbook{node: n, want: make(chan known, 256), book: map[known]page{}}
}

// own is what this node says of itself.
func (f *factbook) own() facts {
	return facts{Region: f.node.cfg.Region, Tags: f.node.cfg.Tags, Drain: f.node.state.Drained()}
}

// of returns what is known of a member, and asks for what is not, or may have
// changed.
func (f *factbook) of(v gossip.View) facts {
	if v.Self {
		return f.own()
	}
	k := known{v.ID, v.Boot}
	f.mu.Lock()
	got, ok := f.book[k]
	f.mu.Unlock()
	if v.State.Gone() || ok && got.good(v.Draining) {
		return got.whole()
	}
	select {
	case f.want <- k:
	default:
	}
	return got.whole()
}

// whole has tags that are not nil.
func (f facts) whole() facts {
	if f.Tags == nil {
		f.Tags = map[string]string{}
	}
	return f
}

// run fetches what was asked for, one member at a time.
func (f *factbook) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case k := <-f.want:
			f.fetch(ctx, k)
		}
	}
}

func (f *factbook) fetch(ctx context.Context, k known) {
	f.mu.Lock()
	have := f.book[k]
	f.mu.Unlock()
	if time.Since(have.at) > pageAge { // else it was asked for more than once
		f.renew(ctx, k)
	}
}

// renew asks a member what it says of itself now.
func (f *factbook) renew(ctx context.Context, k known) {
	got, err := f.ask(ctx, k.id)
	if err != nil {
		f.node.log.DebugContext(ctx, "member did not tell its facts", "member", k.id, "error", err)
		return
	}
	f.mu.Lock()
	f.book[k] = page{got, time.Now()}
	f.mu.Unlock()
	f.node.changed.fire()
}

func (f *factbook) ask(ctx context.Context, id muster.NodeID) (got facts, err error) {
	if err := f.node.askMember(ctx, id, factsPath, &got); err != nil {
		return got, err
	}
	return got.clean(), nil
}

// askMember reads what a member answers to a GET.
func (n *node) askMember(ctx context.Context, id muster.NodeID, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer"+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := n.transport(id).RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the member answers %s", muster.Printable(res.Status))
	}
	return json.NewDecoder(io.LimitReader(res.Body, maxFacts)).Decode(into)
}

// clean makes texts from outside safe to show.
func (f facts) clean() facts {
	tags := make(map[string]string, len(f.Tags))
	for k, v := range f.Tags {
		tags[muster.Printable(k)] = muster.Printable(v)
	}
	clean := facts{Region: muster.Printable(f.Region), Tags: tags}
	if d := f.Drain; d != nil {
		clean.Drain = &join.Drain{By: muster.Printable(d.By), Reason: muster.Printable(d.Reason), Since: d.Since}
	}
	return clean
}

func (f *factbook) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(f.own()) // the caller is gone if it fails
}

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
}

// factbook fetches the facts of members once per boot and remembers them.
type factbook struct {
	node *node
	own  facts
	want chan known // 256: a burst of joins; more are asked for at the next change

	mu   sync.Mutex
	book map[known]facts
}

// known names one run of a member.
type known struct {
	id   muster.NodeID
	boot muster.Boot
}

func newFactbook(n *node) *factbook {
	return &factbook{
		node: n, own: facts{Region: n.cfg.Region, Tags: n.cfg.Tags},
		want: make(chan known, 256), book: map[known]facts{},
	}
}

// of returns what is known, and asks for what is not.
func (f *factbook) of(id muster.NodeID, boot muster.Boot) facts {
	if id == f.node.self.ID {
		return f.own
	}
	f.mu.Lock()
	got, ok := f.book[known{id, boot}]
	f.mu.Unlock()
	if ok {
		return got
	}
	select {
	case f.want <- known{id, boot}:
	default:
	}
	return facts{Tags: map[string]string{}}
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
	_, done := f.book[k]
	f.mu.Unlock()
	if done {
		return
	}
	got, err := f.ask(ctx, k.id)
	if err != nil {
		f.node.log.DebugContext(ctx, "member did not tell its facts", "member", k.id, "error", err)
		return
	}
	f.mu.Lock()
	f.book[k] = got
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
	return facts{Region: muster.Printable(f.Region), Tags: tags}
}

func (f *factbook) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(f.own) // the caller is gone if it fails
}

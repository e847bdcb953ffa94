package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

const (
	defaultInterval = 5 * time.Second
	defaultTimeout  = 10 * time.Second
	longestPause    = time.Minute // between questions to a source that fails
	jitter          = 0.2
	keepFor         = 10 * time.Minute // of the last good answer of a source that fails
	maxCandidates   = 1024             // per source
)

// Config is what a Poller needs. Only Sources is required.
type Config struct {
	Sources  []Source
	Interval time.Duration // between two questions to a source; default 5 s
	Timeout  time.Duration // of one question; default 10 s
	// Changed is called after the merged list has changed. It must not block.
	Changed func()
	Log     *slog.Logger
}

// Poller asks sources and merges what they find.
type Poller struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	answers []answer // one per source, in their order
}

// answer is what one source said last.
type answer struct {
	status   muster.DiscoveryStatus
	answered bool
	found    []Candidate
	good     time.Time // of found
	failed   bool
}

// New makes a Poller. It asks nobody before Run.
func New(cfg Config) (*Poller, error) {
	for _, s := range cfg.Sources {
		if s == nil {
			return nil, errors.New("discovery: a source is nil")
		}
	}
	cfg.Interval = cmp.Or(cfg.Interval, defaultInterval)
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	p := &Poller{cfg: cfg, log: cfg.Log.With("component", "discovery"), answers: make([]answer, len(cfg.Sources))}
	for i, s := range cfg.Sources {
		p.answers[i].status.Method = s.Name()
	}
	return p, nil
}

// Run asks all sources until ctx ends, and returns nil then.
func (p *Poller) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i := range p.cfg.Sources {
		wg.Go(func() { p.poll(ctx, i) })
	}
	wg.Wait()
	return nil
}

// poll asks one source. A source that hangs or fails holds up nobody else.
func (p *Poller) poll(ctx context.Context, i int) {
	fails := 0
	for {
		if p.ask(ctx, i) {
			fails = 0
		} else {
			fails++
		}
		if !sleep(ctx, p.wait(fails)) {
			return
		}
	}
}

// wait is the time to the next question: longer after each failure.
func (p *Poller) wait(fails int) time.Duration {
	d := p.cfg.Interval
	for range fails - 1 {
		d = min(2*d, max(longestPause, p.cfg.Interval))
	}
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64()))
}

// ask puts one question to a source and files the answer; false if it failed.
func (p *Poller) ask(ctx context.Context, i int) bool {
	source := p.cfg.Sources[i]
	askCtx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	found, err := source.Find(askCtx)
	if ctx.Err() != nil {
		return false
	}
	found = tidy(found, source.Name())
	changed, news := p.file(i, found, err)
	if err != nil {
		if news {
			p.log.Error("discovery failed", "method", source.Name(), "error", muster.Printable(err.Error()))
		}
		return false
	}
	if changed && len(found) > 0 {
		p.log.Info(fmt.Sprintf("discovered %d nodes", len(found)), "method", source.Name())
	} else if changed {
		p.log.Warn("no new nodes discovered", "method", source.Name())
	}
	if changed {
		p.cfg.Changed()
	}
	return true
}

// file keeps an answer. changed: the candidates differ from before; news: the
// source has begun to fail.
func (p *Poller) file(i int, found []Candidate, err error) (changed, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &p.answers[i]
	a.status.At = time.Now()
	if err != nil {
		news = !a.failed
		a.failed = true
		a.status.LastError = muster.Printable(err.Error())
		return false, news
	}
	changed = !a.answered || !slices.Equal(a.found, found)
	a.found, a.good, a.answered, a.failed = found, time.Now(), true, false
	a.status.Found, a.status.LastError = len(found), ""
	return changed, false
}

// tidy sorts the candidates of a source, drops doubles and what is too much, and
// notes where they come from.
func tidy(found []Candidate, source string) []Candidate {
	list := slices.Clone(found)
	for i := range list {
		list[i].Source = source
	}
	slices.SortFunc(list, compare)
	list = slices.CompactFunc(list, func(a, b Candidate) bool { return a.Endpoint == b.Endpoint })
	return list[:min(len(list), maxCandidates)]
}

// compare orders candidates by endpoint, those with an id first.
func compare(a, b Candidate) int {
	return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(b.ID, a.ID), cmp.Compare(a.Source, b.Source))
}

// Candidates returns everything that is known now, each endpoint once, sorted. A
// source that fails is taken at its last word for a while.
func (p *Poller) Candidates() []Candidate {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Candidate
	for _, a := range p.answers {
		if !a.failed || time.Since(a.good) < keepFor {
			list = append(list, a.found...)
		}
	}
	slices.SortFunc(list, compare)
	return slices.CompactFunc(list, func(a, b Candidate) bool { return a.Endpoint == b.Endpoint })
}

// Settled reports whether every source has answered at least once.
func (p *Poller) Settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.answers, func(a answer) bool { return !a.answered })
}

// Status returns the last answer of each source, in the order of the sources.
func (p *Poller) Status() []muster.DiscoveryStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]muster.DiscoveryStatus, len(p.answers))
	for i, a := range p.answers {
		list[i] = a.status
	}
	return list
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

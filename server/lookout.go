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
	"github.com/musterhq/muster/health"
	"github.com/musterhq/muster/link"
)

// Timing of the lookout.
const (
	lookTick   = 250 * time.Millisecond
	lookPeriod = 6200 * time.Millisecond // between two looks at one member
	lookSpread = 100 * time.Millisecond  // per member, where that makes the period longer
	lookAgain  = 500 * time.Millisecond  // after a failure, and between two questions that were hinted at
	lookLimit  = 1500 * time.Millisecond
	// looksAtOnce bounds members that are looked at at the same time.
	looksAtOnce = 8
	// failuresOfTrouble is how many failures in a row make a broken channel, and
	// troubleTime how long they must last: a process that has just ended refuses
	// connections too, and is dead before that.
	failuresOfTrouble = 2
	troubleTime       = 2 * time.Second
)

// lookout asks each live member how it sees the others, and thereby learns whether
// calls and new streams still reach it. What it has heard is kept: nobody is asked
// when somebody wants to know.
type lookout struct {
	node  *node
	scale time.Duration // of the timing: 1, more where round trips are long
	slots chan struct{} // looksAtOnce: one element per look under way

	mu    sync.Mutex
	peers map[muster.NodeID]*watched
}

// watched is what the lookout knows of one member.
type watched struct {
	boot muster.Boot
	busy bool
	next time.Time // of the next look

	tag     string // of what it said last
	said    health.Outlook
	heard   time.Time // when it said so, or that nothing has changed
	skew    skew
	streams channel
	calls   channel
}

// channel is how well a way to a member works.
type channel struct {
	failures int
	since    time.Time // when the first look that failed in a row began
	last     time.Time // when the last one did
	why      string
}

func newLookout(n *node) *lookout {
	l := &lookout{node: n, scale: 1, slots: make(chan struct{}, looksAtOnce), peers: map[muster.NodeID]*watched{}}
	if n.cfg.Profile == "wan" {
		l.scale = 4
	}
	return l
}

// run looks at every live member, each in its turn, until ctx ends.
func (l *lookout) run(ctx context.Context) error {
	var looks sync.WaitGroup
	defer looks.Wait()
	tick := time.NewTicker(lookTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			ids, mended := l.due(now)
			if mended {
				l.node.nudge()
			}
			for _, id := range ids {
				l.start(ctx, &looks, id)
			}
		}
	}
}

// due returns whose turn it is. It drops those that are not live any more and begins
// anew with those that have restarted, and reports whether that ends a trouble.
func (l *lookout) due(now time.Time) (ids []muster.NodeID, mended bool) {
	live := l.node.dialled()
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := make(map[muster.NodeID]*watched, len(live))
	for i, v := range live {
		w := l.peers[v.ID]
		if w == nil || w.boot != v.Boot { // spread over one period, so that a start is no burst
			w = &watched{boot: v.Boot, next: now.Add(l.period(len(live)) * time.Duration(i) / time.Duration(len(live)))}
		}
		keep[v.ID] = w
		if !w.busy && !now.Before(w.next) {
			ids = append(ids, v.ID)
		}
	}
	for id, w := range l.peers {
		mended = mended || keep[id] != w && w.broken() != [2]bool{}
	}
	l.peers = keep
	return ids, mended
}

// period is the time between two looks at one of n members.
func (l *lookout) period(n int) time.Duration {
	return max(lookPeriod*l.scale, lookSpread*time.Duration(n))
}

func (l *lookout) start(ctx context.Context, looks *sync.WaitGroup, id muster.NodeID) {
	select {
	case l.slots <- struct{}{}:
	default:
		return // at the next tick
	}
	w := l.take(id)
	if w == nil {
		<-l.slots
		return
	}
	looks.Go(func() {
		l.look(ctx, id, w)
		<-l.slots
	})
}

// take marks a member as being looked at; nil if it is already, or gone.
func (l *lookout) take(id muster.NodeID) *watched {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.peers[id]
	if w == nil || w.busy {
		return nil
	}
	w.busy = true
	return w
}

// look asks a member and opens a stream to it, at the same time.
func (l *lookout) look(ctx context.Context, id muster.NodeID, w *watched) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, lookLimit*l.scale)
	defer cancel()
	var stream error
	var other sync.WaitGroup
	other.Go(func() { stream = l.tryStream(ctx, id) })
	got, call := l.ask(ctx, id)
	other.Wait()
	if context.Cause(ctx) == context.Canceled {
		return // this node ends
	}
	news, own := l.note(w, outcome{begun, got, stream, call})
	if own {
		l.node.nudge()
	}
	if news || own {
		l.node.changed.fire()
	}
}

// tryStream opens a stream and closes it: nothing is said on it.
func (l *lookout) tryStream(ctx context.Context, id muster.NodeID) error {
	s, err := l.node.link.Stream(ctx, id)
	if err != nil {
		return err
	}
	_ = s.Close() // it has done its work
	return nil
}

// outcome is what came of a look.
type outcome struct {
	begun        time.Time
	answer       answer
	stream, call error
}

// answer is what a member says to the question how it sees the others.
type answer struct {
	same    bool // as last time
	tag     string
	outlook health.Outlook
	skew    skew
}

func (l *lookout) ask(ctx context.Context, id muster.NodeID) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer"+outlookPath, http.NoBody)
	if err != nil {
		return a, err
	}
	if tag := l.tag(id); tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	asked := l.node.cfg.Now()
	res, err := l.node.link.Transport(id).RoundTrip(req)
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }()
	a.skew = skewOf(asked, l.node.cfg.Now(), res.Header.Get(clockHeader))
	switch res.StatusCode {
	case http.StatusNotModified:
		a.same = true
		return a, nil
	case http.StatusOK:
	default:
		return a, fmt.Errorf("the member answers %s", muster.Printable(res.Status))
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxOutlook)).Decode(&a.outlook); err != nil {
		return a, fmt.Errorf("read the member's outlook: %w", err)
	}
	a.tag = res.Header.Get("Etag")
	a.outlook, err = cleanOutlook(a.outlook)
	return a, err
}

func (l *lookout) tag(id muster.NodeID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.peers[id]; w != nil {
		return w.tag
	}
	return ""
}

// note stores the outcome of a look and reports whether the member says something
// else than before, and whether this node's own ways to it have changed.
func (l *lookout) note(w *watched, o outcome) (news, own bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	w.busy = false
	before := w.broken()
	w.streams.note(o.begun, o.stream)
	w.calls.note(o.begun, o.call)
	wait := l.period(len(l.peers))
	if o.stream != nil || o.call != nil {
		wait = lookAgain * l.scale
	}
	w.next = now.Add(wait)
	if o.call == nil {
		w.heard = now
		w.skew.add(o.answer.skew)
		if !o.answer.same {
			w.tag, w.said, news = o.answer.tag, o.answer.outlook, true
		}
	}
	return news, before != w.broken()
}

// hint says that a member's outlook has changed.
func (l *lookout) hint(id muster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.peers[id]
	if w == nil {
		return
	}
	if soon := w.heard.Add(lookAgain * l.scale); soon.Before(w.next) {
		w.next = soon
	}
}

func (w *watched) broken() [2]bool { return [2]bool{w.streams.broken(), w.calls.broken()} }

func (c *channel) broken() bool {
	return c.failures >= failuresOfTrouble && c.last.Sub(c.since) >= troubleTime
}

func (c *channel) note(now time.Time, err error) {
	if err == nil {
		*c = channel{}
		return
	}
	if c.failures++; c.failures == 1 {
		c.since = now.Truncate(time.Millisecond)
	}
	c.last = now
	c.why = link.Words(err)
}

// troubleWith returns which ways to a member are broken.
func (l *lookout) troubleWith(id muster.NodeID) (list []health.Trouble) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.peers[id]
	if w == nil {
		return nil
	}
	if w.streams.broken() {
		list = append(list, health.Trouble{Channel: string(link.ChannelStream), Why: w.streams.why, Since: w.streams.since})
	}
	if w.calls.broken() {
		list = append(list, health.Trouble{Channel: string(link.ChannelRPC), Why: w.calls.why, Since: w.calls.since})
	}
	return list
}

// heard returns what the live members have said of late, and when.
func (l *lookout) heard() (outlooks map[muster.NodeID]health.Outlook, at map[muster.NodeID]time.Time) {
	now := time.Now()
	outlooks, at = map[muster.NodeID]health.Outlook{}, map[muster.NodeID]time.Time{}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := 3*l.period(len(l.peers)) + lookLimit*l.scale
	for id, w := range l.peers {
		if w.tag != "" && now.Sub(w.heard) < old {
			outlooks[id], at[id] = w.said, w.heard
		}
	}
	return outlooks, at
}

// dialled returns the live members with which this node can exchange anything: not
// those that nobody can dial, if nobody can dial this node either.
func (n *node) dialled() (list []gossip.View) {
	if n.state.Cluster().ID == "" {
		return nil
	}
	for _, v := range n.gossip.Members() {
		if !v.Self && !v.State.Gone() && (n.endpoint != "" || v.Endpoint != "") {
			list = append(list, v)
		}
	}
	return list
}

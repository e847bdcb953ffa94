package join

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

const (
	firstDelay  = 250 * time.Millisecond // after the first failure; doubles
	lastDelay   = 5 * time.Second
	idleDelay   = 30 * time.Second       // while the node has company
	waitDelay   = 300 * time.Millisecond // after not-formed and draining
	suspectWait = 2 * time.Second        // after name-in-use: the holder may turn out dead
	windowTime  = 30 * time.Second
	windowCalls = 18               // failed calls in windowTime, whatever resets the delay
	namedFor    = 10 * time.Minute // an endpoint that discovery does not name any more
	jitter      = 0.2
)

// target is one endpoint to call, and what came of it. The Seeker's mutex
// guards all fields.
type target struct {
	endpoint string
	sources  []source
	claimed  muster.NodeID // who is there, by hearsay
	age      time.Duration // of the hearsay, when it was heard
	heard    time.Time

	hello   *link.Hello // who proved to be there, last
	contact time.Time
	bound   muster.NodeID // whom it has promised to wait for

	busy   bool
	tries  int
	fails  int // in a row
	next   time.Time
	window []time.Time // of failed calls

	code  muster.Code
	text  string
	fix   string
	last  time.Time
	since time.Time // of this code
}

// id returns who is at the endpoint, as far as known.
func (t *target) id() muster.NodeID {
	if t.hello != nil {
		return t.hello.ID
	}
	return t.claimed
}

// source is somebody who names an endpoint.
type source struct {
	name string
	at   time.Time // last
}

// ofOurs reports whether a person or a discovery method names the endpoint, or the
// list of members. The rest is hearsay.
func (s source) ofOurs() bool {
	return s.name != fromLeft && s.name != fromCaller && s.name != fromPeer
}

// life is how long a source that has fallen silent about an endpoint still counts.
func (s source) life() time.Duration {
	if s.ofOurs() {
		return namedFor
	}
	return forgetAfter
}

func (t *target) find(name string) int {
	return slices.IndexFunc(t.sources, func(s source) bool { return s.name == name })
}

// from reports whether a source has named the endpoint.
func (t *target) from(name string) bool { return t.find(name) >= 0 }

// ofOurs reports whether anything but hearsay names the endpoint.
func (t *target) ofOurs() bool { return slices.ContainsFunc(t.sources, source.ofOurs) }

// names lists the sources.
func (t *target) names() []string {
	list := make([]string, len(t.sources))
	for i, s := range t.sources {
		list[i] = s.name
	}
	return list
}

func (t *target) addSource(name string) {
	if i := t.find(name); i >= 0 {
		t.sources[i].at = time.Now()
	} else if len(t.sources) < 8 {
		t.sources = append(t.sources, source{name, time.Now()})
	}
}

// forgotten drops the sources that have long fallen silent, and reports whether
// none is left.
func (t *target) forgotten() bool {
	t.sources = slices.DeleteFunc(t.sources, func(s source) bool { return time.Since(s.at) > s.life() })
	return len(t.sources) == 0
}

// named returns the last answer with the endpoint in it.
func (t *target) named() string {
	if strings.Contains(t.text, t.endpoint) {
		return t.text
	}
	return t.endpoint + ": " + t.text
}

// answered notes an answer that is no failure, and when to call again.
func (t *target) answered(code muster.Code, text string, delay time.Duration) {
	now := time.Now()
	t.note(code, text, "")
	t.fails = 0
	t.next = now.Add(spread(delay))
}

// failed notes a failure, and when to call again.
func (t *target) failed(err *muster.Error, longest time.Duration) {
	now := time.Now()
	t.note(err.Code, err.Text, err.Advice())
	t.fails++
	t.next = now.Add(spread(backoff(t.fails, longest)))
	t.window = append(t.window, now)
	if extra := len(t.window) - windowCalls; extra > 0 {
		t.window = slices.Delete(t.window, 0, extra)
	}
	t.clampLocked()
}

// clampLocked keeps the number of failed calls in any 30 s bounded, also when
// something else has brought the next call forward.
func (t *target) clampLocked() {
	if len(t.window) < windowCalls {
		return
	}
	if earliest := t.window[0].Add(windowTime); t.next.Before(earliest) {
		t.next = earliest
	}
}

// hurry brings the next call forward: the node there has just called us.
func (t *target) hurry() {
	if t.fails == 0 || t.busy {
		return
	}
	t.next = time.Now()
	t.fails = min(t.fails, 1)
	t.clampLocked()
}

func (t *target) note(code muster.Code, text, fix string) {
	now := time.Now()
	if code != t.code {
		t.since = now
	}
	t.code, t.text, t.fix, t.last = code, muster.Printable(text), muster.Printable(fix), now
	t.tries++
}

func backoff(fails int, longest time.Duration) time.Duration {
	delay := firstDelay
	for range fails - 1 {
		if delay *= 2; delay >= longest {
			return longest
		}
	}
	return min(delay, longest)
}

// spread varies a delay by a fifth either way.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64()))
}

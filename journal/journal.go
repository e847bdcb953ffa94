package journal

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
)

// Keep is how many events a node keeps, in memory and on disk.
const Keep = 1000

// maxText bounds the text of an event in bytes.
const maxText = 1024

// FileName is the file in the data directory.
const FileName = "events"

// Config says whose events are kept, and where.
type Config struct {
	Node muster.NodeID
	Name string
	Boot uint64 // counts the runs of the node
	Dir  string // data directory; empty: memory alone

	Log     *slog.Logger          // nil: silent
	Metrics prometheus.Registerer // nil: none
}

// Journal holds the newest events of one node. It is safe for concurrent use.
type Journal struct {
	cfg   Config
	clock *Clock
	disk  *disk // nil: none

	mu    sync.Mutex
	items []item // oldest first, at most Keep
	last  muster.EventID
	ended bool
	more  chan struct{} // closed at the next event
}

// item is an event, and the one before it if nothing was lost between them.
type item struct {
	muster.Event
	follows muster.EventID
}

func (i item) id() muster.EventID {
	return muster.EventID{Node: i.Node.Short(), Boot: i.Boot, Seq: i.Seq}
}

// Open reads what an earlier run has left. A file that cannot be read or written
// costs the memory of what was before, and nothing else.
func Open(cfg Config) (*Journal, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	j := &Journal{cfg: cfg, clock: &Clock{}, more: make(chan struct{})}
	metrics, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	if cfg.Dir != "" {
		j.disk = &disk{path: filepath.Join(cfg.Dir, FileName), log: cfg.Log, metrics: metrics}
		j.restore(j.disk.load())
	}
	return j, nil
}

// restore takes the events of earlier runs and notes where they do not meet.
func (j *Journal) restore(events []muster.Event) {
	var previous muster.Event
	for _, e := range events {
		j.clock.restore(e.Clock)
		if e.Node != j.cfg.Node || e.Boot >= j.cfg.Boot || !after(e, previous) {
			continue
		}
		j.keepLocked(item{e, follows(previous, e)})
		previous = e
	}
	j.disk.written = j.last
}

func after(e, previous muster.Event) bool {
	return e.Boot > previous.Boot || e.Boot == previous.Boot && e.Seq > previous.Seq
}

// follows returns the id of the previous event if nothing was lost before e: it is
// the next one of the same run, or begins the run after one that ended in order.
func follows(previous, e muster.Event) muster.EventID {
	next := e.Boot == previous.Boot && e.Seq == previous.Seq+1
	restarted := e.Boot == previous.Boot+1 && e.Seq == 1 && previous.Kind == muster.EventNodeStop
	if !next && !restarted {
		return muster.EventID{}
	}
	return item{Event: previous}.id()
}

// Add numbers an event, stamps it if it has no clock of an earlier moment, publishes
// it and returns it. It never blocks and does no I/O. After node.stop nothing is taken any more.
func (j *Journal) Add(e muster.Event) muster.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return e
	}
	e.Node, e.NodeName, e.Boot, e.Seq = j.cfg.Node, j.cfg.Name, j.cfg.Boot, 1
	var previous muster.Event
	if n := len(j.items); n > 0 {
		previous = j.items[n-1].Event
	}
	if previous.Boot == e.Boot {
		e.Seq = previous.Seq + 1
	}
	if e.Clock == 0 {
		e.Clock = j.clock.Tick()
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.Text = shorten(e.Text)
	j.keepLocked(item{e, follows(previous, e)})
	j.ended = e.Kind == muster.EventNodeStop
	close(j.more)
	j.more = make(chan struct{})
	return j.items[len(j.items)-1].Event
}

func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	cut := maxText
	for cut > 0 && text[cut]&0xc0 == 0x80 { // inside a rune
		cut--
	}
	return text[:cut]
}

// keepLocked appends an item and lets the oldest go.
func (j *Journal) keepLocked(i item) {
	i.ID = i.id().String()
	if len(j.items) == Keep {
		j.items = j.items[1:] // append moves the rest now and then
	}
	j.items = append(j.items, i)
	j.last = i.id()
}

// Clock returns the clock that stamps the events, to be merged with those of
// other nodes.
func (j *Journal) Clock() *Clock { return j.clock }

// Run writes events to disk until ctx ends.
func (j *Journal) Run(ctx context.Context) error {
	if j.disk == nil {
		return nil
	}
	for {
		items, more := j.unwritten()
		wait := more
		var retry <-chan time.Time
		if len(items) > 0 && !j.disk.save(items, j.all) {
			retry, wait = time.After(retryEvery), nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wait:
		case <-retry:
		}
	}
}

// Close writes what is left, after Run has returned.
func (j *Journal) Close() error {
	if j.disk == nil {
		return nil
	}
	if items, _ := j.unwritten(); len(items) > 0 {
		j.disk.save(items, j.all)
	}
	return j.disk.close()
}

// unwritten returns what the disk has not, and what is closed when there is more.
func (j *Journal) unwritten() ([]muster.Event, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.eventsLocked(j.afterLocked(j.disk.written)), j.more
}

func (j *Journal) all() []muster.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.eventsLocked(0)
}

func (j *Journal) eventsLocked(first int) []muster.Event {
	events := make([]muster.Event, 0, len(j.items)-first)
	for _, i := range j.items[first:] {
		events = append(events, i.Event)
	}
	return events
}

// afterLocked returns the index of the first item after an id.
func (j *Journal) afterLocked(id muster.EventID) int {
	first := len(j.items)
	for first > 0 && j.items[first-1].id().Compare(id) > 0 {
		first--
	}
	return first
}

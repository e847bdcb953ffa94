package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// What is remembered of the history, for peers and for watchers.
const (
	recentChanges = 10_000
	recentBytes   = 64 << 20
)

// Where a copy came from, as /cluster/status shows it.
const (
	fromStore  = "store"
	fromPeer   = "peer"
	fromMirror = "mirror"
)

var (
	// errNoCopy means that changes came before there is anything to apply them to.
	errNoCopy = errors.New("there is no copy of the configuration yet")
	// errOlder means that a snapshot would take the copy back.
	errOlder = errors.New("the snapshot is older than the copy on hand")
	// errClosed answers steps after Run has ended.
	errClosed = errors.New("the node is shutting down")
)

// ledger is the copy itself: the served snapshot, the recent history and the
// mirror, which move together.
type ledger struct {
	mirror Mirror
	clock  func() muster.Clock
	marks  marks
	view   atomic.Pointer[config.Snapshot]

	serial sync.Mutex // one step at a time; held while the mirror is written
	closed bool       // Run has ended

	mu       sync.Mutex
	recent   []muster.Change // dense; elements are never modified
	size     int             // bytes of specifications in recent
	source   string
	changed  chan struct{} // closed and replaced at each step
	batches  []Served
	mirrored error // why the mirror does not follow

	pending chan struct{} // 1: batches has something
}

func (l *ledger) init(cfg Config) {
	l.mirror, l.clock, l.marks.now = cfg.Mirror, cfg.Clock, cfg.Now
	l.changed = make(chan struct{})
	l.pending = make(chan struct{}, 1)
}

func (l *ledger) position() muster.Position {
	if view := l.view.Load(); view != nil {
		return view.Position()
	}
	return muster.Position{}
}

// moved returns a channel that is closed at the next step.
func (l *ledger) moved() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// advance applies changes, of which some may be known already. A higher epoch is
// taken over with them. It wraps config.ErrGap or config.ErrChain.
func (l *ledger) advance(ctx context.Context, changes []muster.Change, epoch int64, from origin) error {
	received := l.marks.now()
	l.serial.Lock()
	defer l.serial.Unlock()
	view := l.view.Load()
	if view == nil {
		return errNoCopy
	}
	changes, err := l.unknown(view, changes)
	if err != nil {
		return err
	}
	next, err := view.Apply(changes)
	if err != nil {
		return err
	}
	if epoch > next.Position().Epoch {
		next = next.AtEpoch(epoch)
	}
	if next.Position() == view.Position() {
		return nil
	}
	if err := l.reflect(ctx, next, changes); err != nil {
		return err
	}
	l.mark(step{view, next, received}, from)
	l.publish(next, changes, changes, from.source)
	return nil
}

// step is a move of the copy.
type step struct {
	from, to *config.Snapshot // from is nil for the first copy
	received time.Time
}

// mark remembers a step that is served from now on.
func (l *ledger) mark(s step, from origin) {
	k := Mark{Rev: s.to.Position().Rev, Way: from.way, Source: from.source, Peer: from.peer, Received: s.received, Applied: l.marks.now()}
	if s.from == nil {
		k.Way = muster.WayCopy
	} else if k.After = s.from.Position().Rev; k.After == k.Rev {
		return // only the epoch has grown
	}
	l.marks.add(k)
}

// unknown drops the changes that are applied already, if they are the same ones.
func (l *ledger) unknown(view *config.Snapshot, changes []muster.Change) ([]muster.Change, error) {
	for i, c := range changes {
		if c.Rev > view.Position().Rev {
			return changes[i:], nil
		}
		if chain, ok := l.chainAt(view, c.Rev); ok && chain != c.Chain {
			return nil, fmt.Errorf("revision %d has chain %s, here it had %s: %w", c.Rev, c.Chain.Short(), chain.Short(), config.ErrChain)
		}
	}
	return nil, nil
}

// chainAt returns the chain that a served revision had, if that is remembered.
func (l *ledger) chainAt(view *config.Snapshot, rev int64) (muster.Hash, bool) {
	if at := view.Position(); at.Rev == rev {
		return at.Chain, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) == 0 || rev < l.recent[0].Rev || rev > l.recent[len(l.recent)-1].Rev {
		return muster.Hash{}, false
	}
	return l.recent[rev-l.recent[0].Rev].Chain, true
}

// replace takes a whole snapshot of cluster, which must not be older than the copy.
func (l *ledger) replace(ctx context.Context, cluster muster.ClusterID, snap *store.Snapshot, from origin) error {
	received := l.marks.now()
	l.serial.Lock()
	defer l.serial.Unlock()
	if snap.ClusterID != cluster {
		return muster.Errorf(muster.CodeStoreMismatch, "the snapshot is of cluster %s, this node belongs to %s", snap.ClusterID, cluster)
	}
	next, err := config.New(cluster, snap.Position, snap.Documents)
	if err != nil {
		return err
	}
	view := l.view.Load()
	if view != nil {
		if err := follows(view.Position(), snap.Position); err != nil {
			return err
		}
	}
	if from.source != fromMirror {
		if err := l.reflect(ctx, next, nil); err != nil {
			return err
		}
	}
	l.mark(step{view, next, received}, from)
	l.publish(next, difference(view, next), nil, from.source)
	return nil
}

// reflect writes next to the mirror, by changes if they lead there from what it
// holds. After an error nobody knows what it holds, so all of it is written anew.
// It does not stop half-way because a caller has no time.
func (l *ledger) reflect(ctx context.Context, next *config.Snapshot, changes []muster.Change) error {
	if l.closed {
		return errClosed
	}
	if l.mirror == nil {
		return nil
	}
	_, broken := l.origin()
	ctx = context.WithoutCancel(ctx)
	var err error
	if len(changes) > 0 && broken == nil {
		err = l.mirror.Append(ctx, changes, next.Position().Epoch)
	} else {
		err = l.mirror.Replace(ctx, snapshotOf(next))
	}
	l.noteMirror(err)
	if err != nil {
		return fmt.Errorf("write revision %d to the mirror: %w", next.Position().Rev, err)
	}
	return nil
}

// snapshotOf returns what is served in the form of a store.
func snapshotOf(view *config.Snapshot) *store.Snapshot {
	return &store.Snapshot{ClusterID: view.Cluster(), Position: view.Position(), Documents: view.List("")}
}

// close stops the copy where it is: the mirror is about to be closed.
func (l *ledger) close() {
	l.serial.Lock()
	defer l.serial.Unlock()
	l.closed = true
}

// follows reports why a copy must not go from one position to another.
func follows(from, to muster.Position) error {
	switch {
	case to.Epoch < from.Epoch, to.Rev < from.Rev:
		return fmt.Errorf("%s after %s: %w", to, from, errOlder)
	case to.Rev == from.Rev && to.Chain != from.Chain:
		return fmt.Errorf("%s is not %s: %w", to, from, config.ErrChain)
	}
	return nil
}

// publish makes next the served snapshot. News is what subscribers get, history
// what is remembered; nil history means that the past of next is not known.
func (l *ledger) publish(next *config.Snapshot, news, history []muster.Change, source string) {
	at := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remember(next, history)
	l.view.Store(next)
	l.source = source
	close(l.changed)
	l.changed = make(chan struct{})
	if len(news) > 0 {
		l.batches = append(l.batches, Served{at, news})
		signal(l.pending)
	}
}

func (l *ledger) remember(next *config.Snapshot, history []muster.Change) {
	l.recent = append(l.recent, history...)
	for _, c := range history {
		l.size += len(c.Spec)
	}
	if n := len(l.recent); n > 0 && l.recent[n-1].Rev != next.Position().Rev {
		l.recent, l.size = nil, 0
	}
	if len(l.recent) > recentChanges*5/4 || l.size > recentBytes*5/4 {
		l.forget()
	}
}

// forget trims the history to its bounds, into a fresh array: the old one would
// keep what was dropped alive.
func (l *ledger) forget() {
	drop := max(0, len(l.recent)-recentChanges)
	for _, c := range l.recent[:drop] {
		l.size -= len(c.Spec)
	}
	for ; l.size > recentBytes; drop++ {
		l.size -= len(l.recent[drop].Spec)
	}
	l.recent = slices.Clone(l.recent[drop:])
}

// after returns remembered changes after a revision, and whether memory reaches
// back that far.
func (l *ledger) after(rev int64, limit int) ([]muster.Change, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.position().Rev
	if l.view.Load() != nil && rev >= at {
		return nil, true
	}
	if len(l.recent) == 0 || rev < l.recent[0].Rev-1 {
		return nil, false
	}
	start := int(rev - l.recent[0].Rev + 1)
	end := min(start+limit, len(l.recent))
	return l.recent[start:end:end], true
}

func (l *ledger) takePending() []Served {
	l.mu.Lock()
	defer l.mu.Unlock()
	batches := l.batches
	l.batches = nil
	return batches
}

func (l *ledger) noteMirror(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mirrored = err
}

// origin returns where the copy came from last and why the mirror does not follow.
func (l *ledger) origin() (source string, mirror error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source, l.mirrored
}

// difference returns what changed between two snapshots, for subscribers.
func difference(from, to *config.Snapshot) []muster.Change {
	var changes []muster.Change
	for _, doc := range to.List("") {
		if from != nil {
			if old, ok := from.Get(doc.Kind, doc.Name); ok && old.Rev == doc.Rev {
				continue
			}
		}
		changes = append(changes, putOf(doc))
	}
	if from == nil {
		return changes
	}
	for _, doc := range from.List("") {
		if _, ok := to.Get(doc.Kind, doc.Name); !ok {
			changes = append(changes, muster.Change{Rev: to.Position().Rev, Op: muster.OpDelete, Kind: doc.Kind, Name: doc.Name})
		}
	}
	slices.SortStableFunc(changes, func(a, b muster.Change) int {
		if a.Rev != b.Rev {
			return int(a.Rev - b.Rev)
		}
		return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name)
	})
	return changes
}

func putOf(doc muster.Document) muster.Change {
	return muster.Change{
		Rev: doc.Rev, Op: muster.OpPut, Kind: doc.Kind, Name: doc.Name, Spec: doc.Spec,
		Generation: doc.Generation, CreatedRev: doc.CreatedRev,
		Actor: doc.UpdatedBy, Reason: doc.Reason, At: doc.UpdatedAt,
	}
}

// loadMirror serves what the node's own disk holds, until something newer comes.
func (r *Replica) loadMirror(ctx context.Context) {
	if r.cfg.Mirror == nil {
		return
	}
	snap, err := r.cfg.Mirror.Load(ctx)
	if err == nil && snap != nil {
		err = r.copy.replace(ctx, r.cfg.Cluster(), snap, origin{source: fromMirror})
	}
	if err != nil {
		r.log.Error("mirror is not usable, starting without it", "error", err)
		return
	}
	if snap != nil {
		r.log.Info("configuration loaded from the mirror", "position", snap.Position.String(), "documents", len(snap.Documents))
	}
}

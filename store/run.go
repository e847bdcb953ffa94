package store

import (
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

// Tx is what Run needs of an open transaction. Its methods fail only when the
// transaction as a whole must be abandoned.
type Tx interface {
	Document(kind, name string) (*muster.Document, error) // nil if there is none
	ChangeOf(requestID string) (*muster.Change, error)    // nil if there is none
	Record(c muster.Change, doc *muster.Document) error   // doc is nil for a delete
}

// Run is Apply for stores that decide in this process: it runs writes within tx,
// which is at head, and returns the outcomes and the head after them.
func Run(tx Tx, head muster.Position, now time.Time, writes []Write) ([]Outcome, muster.Position, error) {
	outcomes := make([]Outcome, 0, len(writes))
	for _, group := range Groups(writes) {
		r := run{tx: tx, head: head, now: now.UTC().Truncate(time.Microsecond), docs: make(map[[2]string]*muster.Document)}
		results, err := r.group(group)
		if err != nil {
			return nil, head, err
		}
		outcomes, head = append(outcomes, results...), r.head
	}
	return outcomes, head, nil
}

// run stages the writes of one group and records them once all are accepted.
type run struct {
	tx      Tx
	head    muster.Position
	now     time.Time
	changes []*muster.Change
	after   []*muster.Document             // what each change leaves; nil = deleted
	docs    map[[2]string]*muster.Document // the newest of these
}

func (r *run) group(writes []Write) ([]Outcome, error) {
	before := r.head
	outcomes := make([]Outcome, len(writes))
	for i, w := range writes {
		var err error
		if outcomes[i], err = r.write(w); err != nil {
			return nil, err
		}
		if outcomes[i].Err != nil {
			r.head = before
			Refuse(writes, outcomes, i)
			return outcomes, nil
		}
	}
	for i, c := range r.changes {
		if err := r.tx.Record(*c, r.after[i]); err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

func (r *run) write(w Write) (Outcome, error) {
	if err := w.Check(); err != nil {
		return Outcome{Err: err}, nil
	}
	if first, err := r.repeated(w.RequestID); first != nil || err != nil {
		return Outcome{Change: first, Repeated: true}, err
	}
	current, err := r.current(w.Kind, w.Name)
	if err != nil {
		return Outcome{}, err
	}
	if refusal := w.Decide(current); refusal != nil {
		return Outcome{Err: refusal, Current: current}, nil
	}
	return Outcome{Change: r.stage(w, current)}, nil
}

func (r *run) repeated(requestID string) (*muster.Change, error) {
	if requestID == "" {
		return nil, nil
	}
	for _, c := range r.changes {
		if c.RequestID == requestID {
			return c, nil
		}
	}
	return r.tx.ChangeOf(requestID)
}

func (r *run) current(kind, name string) (*muster.Document, error) {
	if doc, staged := r.docs[[2]string{kind, name}]; staged {
		return doc, nil
	}
	return r.tx.Document(kind, name)
}

func (r *run) stage(w Write, current *muster.Document) *muster.Change {
	c := &muster.Change{
		Rev: r.head.Rev + 1, Op: w.Op, Kind: w.Kind, Name: w.Name, Spec: w.Spec,
		Actor: w.Actor, Node: w.Node, Reason: w.Reason, RequestID: w.RequestID, At: r.now,
	}
	if w.Op == muster.OpPut {
		c.Digest = config.DigestOf(w.Spec)
	}
	c.Chain = config.Next(r.head.Chain, *c)
	doc := new(config.DocumentOf(*c, current))
	c.Generation, c.CreatedRev = doc.Generation, doc.CreatedRev
	if w.Op == muster.OpDelete {
		doc = nil
	}
	r.head.Rev, r.head.Chain = c.Rev, c.Chain
	r.changes, r.after = append(r.changes, c), append(r.after, doc)
	r.docs[[2]string{w.Kind, w.Name}] = doc
	return c
}

package store

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

// maxNote bounds the texts that travel with a write, in bytes.
const maxNote = 1024

// Check reports what is wrong with a write, whatever the store holds. Every
// implementation asks it first, so that all refuse the same.
func (w Write) Check() *muster.Error {
	if err := w.checkNames(); err != nil {
		return muster.Errorf(muster.CodeBadDocument, "write of %s: %s", w.subject(), err)
	}
	if w.Op == muster.OpDelete {
		return nil
	}
	if len(w.Spec) > muster.MaxSpec {
		return muster.Errorf(muster.CodeTooLarge, "write of %s: the specification has %d bytes, the limit is %d", w.subject(), len(w.Spec), muster.MaxSpec)
	}
	_, err := config.Canonical(w.Spec)
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return muster.Errorf(e.Code, "write of %s: %s", w.subject(), e.Text)
	}
	return nil
}

func (w Write) checkNames() error {
	if err := muster.CheckName(w.Kind); err != nil {
		return fmt.Errorf("kind: %w", err)
	}
	if err := muster.CheckName(w.Name); err != nil {
		return err
	}
	for _, text := range []string{w.Actor, string(w.Node), w.Reason, w.RequestID} {
		if !isNote(text) {
			return fmt.Errorf("actor, node, reason and request id are texts of at most %d bytes", maxNote)
		}
	}
	switch {
	case w.Expect < Any:
		return fmt.Errorf("expected revision %d", w.Expect)
	case w.Op == muster.OpDelete && w.Spec != nil:
		return fmt.Errorf("a delete has no specification")
	case w.Op != muster.OpPut && w.Op != muster.OpDelete:
		return fmt.Errorf("unknown operation %d", w.Op)
	}
	return nil
}

func (w Write) subject() string { return muster.Printable(w.Kind + "/" + w.Name) }

// Decide reports why a write may not happen to the document on record, which is
// nil if there is none.
func (w Write) Decide(current *muster.Document) *muster.Error {
	switch {
	case current == nil && w.Op == muster.OpDelete:
		return muster.Errorf(muster.CodeNotFound, "%s does not exist", w.subject())
	case w.Expect == Any:
		return nil
	case current == nil && w.Expect > 0:
		return muster.Errorf(muster.CodeConflict, "%s does not exist; the write expects revision %d", w.subject(), w.Expect)
	case current != nil && w.Expect == 0:
		return muster.Errorf(muster.CodeConflict, "%s exists already, at revision %d", w.subject(), current.Rev)
	case current != nil && w.Expect != current.Rev:
		return muster.Errorf(muster.CodeConflict, "%s is at revision %d; the write expects %d", w.subject(), current.Rev, w.Expect)
	}
	return nil
}

// Refuse makes the outcomes of a group one of whose writes was refused: the
// others get an error of the same code that names it.
func Refuse(group []Write, outcomes []Outcome, refused int) {
	cause := outcomes[refused].Err
	for i := range group {
		if i != refused {
			outcomes[i] = Outcome{Err: muster.Errorf(cause.Code, "%s%s%s", group[i].subject(), bystander, cause.Text)}
		}
	}
}

const bystander = " was not written, since its group was refused: "

// Bystander reports whether a write was refused only because another one of its group
// was.
func (o Outcome) Bystander(w Write) bool {
	return o.Err != nil && strings.HasPrefix(o.Err.Text, w.subject()+bystander)
}

// Groups cuts writes into the runs that are applied all or none.
func Groups(writes []Write) [][]Write {
	var groups [][]Write
	for start := 0; start < len(writes); {
		end := start + 1
		for writes[start].Group != "" && end < len(writes) && writes[end].Group == writes[start].Group {
			end++
		}
		groups = append(groups, writes[start:end])
		start = end
	}
	return groups
}

// CheckBatch reports a call of Apply that no store accepts.
func CheckBatch(writes []Write) error {
	if len(writes) > MaxBatch {
		return muster.Errorf(muster.CodeBadRequest, "%d writes in one call, the limit is %d", len(writes), MaxBatch)
	}
	return nil
}

// CheckForm reports an identity that no cluster can have.
func CheckForm(id muster.ClusterID) error {
	if !id.Valid() {
		return muster.Errorf(muster.CodeBadRequest, "%q is not a cluster identity", muster.Printable(string(id)))
	}
	return nil
}

// Limit returns the number of changes to answer when limit are asked for.
func Limit(limit int) int {
	if limit <= 0 || limit > MaxChanges {
		return MaxChanges
	}
	return limit
}

// Bounds returns p with every field set: what 0 stands for is spelled out.
func (p Past) Bounds() Past {
	most := MaxChanges
	if p.Specs {
		most = MaxSpecs
	}
	if p.Limit <= 0 || p.Limit > most {
		p.Limit = most
	}
	if p.Before <= 0 {
		p.Before = math.MaxInt64
	}
	return p
}

// Wants reports whether a change fits.
func (p Past) Wants(c muster.Change) bool {
	return (p.Before <= 0 || c.Rev < p.Before) && (p.Kind == "" || c.Kind == p.Kind) && (p.Name == "" || c.Name == p.Name)
}

// Check reports a member that no store can hold.
func (m Member) Check() error {
	if !m.ID.Valid() {
		return muster.Errorf(muster.CodeBadRequest, "%q is not a node identity", muster.Printable(string(m.ID)))
	}
	for _, text := range []string{m.Name, m.Endpoint, string(m.Role), m.Version, m.Zone, string(m.State)} {
		if !isNote(text) {
			return muster.Errorf(muster.CodeBadRequest, "member %s has a text that is not printable or longer than %d bytes", m.ID.Short(), maxNote)
		}
	}
	return nil
}

func isNote(text string) bool {
	return len(text) <= maxNote && utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}

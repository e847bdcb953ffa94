package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// reaskPause is the first pause before asking again for a lost answer; it doubles.
const reaskPause = 50 * time.Millisecond

// Apply sends the writes to the first target that takes them. It goes on to the
// next one only when the writes surely were not applied. When an answer is lost
// on the way it asks again: each write has a request id (one is made if it has
// none), so the store answers with the first outcome and applies nothing twice.
// If nobody tells in time, the error is CodeOutcomeUnknown.
func (s *Store) Apply(ctx context.Context, writes []store.Write) ([]store.Outcome, error) {
	if err := store.CheckBatch(writes); err != nil {
		return nil, err
	}
	outcomes, send, places := precheck(writes)
	if len(send) == 0 {
		return outcomes, nil
	}
	body, err := marshal(send)
	if err != nil {
		return nil, muster.Errorf(muster.CodeInternal, "encode writes: %w", err)
	}
	ctx, end := s.begin(ctx, s.cfg.Timeout)
	defer end()
	a := application{s: s, count: len(send)}
	a.req = request{method: http.MethodPost, path: "apply", body: body, limit: maxApplyBody}
	answered, err := a.run(ctx)
	if err != nil {
		return nil, err
	}
	for i, o := range answered {
		outcomes[places[i]] = o
	}
	return outcomes, nil
}

// precheck refuses here what cannot cross the wire unharmed, such as a
// specification that is not JSON, by the rules of every store. It returns the
// writes to send, each with a request id, and their places among all outcomes.
func precheck(writes []store.Write) (outcomes []store.Outcome, send []store.Write, places []int) {
	outcomes = make([]store.Outcome, len(writes))
	first := 0
	for n, group := range store.Groups(writes) {
		if !refused(group, outcomes[first:first+len(group)]) {
			for i, w := range group {
				if w.RequestID == "" {
					w.RequestID = muster.NewUUID()
				}
				if w.Group != "" {
					w.Group = strconv.Itoa(n) // so that a refused group between two others joins them not
				}
				send, places = append(send, w), append(places, first+i)
			}
		}
		first += len(group)
	}
	return outcomes, send, places
}

// refused checks a group and fills its outcomes if it is refused.
func refused(group []store.Write, outcomes []store.Outcome) bool {
	for i, w := range group {
		if err := w.Check(); err != nil {
			outcomes[i].Err = err
			store.Refuse(group, outcomes, i)
			return true
		}
	}
	return false
}

// application is one Apply on its way from target to target.
type application struct {
	s     *Store
	req   request
	count int
	lost  error // a target may have applied the writes, and its answer is missing
	last  error
}

func (a *application) run(ctx context.Context) ([]store.Outcome, error) {
	for pause := reaskPause; ; pause *= 2 {
		targets := a.s.cfg.Targets()
		for i, target := range targets {
			outcomes, err := a.once(ctx, target, len(targets)-i)
			if err == nil {
				return outcomes, nil
			}
			if a.note(target, err) {
				return nil, a.verdict(err)
			}
		}
		if a.lost == nil {
			return nil, a.s.down(ctx, targets, a.last)
		}
		if !sleep(ctx, pause) {
			return nil, a.verdict(a.lost)
		}
	}
}

// once asks one target. It leaves time for asking again.
func (a *application) once(ctx context.Context, t Target, left int) ([]store.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, &failure{target: t, err: context.Cause(ctx)}
	}
	patience := a.s.cfg.Timeout / time.Duration(min(left+1, 4))
	return exchange(ctx, exchangeArgs{t, a.req, patience}, a.decode)
}

func (a *application) decode(r io.Reader) ([]store.Outcome, error) {
	outcomes, err := decodeOutcomes(r)
	if err == nil && len(outcomes) != a.count {
		err = fmt.Errorf("%d outcomes for %d writes", len(outcomes), a.count)
	}
	return outcomes, err
}

// note remembers what an attempt proved, and reports whether it was decisive.
func (a *application) note(t Target, err error) bool {
	a.last = telling(a.last, err)
	failed, isFailure := errors.AsType[*failure](err)
	switch {
	case isFailure && failed.sent, errors.Is(err, &muster.Error{Code: muster.CodeOutcomeUnknown}):
		a.lost = err
		a.s.cfg.Log.Warn("answer to a write was lost, asking again", "target", t.ID, "error", err)
		return false
	default:
		return decisive(err)
	}
}

// verdict is err, unless an earlier attempt may have applied the writes.
func (a *application) verdict(err error) error {
	if a.lost == nil {
		return err
	}
	return muster.Errorf(muster.CodeOutcomeUnknown, "the answer to the write was lost: %w", a.lost)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

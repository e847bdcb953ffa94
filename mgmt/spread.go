package mgmt

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api/server"
)

// Spread is what the surface asks of the node about how far revisions have come in the
// cluster.
type Spread interface {
	// Confirm asks the members of the durable list whether they serve a revision,
	// until enough of them do, nobody is left to ask, or ctx ends.
	Confirm(ctx context.Context, at muster.Position, wait muster.Wait) muster.Confirmation
	// Trace returns how a revision came to each member.
	Trace(ctx context.Context, rev int64) (muster.Trace, error)
	// Drift returns what each member serves.
	Drift(ctx context.Context) (muster.Drift, error)
}

func noSpread() error {
	return muster.Errorf(muster.CodeNotFound, "this node knows of no other members")
}

// confirmWait is how long a write waits for the members, unless the caller says.
const confirmWait = 5 * time.Second

// writePatience is for whom a write waits, and how long.
type writePatience struct {
	wait muster.Wait
	most time.Duration
}

// readPatience reads ?wait of a write, and Prefer.
func readPatience(wait, prefer *string) (p writePatience, err error) {
	switch p.wait = muster.Wait(or(wait, string(muster.WaitNone))); p.wait {
	case muster.WaitNone, muster.WaitQuorum, muster.WaitAll:
	default:
		return p, badField("wait", "want all, quorum or none")
	}
	p.most, err = preferred(prefer, confirmWait)
	return p, err
}

// preferred reads Prefer: wait=N (RFC 7240). Other preferences are not ours.
func preferred(header *string, otherwise time.Duration) (time.Duration, error) {
	for part := range strings.SplitSeq(or(header, ""), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 32)
		if err != nil {
			return 0, badField("Prefer", "want wait=N with whole seconds")
		}
		return min(time.Duration(seconds)*time.Second, maxWait), nil
	}
	return otherwise, nil
}

// confirmed is the outcome of a wait, in the form of headers; nil without one.
type confirmed struct{ waited, confirmed, lagging, dead *string }

// confirm waits until the members serve a change that this node has made. The change
// is durable whatever comes of it.
func (h *handlers) confirm(ctx context.Context, change *muster.Change, p writePatience) (out confirmed) {
	if p.wait == muster.WaitNone || h.cfg.Spread == nil {
		return out
	}
	at := muster.Position{Epoch: h.cfg.Config.View().Position().Epoch, Rev: change.Rev, Chain: change.Chain}
	held, cancel := h.hold(ctx, p.most)
	defer cancel()
	c := h.cfg.Spread.Confirm(held, at, p.wait)
	word := "confirmed"
	if !c.Met {
		word = "partial"
	}
	scopeOf(ctx).note("wait", string(p.wait), "waited", word)
	names := func(list []string) *string { return new(strings.Join(list, ",")) }
	return confirmed{&word, names(c.Confirmed), names(c.Lagging), names(c.Dead)}
}

// TraceRevision answers how a revision came to each member.
func (h *handlers) TraceRevision(ctx context.Context, q server.TraceRevisionRequestObject) (server.TraceRevisionResponseObject, error) {
	if h.cfg.Spread == nil {
		return nil, noSpread()
	}
	if q.Rev < 1 {
		return nil, badField("rev", "want a revision, 1 or more")
	}
	t, err := h.cfg.Spread.Trace(ctx, q.Rev)
	return server.TraceRevision200JSONResponse(t), err
}

// GetDrift answers what each member serves.
func (h *handlers) GetDrift(ctx context.Context, _ server.GetDriftRequestObject) (server.GetDriftResponseObject, error) {
	if h.cfg.Spread == nil {
		return nil, noSpread()
	}
	d, err := h.cfg.Spread.Drift(ctx)
	return server.GetDrift200JSONResponse(d), err
}

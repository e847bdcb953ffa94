package mgmt

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
)

// Values of ?scope.
const (
	scopeNode    = "node"
	scopeCluster = "cluster"
)

// gatherEvery is how often the other members are asked for a stream or a long poll.
const gatherEvery = time.Second

// ListEvents answers with a stream, or with what has happened.
func (h *handlers) ListEvents(ctx context.Context, q server.ListEventsRequestObject) (server.ListEventsResponseObject, error) {
	wait, err := waiting(q.Params.Wait)
	if err != nil {
		return nil, err
	}
	t, err := h.teller(q.Params)
	if err != nil {
		return nil, err
	}
	s := scopeOf(ctx)
	if q.Params.Wait != nil || strings.HasPrefix(s.r.Header.Get("Accept"), "application/json") {
		return server.ListEvents200JSONResponse(t.answer(ctx, wait)), nil
	}
	return reply(func(w http.ResponseWriter) error {
		t.stream(ctx, w)
		return nil
	}), nil
}

// teller tells one caller what happens.
type teller struct {
	*API

	query   muster.EventQuery
	cluster bool
	missing []string // that the caller of a stream knows of
}

func (a *API) teller(p api.ListEventsParams) (*teller, error) {
	t := &teller{API: a, query: muster.EventQuery{Kind: or(p.Kind, ""), Member: or(p.Member, ""), Limit: maxPage}}
	var err error
	if t.query.After, err = muster.ParseEventCursor(or(p.LastEventID, or(p.After, ""))); err != nil {
		return nil, badField("after", "want the id of an event, or the next of an earlier answer")
	}
	if t.query.Since, err = sinceWhen(or(p.Since, "")); err != nil {
		return nil, err
	}
	if t.query.Limit, err = limited(p.Limit); err != nil {
		return nil, err
	}
	switch or(p.Scope, scopeNode) {
	case scopeNode:
	case scopeCluster:
		t.cluster = a.cfg.ClusterEvents != nil
	default:
		return nil, badField("scope", "want node or cluster")
	}
	return t, nil
}

// sinceWhen reads ?since: a duration before now, or a time.
func sinceWhen(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, badField("since", "want a duration like 10m, or a time like 2006-01-02T15:04:05Z")
	}
	return time.Now().Add(-d), nil
}

// page returns the next events, moves behind them, and says when to ask again: at
// the next event here, and now and then if other members are asked too.
func (t *teller) page(ctx context.Context) (muster.EventPage, <-chan struct{}, <-chan time.Time) {
	page, more := t.cfg.Events.Events(t.query)
	var again <-chan time.Time
	if t.cluster {
		page = t.cfg.ClusterEvents(ctx, t.query)
		again, more = time.After(gatherEvery), nil // an event here may be one of a burst everywhere
	}
	t.query.After, _ = muster.ParseEventCursor(page.Next) // our own words
	return page, more, again
}

// answer returns the next events, waiting for one if there is none.
func (t *teller) answer(ctx context.Context, wait time.Duration) muster.EventPage {
	ctx, cancel := t.hold(ctx, wait)
	defer cancel()
	for first := true; ; first = false {
		asking := ctx
		if first {
			asking = context.WithoutCancel(ctx) // without a wait too
		}
		page, more, again := t.page(asking)
		if len(page.Events) > 0 || len(page.Gaps) > 0 || wait == 0 {
			return page
		}
		select {
		case <-more:
		case <-again:
		case <-ctx.Done():
			return page
		}
	}
}

// stream sends events until the viewer goes, the credential ends or the node shuts
// down.
func (t *teller) stream(ctx context.Context, w http.ResponseWriter) {
	s := scopeOf(ctx)
	out := t.startStream(w)
	if s.r.Method == http.MethodHead {
		return
	}
	t.metrics.streams.Inc()
	defer t.metrics.streams.Dec()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	at := muster.EventCursor{}
	for _, id := range t.query.After {
		at.Advance(id)
	}
	for {
		page, more, again := t.page(ctx)
		if t.send(out, at, page) != nil {
			return
		}
		if page.More {
			continue
		}
		select {
		case <-more:
		case <-again:
		case <-beat.C:
			out.comment("still here")
		case <-ctx.Done():
			return
		case <-t.life.Done():
			out.bye("draining")
			return
		}
		if !t.admitted(out, s.caller) {
			return
		}
	}
}

// send writes a page: each gap before the event that it precedes. at is where the
// viewer stands.
func (t *teller) send(out *stream, at muster.EventCursor, page muster.EventPage) error {
	if !slices.Equal(page.Missing, t.missing) {
		t.missing = page.Missing
		if err := out.event("missing", "", map[string][]string{"missing": page.Missing}); err != nil {
			return err
		}
	}
	gaps, reached := page.Gaps, positions(page.Events)
	for i, e := range page.Events {
		var later []muster.EventGap
		for _, g := range gaps {
			if !notAfter(g.Before, e) {
				later = append(later, g)
			} else if err := out.event("gap", "", g); err != nil {
				return err
			}
		}
		gaps = later
		at.Advance(reached[i])
		if err := sendEvent(out, string(e.Kind), at.String(), e); err != nil {
			return err
		}
	}
	for _, g := range gaps {
		if err := out.event("gap", "", g); err != nil {
			return err
		}
	}
	return out.flush()
}

// positions returns for each event how far a viewer has come with its node. By the
// clock a node's events need not come in the order of their numbers: who resumes
// must not miss a lower number that is yet to come.
func positions(events []muster.Event) []muster.EventID {
	reached := make([]muster.EventID, len(events))
	lowest := map[string]muster.EventID{} // of those behind, by node
	for i, e := range slices.Backward(events) {
		id, _ := muster.ParseEventID(e.ID)
		if low, some := lowest[id.Node]; !some || id.Compare(low) < 0 {
			lowest[id.Node], reached[i] = id, id
		}
	}
	return reached
}

// notAfter reports whether an id is not that of a later event of the same node.
func notAfter(id string, e muster.Event) bool {
	before, err1 := muster.ParseEventID(id)
	own, err2 := muster.ParseEventID(e.ID)
	return err1 == nil && err2 == nil && before.Node == own.Node && before.Compare(own) <= 0
}

// maxPending bounds what is gathered before it is sent.
const maxPending = 64 << 10

// sendEvent appends an event, and sends when there is much to send.
func sendEvent(out *stream, name, id string, e muster.Event) error {
	if err := out.event(name, id, e); err != nil {
		return err
	}
	if out.buf.Len() < maxPending {
		return nil
	}
	return out.flush()
}

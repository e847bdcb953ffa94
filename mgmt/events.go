package mgmt

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
)

// ListEvents answers with a stream, or with what has happened.
func (h *handlers) ListEvents(ctx context.Context, q server.ListEventsRequestObject) (server.ListEventsResponseObject, error) {
	wait, err := waiting(q.Params.Wait)
	if err != nil {
		return nil, err
	}
	s := scopeOf(ctx)
	after := h.eventSeq(or(q.Params.LastEventID, or(q.Params.After, "")))
	if q.Params.Wait != nil || strings.HasPrefix(s.r.Header.Get("Accept"), "application/json") {
		return server.ListEvents200JSONResponse(h.eventsAfter(ctx, after, wait)), nil
	}
	return reply(func(w http.ResponseWriter) error {
		h.streamEvents(ctx, w, after)
		return nil
	}), nil
}

// eventsAfter returns the events after seq, waiting for one if there is none.
func (a *API) eventsAfter(ctx context.Context, seq uint64, wait time.Duration) api.EventList {
	events, more := a.cfg.Events.After(seq)
	if len(events) == 0 && wait > 0 {
		a.untilClosed(ctx, more, wait)
		events, _ = a.cfg.Events.After(seq)
	}
	list := api.EventList{Events: orEmpty(events), Next: a.eventID(seq)}
	if n := len(events); n > 0 {
		list.Next = a.eventID(events[n-1].Seq)
	}
	return list
}

// streamEvents sends events until the viewer goes, the credential ends or the node
// shuts down.
func (a *API) streamEvents(ctx context.Context, w http.ResponseWriter, seq uint64) {
	s := scopeOf(ctx)
	out := a.startStream(w)
	if s.r.Method == http.MethodHead {
		return
	}
	a.metrics.streams.Inc()
	defer a.metrics.streams.Dec()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		events, more := a.cfg.Events.After(seq)
		for _, e := range events {
			if err := a.sendEvent(out, string(e.Kind), e); err != nil {
				return
			}
			seq = e.Seq
		}
		if out.flush() != nil {
			return
		}
		select {
		case <-more:
		case <-beat.C:
			out.comment("still here")
		case <-ctx.Done():
			return
		case <-a.life.Done():
			out.bye("draining")
			return
		}
		if !a.admitted(out, s.caller) {
			return
		}
	}
}

// maxPending bounds what is gathered before it is sent.
const maxPending = 64 << 10

// sendEvent appends an event, and sends when there is much to send.
func (a *API) sendEvent(out *stream, name string, e muster.Event) error {
	if err := out.event(name, a.eventID(e.Seq), e); err != nil {
		return err
	}
	if out.buf.Len() < maxPending {
		return nil
	}
	return out.flush()
}

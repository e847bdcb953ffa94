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

// Topics of a watch.
const (
	topicStatus  = "status"
	topicMembers = "members"
	topicConfig  = "config"
	topicEvents  = "events"
)

const (
	watchEvery   = time.Second // at most one round of events per viewer
	watchHistory = 100         // events that a new viewer gets at first
)

// Watch streams what the dashboard shows.
func (h *handlers) Watch(ctx context.Context, q server.WatchRequestObject) (server.WatchResponseObject, error) {
	topics, err := readTopics(or(q.Params.Topics, ""))
	if err != nil {
		return nil, err
	}
	return reply(func(w http.ResponseWriter) error {
		v := &viewer{API: h.API, scope: scopeOf(ctx), topics: topics, out: h.startStream(w)}
		v.seen, _ = muster.ParseEventCursor(or(q.Params.LastEventID, "")) // what is no position is the beginning
		if v.scope.r.Method == http.MethodHead {
			return nil
		}
		h.metrics.streams.Inc()
		defer h.metrics.streams.Dec()
		v.run(ctx)
		return nil
	}), nil
}

// readTopics reads ?topics; none means all.
func readTopics(list string) ([]string, error) {
	all := []string{topicStatus, topicMembers, topicConfig, topicEvents}
	topics := separate([]string{list})
	for _, t := range topics {
		if !slices.Contains(all, t) {
			return nil, badField("topics", "want some of "+strings.Join(all, ", "))
		}
	}
	if len(topics) == 0 {
		return all, nil
	}
	return topics, nil
}

// viewer is one open watch. It keeps what it has sent last and sends the
// difference; however slow it is, it misses nothing but what has been overtaken.
type viewer struct {
	*API

	scope  *scope
	topics []string
	out    *stream
	sent   *frame             // nil: nothing yet
	seen   muster.EventCursor // the events that were sent
	spoke  time.Time
}

func (v *viewer) wants(topic string) bool { return slices.Contains(v.topics, topic) }

// run sends until the viewer goes, the credential ends or the node shuts down.
func (v *viewer) run(ctx context.Context) {
	if v.greet() != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		changed := v.cfg.Node.Changed()
		more, err := v.round()
		if err != nil || !v.pause(ctx, either{changed, more}, beat.C) || !v.admitted(v.out, v.scope.caller) {
			return
		}
	}
}

// greet says who answers.
func (v *viewer) greet() error {
	s := v.cfg.Node.Status()
	return v.out.event("hello", "", api.WatchHello{
		ClusterID: string(s.ClusterID), NodeID: string(v.cfg.NodeID), Node: s.LocalNode,
		Version: v.cfg.Version, At: time.Now().UTC(), Topics: v.topics,
	})
}

// round sends what is new, and returns a channel that is closed when there are
// more events.
func (v *viewer) round() (more <-chan struct{}, err error) {
	if err := v.sendFrame(v.frames.now()); err != nil {
		return nil, err
	}
	if v.wants(topicEvents) {
		if more, err = v.sendEvents(); err != nil {
			return nil, err
		}
	}
	if v.out.buf.Len() > 0 {
		v.spoke = time.Now()
	}
	return more, v.out.flush()
}

// sendEvents sends those that are new; a new viewer gets the newest ones first.
func (v *viewer) sendEvents() (<-chan struct{}, error) {
	query := muster.EventQuery{After: v.seen}
	if len(v.seen) == 0 {
		query.Limit = watchHistory
	}
	page, more := v.cfg.Events.Events(query)
	v.seen, _ = muster.ParseEventCursor(page.Next) // our own words
	for _, e := range page.Events {
		if err := sendEvent(v.out, "event", e.ID, e); err != nil {
			return nil, err
		}
	}
	return more, nil
}

// sendFrame sends the whole frame first, then what differs.
func (v *viewer) sendFrame(f *frame) error {
	defer func() { v.sent = f }()
	if v.sent == nil {
		return v.out.event("snapshot", "", f.snapshot(v.wants))
	}
	if patch := f.since(v.sent, v.wants); len(patch) > 0 {
		return v.out.event("patch", "", patch)
	}
	return nil
}

// either is what may end a pause early.
type either struct{ changed, more <-chan struct{} }

// pause waits for the next round and sends the heartbeat meanwhile. The next round
// is due after watchEvery, since verdicts that follow from clocks announce
// nothing, or at once if something happens to a viewer who has heard nothing for
// that long. It returns false when the stream is to end.
func (v *viewer) pause(ctx context.Context, early either, beat <-chan time.Time) bool {
	if time.Since(v.spoke) < watchEvery {
		early = either{}
	}
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-early.changed:
			return true
		case <-early.more:
			return true
		case <-beat:
			if !v.alive() {
				return false
			}
		case <-ctx.Done():
			return false
		case <-v.life.Done():
			v.out.bye("draining")
			return false
		}
	}
}

// alive sends the heartbeat, if the credential is still good.
func (v *viewer) alive() bool {
	if !v.admitted(v.out, v.scope.caller) {
		return false
	}
	v.out.comment("still here")
	return v.out.flush() == nil
}

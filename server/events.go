package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/journal"
)

// eventsPath answers other members with this node's events.
const eventsPath = "/peer/v1/events"

const (
	eventsTimeout = 2 * time.Second
	maxEventPage  = 4 << 20 // bytes of one member's answer
	eventsAtOnce  = 16      // members that are asked at the same time
	maxEventLimit = 1000    // events of one member's answer
)

func (n *node) openJournal() (err error) {
	dir := n.cfg.DataDir
	if n.cfg.OpenState != nil {
		dir = "" // whoever keeps the state elsewhere has no directory for us
	}
	n.journal, err = journal.Open(journal.Config{
		Node: n.self.ID, Name: n.self.Name, Boot: n.self.Boot.Counter, Dir: dir, Log: n.log, Metrics: n.cfg.Metrics,
	})
	return err
}

// record takes an event down and logs it: one line, with the kind as its name.
func (n *node) record(level slog.Level, message string, e muster.Event, attrs ...any) {
	e = n.journal.Add(e)
	attrs = append([]any{"event", string(e.Kind), "event_id", e.ID}, attrs...)
	n.log.Log(context.Background(), level, message, attrs...)
}

// serveEvents answers another member.
func (n *node) serveEvents(w http.ResponseWriter, r *http.Request) {
	q, err := readEventQuery(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	page, _ := n.journal.Events(q)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(page) // the caller is gone if it fails
}

func readEventQuery(v url.Values) (q muster.EventQuery, err error) {
	q.Kind, q.Member = v.Get("kind"), v.Get("member")
	if q.After, err = muster.ParseEventCursor(v.Get("after")); err != nil {
		return q, err
	}
	if since := v.Get("since"); since != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return q, err
		}
	}
	limit, err := strconv.Atoi(v.Get("limit"))
	q.Limit = min(max(limit, 1), maxEventLimit)
	return q, err
}

func writeEventQuery(q muster.EventQuery, of muster.NodeID) string {
	after := muster.EventCursor{}
	after.Advance(q.After[of.Short()])
	v := url.Values{
		"after": {after.String()}, "kind": {q.Kind}, "member": {q.Member}, "limit": {strconv.Itoa(min(q.Limit, maxEventLimit))},
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return eventsPath + "?" + v.Encode()
}

// clusterEvents merges what this node and all live members have seen. Whoever does
// not answer in time, or is down, is named.
func (n *node) clusterEvents(ctx context.Context, q muster.EventQuery) muster.EventPage {
	own, _ := n.journal.Events(q)
	g := gathering{pages: []muster.EventPage{own}}
	slots := make(chan struct{}, eventsAtOnce) // who finds no slot waits
	var asked sync.WaitGroup
	for _, v := range n.gossip.Members() {
		switch {
		case v.Self || v.State == muster.StateLeft:
		case v.State.Gone():
			g.miss(v.Name)
		default:
			asked.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				g.take(v.Name, func() (muster.EventPage, error) { return n.eventsOf(ctx, v, q) })
			})
		}
	}
	asked.Wait()
	return journal.Merge(g.pages, q.After, g.missing)
}

// gathering collects the answers of members.
type gathering struct {
	mu      sync.Mutex
	pages   []muster.EventPage
	missing []string
}

func (g *gathering) miss(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.missing = append(g.missing, name)
}

func (g *gathering) take(name string, ask func() (muster.EventPage, error)) {
	page, err := ask()
	if err != nil {
		g.miss(name)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pages = append(g.pages, page)
}

// eventsOf asks one member for its events.
func (n *node) eventsOf(ctx context.Context, v gossip.View, q muster.EventQuery) (page muster.EventPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, eventsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer"+writeEventQuery(q, v.ID), http.NoBody)
	if err != nil {
		return page, err
	}
	res, err := n.transport(v.ID).RoundTrip(req)
	if err != nil {
		return page, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return page, fmt.Errorf("the member answers %s", muster.Printable(res.Status))
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxEventPage)).Decode(&page); err != nil {
		return page, err
	}
	return page, own(page, v)
}

// own makes a member's page fit to show, and refuses one that speaks for others.
func own(page muster.EventPage, v gossip.View) error {
	short := v.ID.Short()
	for i := range page.Events {
		e := &page.Events[i]
		if id, err := muster.ParseEventID(e.ID); err != nil || id.Node != short || e.Node != v.ID {
			return fmt.Errorf("an event that is not of %s", v.Name)
		}
		e.NodeName, e.Text, e.Subject = v.Name, muster.Printable(e.Text), muster.Printable(e.Subject)
		e.Kind, e.Code = muster.EventKind(muster.Printable(string(e.Kind))), muster.Code(muster.Printable(string(e.Code)))
		e.From, e.To = muster.Printable(e.From), muster.Printable(e.To)
	}
	for i := range page.Gaps {
		g := &page.Gaps[i]
		g.Node, g.Text, g.After, g.Before = v.Name, muster.Printable(g.Text), muster.Printable(g.After), muster.Printable(g.Before)
	}
	next, err := muster.ParseEventCursor(page.Next)
	for node := range next {
		if node != short {
			return fmt.Errorf("a position that is not of %s", v.Name)
		}
	}
	return err
}

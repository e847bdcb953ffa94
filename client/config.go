package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// Any as Write.Expect replaces or deletes whatever is there.
const Any int64 = -1

// Write asks to change one document.
type Write struct {
	Kind, Name string
	Spec       json.RawMessage // of ConfigPut
	Expect     int64           // revision that is to be replaced; 0: there is none yet; Any
	Reason     string          // kept in the history
	Key        string          // Idempotency-Key: a repetition is applied once; optional

	// Wait makes the answer wait until so many members serve the revision; default
	// none. Confirmed, if it is not nil, then gets who does. The write is durable
	// whether or not they do.
	Wait      muster.Wait
	WaitTime  time.Duration // for them, in whole seconds; default: the node's, 5 s
	Confirmed *muster.Confirmation
}

// least is what reads must show.
type least struct {
	rev  int64
	wait time.Duration
}

// AtLeast returns a client whose reads of documents show a revision or a later one:
// with the revision of a write, what was written is read at any node. The node waits
// for it for at most so long, in whole seconds (0: two), then the error has CodeBehind.
func (c *Client) AtLeast(rev int64, wait time.Duration) *Client {
	other := *c
	other.least = least{rev, wait}
	return &other
}

// header is the revision that reads must show; nil if it is all the same.
func (l least) header() *int64 {
	if l.rev <= 0 {
		return nil
	}
	return &l.rev
}

// prefer is the Prefer header for a time to wait; nil for none.
func prefer(d time.Duration) *string {
	if d <= 0 {
		return nil
	}
	return new("wait=" + strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
}

// waiting is the ?wait of a write; nil for none.
func (w Write) waiting() *string { return text(string(w.Wait)) }

// heard takes the headers of an answer to a write.
func (w Write) heard(h http.Header) {
	if w.Confirmed == nil {
		return
	}
	names := func(name string) []string {
		return strings.FieldsFunc(h.Get(name), func(r rune) bool { return r == ',' || r == ' ' })
	}
	*w.Confirmed = muster.Confirmation{
		Met:       h.Get("Muster-Wait") == "confirmed",
		Confirmed: names("Muster-Confirmed"), Lagging: names("Muster-Lagging"), Dead: names("Muster-Dead"),
	}
}

// ConfigGet returns one document.
func (c *Client) ConfigGet(ctx context.Context, kind, name string) (muster.Document, error) {
	var doc muster.Document
	if err := checkNames(kind, name); err != nil {
		return doc, err
	}
	resp, err := c.api.GetConfig(ctx, kind, name, &api.GetConfigParams{MusterMinRevision: c.least.header(), Prefer: prefer(c.least.wait)})
	_, err = c.take(resp, err, &doc)
	return doc, err
}

// ConfigList returns all documents of a kind, or of every kind if it is empty, and
// the revision that they show. A list that spans several answers begins anew when
// the configuration changes in between, so that it shows one revision; after some
// attempts it shows what it got.
func (c *Client) ConfigList(ctx context.Context, kind string) ([]muster.Document, int64, error) {
	if kind != "" {
		if err := checkNames(kind); err != nil {
			return nil, 0, err
		}
	}
	for attempt := 1; ; attempt++ {
		items, rev, steady, err := c.pages(ctx, kind)
		if err != nil || steady || attempt == maxAttempts {
			return items, rev, err
		}
	}
}

const maxAttempts = 5

// pages reads a list to its end, and reports whether all of it shows one revision.
func (c *Client) pages(ctx context.Context, kind string) (items []muster.Document, rev int64, steady bool, err error) {
	steady = true
	for cursor := (*string)(nil); ; {
		list, err := c.page(ctx, kind, cursor)
		if err != nil {
			return nil, 0, false, err
		}
		steady = steady && (cursor == nil || list.Rev == rev)
		items, rev = append(items, list.Items...), list.Rev
		if list.Next == "" {
			return items, rev, steady, nil
		}
		cursor = &list.Next
	}
}

func (c *Client) page(ctx context.Context, kind string, cursor *string) (list api.DocumentList, err error) {
	if kind == "" {
		resp, err := c.api.ListConfig(ctx, &api.ListConfigParams{Cursor: cursor, MusterMinRevision: c.least.header(), Prefer: prefer(c.least.wait)})
		_, err = c.take(resp, err, &list)
		return list, err
	}
	resp, err := c.api.ListConfigKind(ctx, kind, &api.ListConfigKindParams{Cursor: cursor, MusterMinRevision: c.least.header(), Prefer: prefer(c.least.wait)})
	_, err = c.take(resp, err, &list)
	return list, err
}

// ConfigPut creates or replaces a document and returns it with its new revision.
// The error is a *Conflict when something else is there than was expected.
func (c *Client) ConfigPut(ctx context.Context, w Write) (muster.Document, error) {
	var doc muster.Document
	if err := checkNames(w.Kind, w.Name); err != nil {
		return doc, err
	}
	q := &api.PutConfigParams{Reason: text(w.Reason), IdempotencyKey: text(w.Key), IfMatch: condition(w.Expect), Wait: w.waiting(), Prefer: prefer(w.WaitTime)}
	if w.Expect == 0 {
		q.IfMatch, q.IfNoneMatch = nil, new("*")
	}
	resp, err := c.api.PutConfigWithBody(ctx, w.Kind, w.Name, q, "application/json", bytes.NewReader(w.Spec))
	header, err := c.take(resp, err, &doc)
	if err == nil {
		w.heard(header)
	}
	return doc, err
}

// ConfigDelete deletes a document and returns the revision of that change.
func (c *Client) ConfigDelete(ctx context.Context, w Write) (int64, error) {
	if err := checkNames(w.Kind, w.Name); err != nil {
		return 0, err
	}
	q := &api.DeleteConfigParams{Reason: text(w.Reason), IdempotencyKey: text(w.Key), IfMatch: condition(w.Expect), Wait: w.waiting(), Prefer: prefer(w.WaitTime)}
	resp, err := c.api.DeleteConfig(ctx, w.Kind, w.Name, q)
	header, err := c.take(resp, err, nil)
	if err != nil {
		return 0, err
	}
	w.heard(header)
	return revisionOf(header), nil
}

// Changes returns what happened to the configuration after a revision, waiting up
// to wait if nothing has. There may be more: ask again after the last one.
func (c *Client) Changes(ctx context.Context, after int64, wait time.Duration) ([]muster.Change, error) {
	var list api.ChangeList
	resp, err := c.api.ListChanges(ctx, &api.ListChangesParams{After: &after, Wait: duration(wait)})
	_, err = c.take(resp, err, &list)
	return list.Changes, err
}

// condition is the If-Match header for a revision.
func condition(expect int64) *string {
	if expect == Any {
		return new("*")
	}
	return new(`"` + strconv.FormatInt(expect, 10) + `"`)
}

// text is an optional parameter; nil for none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

const (
	// maxEvent bounds one line of a stream.
	maxEvent = 1 << 20
	// maxSilence is three heartbeats of a stream: whoever is quiet for longer is gone.
	maxSilence = 45 * time.Second
)

// EventQuery says which events are wanted; a zero field wants all.
type EventQuery struct {
	After   string        // a Notice's Cursor or a page's Next
	Since   time.Duration // not older than this
	Kind    string        // a kind, or its first words
	Member  string        // name of the member they are about
	Limit   int           // per node
	Cluster bool          // those of all members, not of this node alone
}

// params are the query in the words of the API. A page is asked for at once.
func (q EventQuery) params() *api.ListEventsParams {
	p := &api.ListEventsParams{LastEventID: text(q.After), Kind: text(q.Kind), Member: text(q.Member), Since: duration(q.Since)}
	if q.Cluster {
		p.Scope = new("cluster")
	}
	if q.Limit > 0 {
		p.Limit = new(q.Limit)
	}
	return p
}

// Notice is one thing that a stream of events says; one of the first three is set,
// or none in the first notice, which says that the stream is open.
type Notice struct {
	Event   *muster.Event
	Gap     *muster.EventGap
	Missing []string // names of the members whose events do not come; not nil when they change

	Cursor string // to resume behind this notice
}

// EventPage asks for what has happened.
func (c *Client) EventPage(ctx context.Context, q EventQuery) (page muster.EventPage, err error) {
	resp, err := c.api.ListEvents(ctx, q.params(), accept("application/json"))
	_, err = c.take(resp, err, &page)
	return page, err
}

// Events follows what happens, from the oldest event that is held or from where a
// query says. The sequence ends with an error, io.EOF when the node has ended the
// stream; break out of it or cancel ctx to stop earlier.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[Notice, error] {
	return func(yield func(Notice, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := c.api.ListEvents(ctx, q.params(), accept("text/event-stream"))
		if err == nil && resp.StatusCode == http.StatusOK {
			defer resp.Body.Close()
			quiet := time.AfterFunc(maxSilence, func() { cancel(errSilent) })
			defer quiet.Stop()
			if yield(Notice{Cursor: q.After}, nil) {
				c.follow(heard{resp.Body, quiet}, q.After, yield)
			}
			return
		}
		if _, err = c.take(resp, err, nil); err == nil {
			err = muster.Errorf(muster.CodeNotMuster, "%s answered %s instead of a stream", c.addr, resp.Status)
		}
		yield(Notice{}, err)
	}
}

var errSilent = errors.New("nothing was heard for 45 s")

// heard puts off the end of a stream whenever something comes.
type heard struct {
	io.Reader
	quiet *time.Timer
}

// Read reads, and notes that there is life.
func (h heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		h.quiet.Reset(maxSilence)
	}
	return n, err
}

func accept(media string) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Accept", media)
		return nil
	}
}

// follow yields what a stream says until it ends.
func (c *Client) follow(body io.Reader, cursor string, yield func(Notice, error) bool) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var name, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			cursor = value
		case "event":
			name = value
		case "data":
			data += value
		case "": // the end of an event, or a comment
			if data != "" && name != "bye" && !c.deliver(name, data, cursor, yield) {
				return
			}
			name, data = "", ""
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	} else {
		err = c.unreachable(err)
	}
	yield(Notice{}, err)
}

// deliver decodes and yields one notice.
func (c *Client) deliver(name, data, cursor string, yield func(Notice, error) bool) bool {
	n, err := readNotice(name, data)
	if err != nil {
		yield(Notice{}, muster.Errorf(muster.CodeNotMuster, "an event of %s is not the documented JSON: %w", c.addr, err))
		return false
	}
	n.Cursor = cursor
	return yield(n, nil)
}

func readNotice(name, data string) (n Notice, err error) {
	switch name {
	case "gap":
		err = json.Unmarshal([]byte(data), &n.Gap)
	case "missing":
		said := struct{ Missing []string }{Missing: []string{}}
		err = json.Unmarshal([]byte(data), &said)
		n.Missing = said.Missing
	default:
		err = json.Unmarshal([]byte(data), &n.Event)
	}
	return n, err
}

package client

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
)

// maxEvent bounds one line of a stream.
const maxEvent = 1 << 20

// Event is one event with the id to resume after it.
type Event struct {
	muster.Event

	ID string
}

// Events follows what happens at the node, from after an id, or from the oldest
// event it holds if that is empty. The sequence ends with an error, io.EOF when
// the node has ended the stream; break out of it or cancel ctx to stop earlier.
func (c *Client) Events(ctx context.Context, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		q := &api.ListEventsParams{LastEventID: text(after)}
		resp, err := c.api.ListEvents(ctx, q, accept("text/event-stream"))
		if err == nil && resp.StatusCode == http.StatusOK {
			defer resp.Body.Close()
			c.follow(resp.Body, yield)
			return
		}
		if _, err = c.take(resp, err, nil); err == nil {
			err = muster.Errorf(muster.CodeNotMuster, "%s answered %s instead of a stream", c.addr, resp.Status)
		}
		yield(Event{}, err)
	}
}

func accept(media string) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Accept", media)
		return nil
	}
}

// follow yields the events of a stream until it ends.
func (c *Client) follow(body io.Reader, yield func(Event, error) bool) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var id, name, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data += value
		case "": // the end of an event, or a comment
			if data != "" && name != "bye" && !c.deliver(id, data, yield) {
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
	yield(Event{}, err)
}

// deliver decodes and yields one event.
func (c *Client) deliver(id, data string, yield func(Event, error) bool) bool {
	e := Event{ID: id}
	if err := json.Unmarshal([]byte(data), &e.Event); err != nil {
		yield(Event{}, muster.Errorf(muster.CodeNotMuster, "an event of %s is not the documented JSON: %w", c.addr, err))
		return false
	}
	return yield(e, nil)
}

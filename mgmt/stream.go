package mgmt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	heartbeat   = 15 * time.Second // between comments on a quiet stream
	sendTimeout = 10 * time.Second // for one write; a viewer who takes longer is cut off
)

// stream writes server-sent events (WHATWG HTML, section 9.2) to one viewer.
// Nobody else waits for that viewer.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

// startStream begins the answer. The retry time differs from viewer to viewer, so
// that they do not all come back at once after a restart.
func (a *API) startStream(w http.ResponseWriter) *stream {
	s := &stream{w: w, control: http.NewResponseController(w)}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx
	w.WriteHeader(http.StatusOK)
	fmt.Fprintf(&s.buf, "retry: %d\n\n", 1000+rand.IntN(4000))
	return s
}

// event appends one event to what the next flush sends.
func (s *stream) event(name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write event %s: %w", name, err)
	}
	if id != "" {
		fmt.Fprintf(&s.buf, "id: %s\n", id)
	}
	fmt.Fprintf(&s.buf, "event: %s\ndata: %s\n\n", name, text)
	return nil
}

// comment appends a line that viewers ignore and proxies take for life.
func (s *stream) comment(text string) { fmt.Fprintf(&s.buf, ": %s\n\n", text) }

// flush sends what has been appended.
func (s *stream) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	_ = s.control.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	s.buf.Reset()
	return s.control.Flush()
}

// bye tells the viewer why the stream ends.
func (s *stream) bye(reason string) {
	_ = s.event("bye", "", map[string]string{"reason": reason})
	_ = s.flush() // who has gone needs no good-bye
}

// admitted reports whether the credential that opened a stream is good yet, and
// ends the stream if it is not: it may have expired or been revoked.
func (a *API) admitted(s *stream, who caller) bool {
	if a.stillGood(who) {
		return true
	}
	s.buf.Reset() // what has been gathered is not for this caller any more
	s.bye("session")
	return false
}

// stillGood reports whether a credential that was good before is good yet.
func (a *API) stillGood(who caller) bool {
	if !who.known() {
		return true
	}
	_, err := a.verify(who.token)
	return err == nil
}

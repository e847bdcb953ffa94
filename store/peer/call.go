package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// HopHeader marks a call that was forwarded once. A node whose own store is
// another node's answers it with CodeLoop.
const HopHeader = "Muster-Hop"

// streamFactor is how much longer than Timeout an answer may take while it flows.
const streamFactor = 10

// request is one call, whoever is asked.
type request struct {
	method string // "" = GET
	path   string
	body   []byte
	limit  int64 // bytes of the answer
	stream bool  // the answer may take long while it flows
}

// call is one call under way, so that Close can end it.
type call struct{ cancel context.CancelCauseFunc }

// begin bounds a call by the deadline and by Close.
func (s *Store) begin(ctx context.Context, limit time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ctx, stop := context.WithTimeout(ctx, limit)
	c := &call{cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel(errClosed)
	}
	s.calls[c] = struct{}{}
	return ctx, func() {
		stop()
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.calls, c)
	}
}

// ask puts a question that may be repeated to one target after another.
func ask[T any](ctx context.Context, s *Store, req request, decode func(io.Reader) (T, error)) (T, error) {
	var zero T
	limit := s.cfg.Timeout
	if req.stream {
		limit *= streamFactor
	}
	ctx, end := s.begin(ctx, limit)
	defer end()
	targets := s.cfg.Targets()
	var last error
	for i, target := range targets {
		if ctx.Err() != nil {
			break
		}
		patience := s.cfg.Timeout / time.Duration(min(len(targets)-i, 3))
		answer, err := exchange(ctx, exchangeArgs{target, req, patience}, decode)
		if err == nil {
			return answer, nil
		}
		if decisive(err) {
			return zero, err
		}
		last = telling(last, err)
	}
	return zero, s.down(ctx, targets, last)
}

type exchangeArgs struct {
	target   Target
	req      request
	patience time.Duration // without a byte of progress
}

// exchange asks one target once. An error that the target itself answered with is
// a *muster.Error or one of the sentinels of package store; any other error says
// that no good answer came, and is a *failure.
func exchange[T any](ctx context.Context, a exchangeArgs, decode func(io.Reader) (T, error)) (T, error) {
	var zero T
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(a.patience, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()

	body := &bodyReader{rest: bytes.NewReader(a.req.body)}
	req, err := newRequest(ctx, a.req, body)
	if err != nil {
		return zero, &failure{target: a.target, err: err}
	}
	resp, err := a.target.Transport.RoundTrip(req)
	if err != nil {
		return zero, &failure{target: a.target, sent: body.spent(), err: causeOr(ctx, err)}
	}
	defer func() { _ = resp.Body.Close() }() // only an error of Read tells anything
	flow := &flowReader{r: resp.Body, timer: timer, patience: a.patience, left: a.req.limit}
	if resp.StatusCode/100 != 2 {
		return zero, problemOrFailure(a.target, resp.StatusCode, flow)
	}
	answer, err := decode(flow)
	if err != nil {
		return zero, &failure{target: a.target, sent: true, err: causeOr(ctx, err)}
	}
	return answer, nil
}

func newRequest(ctx context.Context, r request, body *bodyReader) (*http.Request, error) {
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	var reader io.Reader
	if len(r.body) > 0 {
		reader = body
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://peer"+Prefix+r.path, reader)
	if err != nil {
		return nil, err
	}
	req.ContentLength = int64(len(r.body))
	req.Header.Set(HopHeader, "1")
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// causeOr prefers the reason why ctx ended over the transport's word for it.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// failure says that a target gave no usable answer. Sent means that it may have
// acted on the whole request all the same.
type failure struct {
	target Target
	sent   bool
	err    error
}

func (f *failure) Error() string { return f.target.String() + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// decisive reports whether err settles the question, so that asking another
// target would only repeat it.
func decisive(err error) bool {
	if errors.Is(err, store.ErrCompacted) || errors.Is(err, store.ErrNoCluster) {
		return true
	}
	problem, ok := errors.AsType[*muster.Error](err)
	if !ok {
		return false
	}
	switch problem.Code {
	case muster.CodeBadRequest, muster.CodeBadDocument, muster.CodeTooLarge,
		muster.CodeStoreSchema, muster.CodeStoreMismatch, muster.CodeDiverged:
		return true
	}
	return false
}

// telling returns which of two errors says more about why nobody could answer: that
// one target has no store of its own says little while another one has.
func telling(before, err error) error {
	if before != nil && errors.Is(err, &muster.Error{Code: muster.CodeLoop}) {
		return before
	}
	return err
}

// down makes the error for "nobody could answer", which names the home.
func (s *Store) down(ctx context.Context, targets []Target, last error) error {
	if errors.Is(last, &muster.Error{Code: muster.CodeLoop}) {
		return last
	}
	if last == nil {
		last = context.Cause(ctx)
	}
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.String()
	}
	who := strings.Join(names, ", ")
	if who == "" {
		who = s.cfg.Home()
	}
	if last == nil {
		last = errors.New("no member that reaches it is known")
	}
	if s.cfg.Down == muster.CodeConfigHomeDown {
		return muster.Errorf(s.cfg.Down, "config home %s: %w", orUnnamed(who), last)
	}
	return muster.Errorf(s.cfg.Down, "config store through %s: %w", orUnnamed(who), last)
}

func orUnnamed(name string) string {
	if name == "" {
		return "(not known)"
	}
	return name
}

// bodyReader knows whether all of a request body was handed to the transport. A
// server acts only on a whole body, so an unspent one proves that nothing was done.
type bodyReader struct{ rest *bytes.Reader }

func (b *bodyReader) Read(p []byte) (int, error) { return b.rest.Read(p) }
func (b *bodyReader) Close() error               { return nil }
func (b *bodyReader) spent() bool                { return b.rest.Len() == 0 }

var errAnswerTooLarge = errors.New("the answer is larger than it may be")

// flowReader bounds an answer's size and pushes the deadline on as bytes come.
type flowReader struct {
	r        io.Reader
	timer    *time.Timer
	patience time.Duration
	left     int64
}

func (f *flowReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.left -= int64(n)
	if f.left < 0 {
		return 0, errAnswerTooLarge
	}
	if n > 0 {
		f.timer.Reset(f.patience)
	}
	return n, err
}

package peer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// Sizes of bodies. A line holds one change or document and its envelope.
const (
	smallBody       = 64 << 10
	maxLine         = muster.MaxSpec + 16<<10
	maxApplyBody    = store.MaxBatch * maxLine
	maxMembersBody  = 16 << 20
	softChangesBody = 8 << 20 // the server ends an answer after this many bytes
	maxChangesBody  = softChangesBody + 2*maxLine
	maxHistoryBody  = store.MaxSpecs*maxLine + store.MaxChanges*(16<<10)
	maxSnapshotBody = 1 << 30
)

// ErrIncomplete says that a stream of changes or documents broke off or was
// damaged on the way: its closing record is missing or does not fit.
var ErrIncomplete = errors.New("the stream is not complete")

// marshal encodes without escaping HTML characters, which would change the bytes
// of specifications and so their digests.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func decodeJSON[T any](r io.Reader) (T, error) {
	var v T
	err := json.NewDecoder(r).Decode(&v)
	return v, err
}

func decodeNothing(io.Reader) (struct{}, error) { return struct{}{}, nil }

// outcome is store.Outcome with an error that survives the wire.
type outcome struct {
	Change   *muster.Change   `json:"change,omitempty"`
	Repeated bool             `json:"repeated,omitempty"`
	Error    *Problem         `json:"error,omitempty"`
	Current  *muster.Document `json:"current,omitempty"`
}

func encodeOutcomes(outcomes []store.Outcome) []outcome {
	wire := make([]outcome, len(outcomes))
	for i, o := range outcomes {
		wire[i] = outcome{Change: o.Change, Repeated: o.Repeated, Current: o.Current}
		if o.Err != nil {
			wire[i].Error = &Problem{Code: o.Err.Code, Text: o.Err.Text, Fix: o.Err.Fix}
		}
	}
	return wire
}

func decodeOutcomes(r io.Reader) ([]store.Outcome, error) {
	wire, err := decodeJSON[[]outcome](r)
	if err != nil {
		return nil, err
	}
	outcomes := make([]store.Outcome, len(wire))
	for i, o := range wire {
		if (o.Change == nil) == (o.Error == nil) {
			return nil, fmt.Errorf("outcome %d has both or neither of change and error", i)
		}
		outcomes[i] = store.Outcome{Change: o.Change, Repeated: o.Repeated, Current: o.Current}
		if o.Error != nil {
			outcomes[i].Err = o.Error.err()
		}
	}
	return outcomes, nil
}

// line is one line of a stream. Exactly one field is set.
type line struct {
	Header   *header          `json:"header,omitempty"`
	Change   *muster.Change   `json:"change,omitempty"`
	Document *muster.Document `json:"document,omitempty"`
	End      *ending          `json:"end,omitempty"`
}

// header opens a snapshot.
type header struct {
	ClusterID muster.ClusterID `json:"cluster_id"`
	Position  muster.Position  `json:"position"`
}

// ending closes a stream: how many records came before it, the SHA-256 over their
// lines, and where the sender's own copy stands (changes only).
type ending struct {
	Count int             `json:"count"`
	Sum   muster.Hash     `json:"sum"`
	Head  muster.Position `json:"head"`
}

// lineWriter writes lines and keeps what the ending needs.
type lineWriter struct {
	w     io.Writer
	sum   hash.Hash
	count int
	bytes int
}

func newLineWriter(w io.Writer) *lineWriter { return &lineWriter{w: w, sum: sha256.New()} }

func (l *lineWriter) write(v line) error {
	text, err := marshal(v)
	if err != nil {
		return err
	}
	l.sum.Write(text)
	l.count++
	l.bytes += len(text)
	_, err = l.w.Write(text)
	return err
}

func (l *lineWriter) end(head muster.Position) error {
	text, err := marshal(line{End: &ending{l.count, muster.Hash(l.sum.Sum(nil)), head}})
	if err != nil {
		return err
	}
	_, err = l.w.Write(text)
	return err
}

// WriteChanges writes changes as a stream that ends with head, the position of
// the sender's own copy. It stops early, at a whole change, when the stream grows
// large; the reader asks for the rest.
func WriteChanges(w io.Writer, changes []muster.Change, head muster.Position) error {
	buf := bufio.NewWriterSize(w, 32<<10)
	out := newLineWriter(buf)
	for i := range changes {
		if out.bytes > softChangesBody {
			break
		}
		if err := out.write(line{Change: &changes[i]}); err != nil {
			return fmt.Errorf("write change %d: %w", changes[i].Rev, err)
		}
	}
	if err := out.end(head); err != nil {
		return fmt.Errorf("write end of changes: %w", err)
	}
	return buf.Flush()
}

// WriteSnapshot writes a snapshot as a stream.
func WriteSnapshot(w io.Writer, s *store.Snapshot) error {
	buf := bufio.NewWriterSize(w, 32<<10)
	out := newLineWriter(buf)
	if err := out.write(line{Header: &header{s.ClusterID, s.Position}}); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	for i := range s.Documents {
		if err := out.write(line{Document: &s.Documents[i]}); err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
	}
	if err := out.end(s.Position); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return buf.Flush()
}

// readLines hands every line to record until the ending, which it checks.
func readLines(r io.Reader, record func(line) error) (ending, error) {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 16<<10), maxLine)
	sum, count := sha256.New(), 0
	for scan.Scan() {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return ending{}, fmt.Errorf("line %d: %w", count+1, err)
		}
		if l.End != nil {
			return *l.End, l.End.check(count, sum)
		}
		sum.Write(scan.Bytes())
		sum.Write([]byte{'\n'})
		count++
		if err := record(l); err != nil {
			return ending{}, fmt.Errorf("line %d: %w", count, err)
		}
	}
	if err := scan.Err(); err != nil {
		return ending{}, err
	}
	return ending{}, fmt.Errorf("%w: it ends after %d records without a closing one", ErrIncomplete, count)
}

func (e ending) check(count int, sum hash.Hash) error {
	if e.Count != count || e.Sum != muster.Hash(sum.Sum(nil)) {
		return fmt.Errorf("%w: %d records came, %d were sent, or one was damaged", ErrIncomplete, count, e.Count)
	}
	return nil
}

// ReadChanges reads a stream of changes and the sender's position.
func ReadChanges(r io.Reader) ([]muster.Change, muster.Position, error) {
	var changes []muster.Change
	end, err := readLines(r, func(l line) error {
		if l.Change == nil {
			return errors.New("not a change")
		}
		changes = append(changes, *l.Change)
		return nil
	})
	if err != nil {
		return nil, muster.Position{}, fmt.Errorf("read changes: %w", err)
	}
	return changes, end.Head, nil
}

func decodeChanges(r io.Reader) ([]muster.Change, error) {
	changes, _, err := ReadChanges(r)
	return changes, err
}

// ReadSnapshot reads a stream that holds a snapshot.
func ReadSnapshot(r io.Reader) (*store.Snapshot, error) {
	var snap *store.Snapshot
	_, err := readLines(r, func(l line) error {
		switch {
		case snap == nil && l.Header != nil:
			snap = &store.Snapshot{ClusterID: l.Header.ClusterID, Position: l.Header.Position}
		case snap != nil && l.Document != nil:
			snap.Documents = append(snap.Documents, *l.Document)
		default:
			return errors.New("not a document")
		}
		return nil
	})
	if err == nil && snap == nil {
		err = fmt.Errorf("%w: no header", ErrIncomplete)
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return snap, nil
}

// Problem is an error on the wire between nodes.
type Problem struct {
	Code muster.Code `json:"code"`
	Text string      `json:"text"`
	Fix  string      `json:"fix,omitempty"`
}

// err makes a local error of a foreign one.
func (p *Problem) err() *muster.Error {
	return &muster.Error{Code: p.Code, Text: muster.Printable(p.Text), Fix: muster.Printable(p.Fix)}
}

// WriteProblem answers a request with an error.
func WriteProblem(w http.ResponseWriter, err error) {
	p := problemOf(err)
	info, _ := p.Code.Info()
	status := info.Status
	if status < http.StatusBadRequest {
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, p)
}

func problemOf(err error) Problem {
	if errors.Is(err, store.ErrCompacted) {
		return Problem{Code: muster.CodeCompacted, Text: err.Error()}
	}
	if errors.Is(err, store.ErrNoCluster) {
		return Problem{Code: muster.CodeNotFormed, Text: err.Error()}
	}
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return Problem{Code: e.Code, Text: e.Text, Fix: e.Fix}
	}
	return Problem{Code: muster.CodeInternal, Text: err.Error()}
}

// ReadProblem makes an error of an answer that was written by WriteProblem. The
// sentinels of package store come back as themselves.
func ReadProblem(status int, body io.Reader) error {
	p, err := decodeJSON[Problem](io.LimitReader(body, smallBody))
	switch {
	case err != nil || p.Code == "":
		return fmt.Errorf("answered %d without a reason", status)
	case p.Code == muster.CodeCompacted:
		return store.ErrCompacted
	case p.Code == muster.CodeNotFormed:
		return store.ErrNoCluster
	}
	return p.err()
}

// problemOrFailure reads a refusal. A bare one comes from something between the
// nodes, so it proves nothing about what the target did.
func problemOrFailure(t Target, status int, body io.Reader) error {
	err := ReadProblem(status, body)
	if errors.Is(err, store.ErrCompacted) || errors.Is(err, store.ErrNoCluster) {
		return fmt.Errorf("%s: %w", t, err)
	}
	if problem, ok := errors.AsType[*muster.Error](err); ok {
		problem.Text = t.String() + ": " + problem.Text
		return problem
	}
	return &failure{target: t, sent: true, err: err}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller is gone; nobody is left to tell
}

package mgmt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// PutConfig creates or replaces a document.
func (h *handlers) PutConfig(ctx context.Context, q server.PutConfigRequestObject) (server.PutConfigResponseObject, error) {
	p := q.Params
	w, err := h.begin(ctx, wish{muster.OpPut, q.Kind, q.Name, p.Reason, p.IdempotencyKey})
	if err != nil {
		return nil, err
	}
	if w.Expect, err = h.expectation(w, p.IfMatch, p.IfNoneMatch); err != nil {
		return nil, err
	}
	if w.Spec, err = readSpec(q.Body); err != nil {
		return nil, err
	}
	patience, err := readPatience(p.Wait, p.Prefer)
	if err != nil {
		return nil, err
	}
	change, err := h.apply(ctx, w)
	if err != nil {
		return nil, err
	}
	doc, c := document(change, w), h.confirm(ctx, change, patience)
	headers := server.PutConfig200ResponseHeaders{
		ETag: new(etag(doc.Rev)), MusterRevision: &change.Rev,
		MusterWait: c.waited, MusterConfirmed: c.confirmed, MusterLagging: c.lagging, MusterDead: c.dead,
	}
	if change.Generation == 1 {
		return server.PutConfig201JSONResponse{Body: doc, Headers: server.PutConfig201ResponseHeaders(headers)}, nil
	}
	return server.PutConfig200JSONResponse{Body: doc, Headers: headers}, nil
}

// DeleteConfig deletes a document.
func (h *handlers) DeleteConfig(ctx context.Context, q server.DeleteConfigRequestObject) (server.DeleteConfigResponseObject, error) {
	p := q.Params
	w, err := h.begin(ctx, wish{muster.OpDelete, q.Kind, q.Name, p.Reason, p.IdempotencyKey})
	if err != nil {
		return nil, err
	}
	if w.Expect, err = h.expectation(w, p.IfMatch, nil); err != nil {
		return nil, err
	}
	patience, err := readPatience(p.Wait, p.Prefer)
	if err != nil {
		return nil, err
	}
	change, err := h.apply(ctx, w)
	if err != nil {
		return nil, err
	}
	c := h.confirm(ctx, change, patience)
	return server.DeleteConfig204Response{Headers: server.DeleteConfig204ResponseHeaders{
		MusterRevision: &change.Rev,
		MusterWait:     c.waited, MusterConfirmed: c.confirmed, MusterLagging: c.lagging, MusterDead: c.dead,
	}}, nil
}

// wish is what the caller says of a write besides its condition and body.
type wish struct {
	op          muster.Op
	kind, name  string
	reason, key *string
}

// begin checks a wish and makes a write of it, with the caller as its actor.
func (h *handlers) begin(ctx context.Context, want wish) (store.Write, error) {
	s := scopeOf(ctx)
	s.note("kind", muster.Printable(want.kind), "name", muster.Printable(want.name))
	if err := checkKey(want.kind, want.name); err != nil {
		return store.Write{}, err
	}
	if len(or(want.reason, "")) > maxText {
		return store.Write{}, badField("reason", "want at most 200 bytes")
	}
	id, err := requestID(s, want.key)
	if err != nil {
		return store.Write{}, err
	}
	w := store.Write{
		Op: want.op, Kind: want.kind, Name: want.name, Actor: s.caller.Actor(),
		Node: h.cfg.NodeID, Reason: muster.Printable(or(want.reason, "")), RequestID: id,
	}
	s.note("reason", w.Reason)
	if h.cfg.Config.View() == nil {
		return w, muster.Errorf(muster.CodeNotSynced, "this node has no copy of the configuration yet")
	}
	return w, nil
}

// maxText bounds the texts that callers choose freely, in bytes.
const maxText = 200

// requestID returns the id under which a write is applied at most once: made from
// the caller and its Idempotency-Key, or of this request alone.
func requestID(s *scope, key *string) (string, error) {
	if key == nil {
		return s.id, nil
	}
	if *key == "" || len(*key) > maxText {
		return "", badField("Idempotency-Key", "want 1 to 200 bytes")
	}
	return derivedID(s, *key), nil
}

// derivedID makes a request id of a text that the caller has chosen.
func derivedID(s *scope, key string) string {
	sum := sha256.Sum256([]byte("muster-idempotency\x00" + s.caller.Subject + "\x00" + key))
	sum[6] = sum[6]&0x0f | 0x80 // RFC 9562, version 8
	sum[8] = sum[8]&0x3f | 0x80
	t := hex.EncodeToString(sum[:16])
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

// expectation reads the condition of a write: the revision that must be there, 0
// for none, or store.Any.
func (h *handlers) expectation(w store.Write, ifMatch, ifNoneMatch *string) (int64, error) {
	switch {
	case ifMatch != nil && ifNoneMatch != nil:
		return 0, badField("If-None-Match", "send it or If-Match, not both")
	case ifNoneMatch != nil && strings.TrimSpace(*ifNoneMatch) == "*":
		return 0, nil
	case ifNoneMatch != nil:
		return 0, badField("If-None-Match", "only * has a meaning here")
	case ifMatch == nil:
		return 0, muster.Errorf(muster.CodePreconditionRequired, "the write of %s/%s names no condition", w.Kind, w.Name)
	case strings.TrimSpace(*ifMatch) == "*":
		return store.Any, h.present(w)
	}
	// A proxy that compresses makes a tag weak; people forget the quotes.
	tag := strings.Trim(strings.TrimPrefix(strings.TrimSpace(*ifMatch), "W/"), `"`)
	rev, err := strconv.ParseInt(tag, 10, 64)
	if err != nil || rev < 1 {
		return 0, badField("If-Match", `want one ETag as it was read, like "17", or *`)
	}
	return rev, nil
}

// present refuses to replace what this node does not see: If-Match: * wants
// something to be there, which the store's Any does not ask.
func (h *handlers) present(w store.Write) error {
	if _, ok := h.cfg.Config.View().Get(w.Kind, w.Name); ok || w.Op == muster.OpDelete {
		return nil
	}
	return muster.Errorf(muster.CodeConflict, "there is no document %s/%s to replace", w.Kind, w.Name).
		WithFix("send If-None-Match: * to create it")
}

// readSpec reads a body and makes it canonical.
func readSpec(body io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		if coded(err) != nil {
			return nil, err
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, badField("body", fmt.Sprintf("it was not complete %s after the request began", readTimeout))
		}
		return nil, badField("body", "it ended early")
	}
	return config.Canonical(raw)
}

// apply runs one write and returns the change it made.
func (h *handlers) apply(ctx context.Context, w store.Write) (*muster.Change, error) {
	if err := h.permit(ctx, w); err != nil {
		return nil, err
	}
	return h.commit(ctx, w)
}

// permit holds a write against what its kind demands, by whatever way it comes.
func (h *handlers) permit(ctx context.Context, w store.Write) error {
	who := scopeOf(ctx).caller
	return errors.Join(checkKind(who, w), h.checkTombstone(who, w))
}

// commit runs a write that may be made.
func (h *handlers) commit(ctx context.Context, w store.Write) (*muster.Change, error) {
	outcomes, err := h.cfg.Config.Apply(ctx, []store.Write{w})
	if err != nil {
		return nil, err
	}
	if len(outcomes) != 1 || outcomes[0].Err == nil && outcomes[0].Change == nil {
		return nil, errors.New("the store answered a write without an outcome")
	}
	out := outcomes[0]
	if out.Err != nil {
		return nil, &conflictError{out.Err, out.Current}
	}
	if out.Repeated && !same(out.Change, w) {
		return nil, badField("Idempotency-Key", "it was used for another write")
	}
	scopeOf(ctx).note("rev", out.Change.Rev)
	return out.Change, nil
}

// same reports whether a change is what a write asks for.
func same(c *muster.Change, w store.Write) bool {
	return c.Op == w.Op && c.Kind == w.Kind && c.Name == w.Name &&
		(c.Op == muster.OpDelete || c.Digest == config.DigestOf(w.Spec))
}

// document is the envelope that a put has made. The node may serve a newer one
// already.
func document(c *muster.Change, w store.Write) muster.Document {
	return muster.Document{
		Kind: c.Kind, Name: c.Name, Spec: w.Spec, Rev: c.Rev, Generation: c.Generation, CreatedRev: c.CreatedRev,
		UpdatedAt: c.At, UpdatedBy: c.Actor, Reason: c.Reason,
	}
}

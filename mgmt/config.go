package mgmt

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/config"
)

const (
	maxPage     = 1000    // items of one answer
	maxPageSize = 4 << 20 // bytes of specifications of one answer, more or less
	catchUp     = 2 * time.Second
)

// least is the revision that a read must show at least.
type least struct {
	header, query *int64
	prefer        *string // how long to wait for it
}

// view returns the node's copy of the configuration, at a revision or later.
func (a *API) view(ctx context.Context, at least) (*config.Snapshot, error) {
	min := max(or(at.header, 0), or(at.query, 0))
	patience, err := preferred(at.prefer, catchUp)
	if err != nil {
		return nil, err
	}
	if a.cfg.Config.View() == nil {
		return nil, muster.Errorf(muster.CodeNotSynced, "this node has no copy of the configuration yet")
	}
	if a.cfg.Config.View().Position().Rev < min {
		held, cancel := a.hold(ctx, patience)
		_ = a.cfg.Config.Wait(held, min) // what counts is the view, below
		cancel()
	}
	view := a.cfg.Config.View()
	if rev := view.Position().Rev; rev < min {
		return nil, muster.Errorf(muster.CodeBehind, "this node serves revision %d, %d was asked for", rev, min)
	}
	return view, nil
}

// ListConfig answers all documents, in pages.
func (h *handlers) ListConfig(ctx context.Context, q server.ListConfigRequestObject) (server.ListConfigResponseObject, error) {
	list, err := h.page(ctx, page{limit: q.Params.Limit, cursor: q.Params.Cursor, least: least{q.Params.MusterMinRevision, q.Params.MinRev, q.Params.Prefer}})
	return server.ListConfig200JSONResponse{DocumentsJSONResponse: server.DocumentsJSONResponse(list)}, err
}

// ListConfigKind answers the documents of one kind, in pages.
func (h *handlers) ListConfigKind(ctx context.Context, q server.ListConfigKindRequestObject) (server.ListConfigKindResponseObject, error) {
	if err := checkName("kind", q.Kind); err != nil {
		return nil, err
	}
	list, err := h.page(ctx, page{kind: q.Kind, limit: q.Params.Limit, cursor: q.Params.Cursor, least: least{q.Params.MusterMinRevision, q.Params.MinRev, q.Params.Prefer}})
	return server.ListConfigKind200JSONResponse{DocumentsJSONResponse: server.DocumentsJSONResponse(list)}, err
}

// page is one request for a part of a list.
type page struct {
	kind   string
	limit  *int
	cursor *string
	least  least
}

func (a *API) page(ctx context.Context, p page) (api.DocumentList, error) {
	limit, err := limited(p.limit)
	if err != nil {
		return api.DocumentList{}, err
	}
	after, err := base64.RawURLEncoding.DecodeString(or(p.cursor, ""))
	if err != nil {
		return api.DocumentList{}, badField("cursor", "it is not one that this API made")
	}
	view, err := a.view(ctx, p.least)
	if err != nil {
		return api.DocumentList{}, err
	}
	list := api.DocumentList{Items: []muster.Document{}, Rev: view.Position().Rev}
	size := 0
	for _, d := range view.List(p.kind) {
		if !beyond(d, string(after)) {
			continue
		}
		if len(list.Items) == limit || size > maxPageSize {
			list.Next = base64.RawURLEncoding.EncodeToString([]byte(key(list.Items[len(list.Items)-1])))
			break
		}
		size += len(d.Spec)
		list.Items = append(list.Items, d)
	}
	return list, nil
}

// key names a document. No name has a slash.
func key(d muster.Document) string { return d.Kind + "/" + d.Name }

// beyond reports whether a document comes after the one that a key names, in the
// order of kind and name.
func beyond(d muster.Document, after string) bool {
	kind, name, _ := strings.Cut(after, "/")
	return d.Kind > kind || d.Kind == kind && d.Name > name
}

func limited(limit *int) (int, error) {
	n := or(limit, maxPage)
	if n < 1 || n > maxPage {
		return 0, badField("limit", "want 1 to "+strconv.Itoa(maxPage))
	}
	return n, nil
}

// GetConfig answers one document.
func (h *handlers) GetConfig(ctx context.Context, q server.GetConfigRequestObject) (server.GetConfigResponseObject, error) {
	if err := checkKey(q.Kind, q.Name); err != nil {
		return nil, err
	}
	view, err := h.view(ctx, least{q.Params.MusterMinRevision, q.Params.MinRev, q.Params.Prefer})
	if err != nil {
		return nil, err
	}
	doc, ok := view.Get(q.Kind, q.Name)
	if !ok {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no document %s/%s at revision %d", q.Kind, q.Name, view.Position().Rev)
	}
	rev := strconv.FormatInt(view.Position().Rev, 10)
	return reply(func(w http.ResponseWriter) error {
		w.Header().Set("Muster-Revision", rev)
		w.Header().Set("ETag", etag(doc.Rev))
		switch {
		case matches(q.Params.IfNoneMatch, doc.Rev):
			w.WriteHeader(http.StatusNotModified)
			return nil
		case on(q.Params.Raw):
			w.Header().Set("Content-Type", "application/json")
			_, err := w.Write(doc.Spec)
			return ignoreGone(err)
		}
		return writeJSON(w, http.StatusOK, doc)
	}), nil
}

func checkKey(kind, name string) error {
	if err := checkName("kind", kind); err != nil {
		return err
	}
	return checkName("name", name)
}

// etag is a revision as an entity tag.
func etag(rev int64) string { return `"` + strconv.FormatInt(rev, 10) + `"` }

// matches reports whether an If-None-Match header names a revision.
func matches(header *string, rev int64) bool {
	for tag := range strings.SplitSeq(or(header, ""), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag(rev) {
			return true
		}
	}
	return false
}

// ListChanges answers the history after a revision.
func (h *handlers) ListChanges(ctx context.Context, q server.ListChangesRequestObject) (server.ListChangesResponseObject, error) {
	limit, err := limited(q.Params.Limit)
	if err != nil {
		return nil, err
	}
	wait, err := waiting(q.Params.Wait)
	if err != nil {
		return nil, err
	}
	after := or(q.Params.After, 0)
	if after < 0 {
		return nil, badField("after", "want a revision, 0 or more")
	}
	view, err := h.view(ctx, least{})
	if err != nil {
		return nil, err
	}
	if wait > 0 && view.Position().Rev <= after {
		held, cancel := h.hold(ctx, wait)
		_ = h.cfg.Config.Wait(held, after+1) // what counts is what there is then
		cancel()
		view = h.cfg.Config.View()
	}
	list := api.ChangeList{Changes: []muster.Change{}, Rev: view.Position().Rev}
	if list.Rev > after {
		changes, err := h.cfg.Config.Changes(ctx, after, limit)
		if err != nil {
			return nil, err
		}
		list.Changes = append(list.Changes, fitting(changes)...)
	}
	return server.ListChanges200JSONResponse(list), nil
}

// fitting returns the first changes, as many as an answer may carry. The caller
// asks again after the last one.
func fitting(changes []muster.Change) []muster.Change {
	size := 0
	for i, c := range changes {
		if size > maxPageSize {
			return changes[:i]
		}
		size += len(c.Spec)
	}
	return changes
}

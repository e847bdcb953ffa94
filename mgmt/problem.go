package mgmt

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
	"github.com/musterhq/muster/store"
)

// fieldsError names the parts of a request that are wrong.
type fieldsError struct {
	cause  *muster.Error
	fields []api.FieldError
}

func (e *fieldsError) Error() string { return e.cause.Error() }
func (e *fieldsError) Unwrap() error { return e.cause }

// conflictError carries what is there instead of what the writer had read.
type conflictError struct {
	cause   *muster.Error
	current *muster.Document
}

func (e *conflictError) Error() string { return e.cause.Error() }
func (e *conflictError) Unwrap() error { return e.cause }

// badField refuses a parameter, a header or a part of the body.
func badField(field, detail string) error {
	return &fieldsError{
		cause:  muster.Errorf(muster.CodeBadRequest, "%s: %s", field, detail),
		fields: []api.FieldError{{Field: field, Detail: detail}},
	}
}

// coded finds the muster.Error in err, or makes one for the errors of others.
func coded(err error) *muster.Error {
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return e
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return muster.Errorf(muster.CodeTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	}
	switch {
	case errors.Is(err, store.ErrCompacted):
		return muster.Errorf(muster.CodeCompacted, "the change log no longer reaches back that far")
	case errors.Is(err, store.ErrNoCluster):
		return muster.Errorf(muster.CodeNotFormed, "this node belongs to no cluster yet")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return muster.Errorf(muster.CodeTimeout, "the answer did not come in time")
	}
	return nil
}

// fail answers with the problem that err is. What has no code is logged in full
// and told to the caller as an internal error with the request id.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	s := scopeOf(r.Context())
	e := coded(err)
	if e == nil {
		a.log.Error("request failed", "operation", s.route.operation, "request_id", s.id, "error", err)
		e = muster.Errorf(muster.CodeInternal, "the node's log has the details under request id %s", s.id)
	}
	p := problem(r, e)
	if fields, ok := errors.AsType[*fieldsError](err); ok {
		p.Errors = fields.fields
	}
	if conflict, ok := errors.AsType[*conflictError](err); ok && conflict.current != nil {
		p.Current = conflict.current
		w.Header().Set("ETag", etag(conflict.current.Rev))
	}
	writeProblem(w, p)
}

// linger is how long what a refused caller has sent already may take to arrive.
// Closing at once would make his kernel throw the answer away.
const linger = 500 * time.Millisecond

// failUnread is fail for callers whose body we do not want to see: the connection
// ends after the answer. net/http would wait for up to 256 KiB of it.
func (a *API) failUnread(w http.ResponseWriter, r *http.Request, err error) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(linger)) // a recorder of a test has none
	}
	a.fail(w, r, err)
}

func problem(r *http.Request, e *muster.Error) api.Problem {
	info, _ := e.Code.Info()
	if info.Status < http.StatusBadRequest {
		info.Status = http.StatusInternalServerError // a code that was not meant to answer requests
	}
	return api.Problem{
		Type:      "urn:muster:" + string(e.Code),
		Code:      string(e.Code),
		Title:     info.Title,
		Status:    info.Status,
		Detail:    e.Text,
		Fix:       e.Advice(),
		Instance:  muster.Printable(r.URL.Path),
		RequestID: scopeOf(r.Context()).id,
		Errors:    []api.FieldError{},
	}
}

func writeProblem(w http.ResponseWriter, p api.Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"code":"internal","status":500}`) // a specification that is no JSON cannot be stored
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="muster"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close") // the rest of the body is of no use
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a caller who has gone away needs no answer
}

// retryAfter is in seconds. Nearly everything that makes a node say "not now"
// passes within one.
const retryAfter = 1

// badRequest translates what the generated code says of parameters and bodies.
func (a *API) badRequest(w http.ResponseWriter, r *http.Request, err error) {
	field, detail := "body", "it is not the JSON that is documented"
	if e, ok := errors.AsType[*server.InvalidParamFormatError](err); ok {
		field, detail = e.ParamName, "it does not have the documented form"
	}
	if e, ok := errors.AsType[*server.RequiredParamError](err); ok {
		field, detail = e.ParamName, "it is required"
	}
	if e, ok := errors.AsType[*server.TooManyValuesForParamError](err); ok {
		field, detail = e.ParamName, "it is there more than once"
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		a.fail(w, r, err)
		return
	}
	a.fail(w, r, badField(field, detail))
}

package mgmt

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/api/server"
)

// handlers implements the operations of openapi.yaml. A method never returns a
// nil response without an error: that would be an empty 200.
type handlers struct{ *API }

var _ server.StrictServerInterface = (*handlers)(nil)

// reply is an answer that the generated types cannot express: it writes itself.
type reply func(w http.ResponseWriter) error

// The operations that answer with a reply.
func (f reply) VisitGetReadyResponse(w http.ResponseWriter) error         { return f(w) }
func (f reply) VisitGetMetricsResponse(w http.ResponseWriter) error       { return f(w) }
func (f reply) VisitGetClusterStatusResponse(w http.ResponseWriter) error { return f(w) }
func (f reply) VisitGetConfigResponse(w http.ResponseWriter) error        { return f(w) }
func (f reply) VisitListEventsResponse(w http.ResponseWriter) error       { return f(w) }
func (f reply) VisitWatchResponse(w http.ResponseWriter) error            { return f(w) }
func (f reply) VisitDeleteSessionResponse(w http.ResponseWriter) error    { return f(w) }
func (f reply) VisitCreateSessionResponse(w http.ResponseWriter) error    { return f(w) }
func (f reply) VisitGetOpenAPIResponse(w http.ResponseWriter) error       { return f(w) }

// writeJSON answers with a status and a value.
func writeJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return ignoreGone(err)
}

// ignoreGone drops the error of a caller who has gone away: there is nobody to
// tell, and the answer has begun.
func ignoreGone(error) error { return nil }

// GetHealth says that the process answers.
func (h *handlers) GetHealth(context.Context, server.GetHealthRequestObject) (server.GetHealthResponseObject, error) {
	return server.GetHealth200JSONResponse{Status: "ok"}, nil
}

// GetVersion says which build this is.
func (h *handlers) GetVersion(context.Context, server.GetVersionRequestObject) (server.GetVersionResponseObject, error) {
	v := api.Version{Version: h.cfg.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return server.GetVersion200JSONResponse(v), nil
}

// GetMetrics hands over to the exposition handler.
func (h *handlers) GetMetrics(ctx context.Context, _ server.GetMetricsRequestObject) (server.GetMetricsResponseObject, error) {
	if h.cfg.Metrics == nil {
		return nil, muster.Errorf(muster.CodeNotFound, "this node exposes no metrics")
	}
	r := scopeOf(ctx).r
	return reply(func(w http.ResponseWriter) error {
		h.cfg.Metrics.ServeHTTP(w, r)
		return nil
	}), nil
}

// GetOpenAPI serves the description, with the prefix as its server.
func (h *handlers) GetOpenAPI(context.Context, server.GetOpenAPIRequestObject) (server.GetOpenAPIResponseObject, error) {
	spec := map[string]json.RawMessage{}
	if err := json.Unmarshal(api.OpenAPI, &spec); err != nil {
		return nil, err
	}
	servers, err := json.Marshal([]map[string]string{{"url": h.cfg.PathPrefix + "/"}})
	if err != nil {
		return nil, err
	}
	spec["servers"] = servers
	return reply(func(w http.ResponseWriter) error { return writeJSON(w, http.StatusOK, spec) }), nil
}

// home leads people to the dashboard.
func (a *API) home(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, a.cfg.PathPrefix+"/ui/", http.StatusFound)
}

// ui serves the dashboard's files. Its refusals become problems.
func (a *API) ui(w http.ResponseWriter, r *http.Request) {
	files := &uiWriter{ResponseWriter: w}
	a.cfg.UI.ServeHTTP(files, r)
	if files.refused {
		h := w.Header()
		h.Del("Content-Length")
		h.Del("Content-Encoding")
		a.notFound(w, r)
	}
}

// uiWriter holds back an answer that is an error.
type uiWriter struct {
	http.ResponseWriter

	began, refused bool
}

func (w *uiWriter) WriteHeader(status int) {
	w.refused = !w.began && status >= http.StatusBadRequest
	w.began = true
	if !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *uiWriter) Write(p []byte) (int, error) {
	w.began = true
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// on reports whether a parameter that needs no value is switched on.
func on(value *string) bool {
	return value != nil && !strings.EqualFold(*value, "false") && *value != "0"
}

// or returns what p points to, or a default.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

package web_test

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/musterhq/muster/web"
)

// budget is what the script may weigh, uncompressed.
const budget = 60_000

// get sends a request such as "GET /ui/" with headers given as name, value, ...
func get(t *testing.T, h http.Handler, request string, header ...string) *http.Response {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return string(data)
}

func TestEveryFileIsServedAsWhatItIs(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"/ui/":            "text/html; charset=utf-8",
		"/ui/index.html":  "text/html; charset=utf-8",
		"/ui/app.js":      "text/javascript; charset=utf-8",
		"/ui/app.css":     "text/css; charset=utf-8",
		"/ui/favicon.svg": "image/svg+xml",
	}
	h := web.Handler()
	for path, contentType := range want {
		res := get(t, h, "GET "+path)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != contentType {
			t.Errorf("GET %s: got %d %q, want 200 %q", path, res.StatusCode, res.Header.Get("Content-Type"), contentType)
		}
		if got := res.Header.Get("Content-Security-Policy"); got != web.CSP {
			t.Errorf("GET %s: got policy %q, want %q", path, got, web.CSP)
		}
		if len(body(t, res.Body)) == 0 {
			t.Errorf("GET %s: empty body", path)
		}
	}
}

func TestIndexIsTheSameWhereverMounted(t *testing.T) {
	t.Parallel()
	index, err := fs.ReadFile(os.DirFS("dist"), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	h := web.Handler()
	mounts := map[string]http.Handler{
		"/":                    h,
		"/ui/":                 h,
		"/some/prefix/ui/":     h,
		"/stripped/prefix/ui/": http.StripPrefix("/stripped/prefix/ui", h),
	}
	for path, mounted := range mounts {
		if got := body(t, get(t, mounted, "GET "+path).Body); got != string(index) {
			t.Errorf("GET %s: got %d bytes, want index.html (%d bytes)", path, len(got), len(index))
		}
	}
}

func TestPageLinksAreRelative(t *testing.T) {
	t.Parallel()
	index := body(t, get(t, web.Handler(), "GET /ui/").Body)
	for _, bad := range []string{`="/`, `="http`, "<style", " style="} {
		if strings.Contains(index, bad) {
			t.Errorf("index.html contains %q: it must work under any prefix and the policy", bad)
		}
	}
}

func TestUnknownFileIsNotFound(t *testing.T) {
	t.Parallel()
	h := web.Handler()
	for _, path := range []string{"/ui/nothing.js", "/ui/deep/app.js", "/ui/../app.js", "/ui//", "/ui", "/ui/app.js/", "/ui/dist/app.js", "/ui/embed.go"} {
		if res := get(t, h, "GET "+path); res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: got %d, want 404", path, res.StatusCode)
		}
	}
}

func TestHeadAnswersLikeGetWithoutBody(t *testing.T) {
	t.Parallel()
	h := web.Handler()
	full, head := get(t, h, "GET /ui/app.js"), get(t, h, "HEAD /ui/app.js")
	if got := body(t, head.Body); got != "" {
		t.Errorf("HEAD sent a body of %d bytes", len(got))
	}
	for _, name := range []string{"Content-Type", "Content-Length", "Etag", "Cache-Control"} {
		if got, want := head.Header.Get(name), full.Header.Get(name); got != want || want == "" {
			t.Errorf("HEAD %s: got %q, want %q", name, got, want)
		}
	}
}

func TestPostIsRefused(t *testing.T) {
	t.Parallel()
	res := get(t, web.Handler(), "POST /ui/")
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

func TestGzipHoldsTheSameBytes(t *testing.T) {
	t.Parallel()
	h := web.Handler()
	plain := get(t, h, "GET /ui/app.js")
	packed := get(t, h, "GET /ui/app.js", "Accept-Encoding", "br, gzip;q=0.8")
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("got encoding %q, vary %q", packed.Header.Get("Content-Encoding"), packed.Header.Get("Vary"))
	}
	if plain.Header.Get("Etag") == packed.Header.Get("Etag") {
		t.Error("both forms have one entity tag: a cache would mix them up")
	}
	zr, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := body(t, zr), body(t, plain.Body); got != want {
		t.Errorf("unpacked to %d bytes, want %d", len(got), len(want))
	}
}

func TestGzipIsNotForcedOnAnyone(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"", "br", "gzip;q=0", "gzip; q=0.000", "x-gzip-not"} {
		res := get(t, web.Handler(), "GET /ui/app.js", "Accept-Encoding", accept)
		if got := res.Header.Get("Content-Encoding"); got != "" {
			t.Errorf("Accept-Encoding %q: got encoding %q, want none", accept, got)
		}
	}
}

func TestKnownTagIsNotSentAgain(t *testing.T) {
	t.Parallel()
	h := web.Handler()
	for _, accept := range []string{"", "gzip"} {
		first := get(t, h, "GET /ui/app.css", "Accept-Encoding", accept)
		tag := first.Header.Get("Etag")
		again := get(t, h, "GET /ui/app.css", "Accept-Encoding", accept, "If-None-Match", tag)
		if again.StatusCode != http.StatusNotModified || len(body(t, again.Body)) != 0 {
			t.Errorf("If-None-Match %s: got %d, want 304 without a body", tag, again.StatusCode)
		}
		other := get(t, h, "GET /ui/app.css", "Accept-Encoding", accept, "If-None-Match", `"other"`)
		if other.StatusCode != http.StatusOK {
			t.Errorf("another tag: got %d, want 200", other.StatusCode)
		}
	}
}

func TestScriptKeepsItsBudget(t *testing.T) {
	t.Parallel()
	script := body(t, get(t, web.Handler(), "GET /ui/app.js").Body)
	t.Logf("app.js: %d of %d bytes", len(script), budget)
	if len(script) > budget {
		t.Errorf("app.js has %d bytes, budget %d", len(script), budget)
	}
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	h := web.Handler()
	for _, file := range []string{"app.js", "app.css", "index.html"} {
		text := body(t, get(t, h, "GET /ui/"+file).Body)
		text = strings.ReplaceAll(text, "http://www.w3.org/", "") // names of XML vocabularies, never fetched
		for _, bad := range []string{"https://", "http://", "@import", "eval("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s contains %q", file, bad)
			}
		}
	}
}

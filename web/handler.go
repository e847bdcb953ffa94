package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// asset is one file in the forms in which it is sent.
type asset struct {
	contentType string
	plain       []byte
	packed      []byte // gzip; nil when that is not smaller
	tag         string // of the plain form, without quotes
}

// Handler serves the files of the dashboard. It is mounted at a path that ends
// in /ui/, under any prefix, with or without http.StripPrefix: the page finds
// the API one directory above itself. Unknown files are 404.
//
// Every answer carries CSP unless a policy is already set.
func Handler() http.Handler {
	assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[name(r.URL.Path)]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			a.serve(w, r)
		}
	})
}

// name is the file that a request path asks for, wherever the handler is mounted.
func name(urlPath string) string {
	if _, below, found := strings.Cut(urlPath, "/ui/"); found {
		urlPath = "/" + below
	}
	if urlPath == "/" {
		return "index.html"
	}
	return strings.TrimPrefix(urlPath, "/")
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", CSP)
	}
	h.Set("Content-Type", a.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache") // keep, but ask: a new binary shows at once
	h.Set("Vary", "Accept-Encoding")
	body, tag := a.plain, a.tag
	if a.packed != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = a.packed, a.tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip reports whether gzip is offered and not refused by a weight of 0.
func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(coding) != "gzip" {
			continue
		}
		q, _ := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		return strings.Trim(q, "0.") != "" || q == ""
	}
	return false
}

// load reads and packs the embedded files. It panics if they cannot be read:
// they are part of the program.
func load() map[string]*asset {
	assets := map[string]*asset{}
	err := fs.WalkDir(dist, "dist", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := dist.ReadFile(file)
		if err != nil {
			return err
		}
		assets[strings.TrimPrefix(file, "dist/")] = newAsset(path.Ext(file), data)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("web: the embedded dashboard is unreadable: %v", err))
	}
	return assets
}

func newAsset(ext string, data []byte) *asset {
	sum := sha256.Sum256(data)
	a := &asset{contentType: contentType(ext), plain: data, tag: hex.EncodeToString(sum[:12])}
	if packed := pack(data); len(packed) < len(data) {
		a.packed = packed
	}
	return a
}

func pack(data []byte) []byte {
	var buf bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression) // the level is valid
	_, _ = zw.Write(data)                                    // a buffer takes everything
	_ = zw.Close()
	return buf.Bytes()
}

// contentType does not ask the machine's MIME tables: they differ.
func contentType(ext string) string {
	switch ext {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "application/octet-stream"
	}
}

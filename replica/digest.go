package replica

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/musterhq/muster"
)

// DigestHeader carries a node's digest on every message between nodes, both ways.
const DigestHeader = "Muster-Digest"

// maxDigest bounds what is parsed as a digest.
const maxDigest = 512

// digest is what a node says about its copy, in about 200 bytes:
//
//	v1 <cluster> <node> <epoch> <rev> <chain> <first 16 digits of the state digest>
//
// Fields that a later version adds at the end are ignored.
type digest struct {
	cluster muster.ClusterID
	node    muster.NodeID
	at      muster.Position
	state   string
}

func (d digest) String() string {
	return fmt.Sprintf("v1 %s %s %d %d %s %s", d.cluster, d.node, d.at.Epoch, d.at.Rev, d.at.Chain, d.state)
}

// parseDigest reads a digest, and reports whether it is one.
func parseDigest(text string) (digest, bool) {
	if len(text) > maxDigest {
		return digest{}, false
	}
	f := strings.Fields(text)
	if len(f) < 7 || f[0] != "v1" {
		return digest{}, false
	}
	d := digest{cluster: muster.ClusterID(f[1]), node: muster.NodeID(f[2]), state: f[6]}
	var err1, err2 error
	d.at.Epoch, err1 = strconv.ParseInt(f[3], 10, 64)
	d.at.Rev, err2 = strconv.ParseInt(f[4], 10, 64)
	if err1 != nil || err2 != nil || d.at.Chain.UnmarshalText([]byte(f[5])) != nil {
		return digest{}, false
	}
	return d, d.cluster.Valid() && d.node.Valid() && d.at.Rev >= 0
}

// digest returns what this node says about its copy, or "" while it has none.
func (r *Replica) digest() string {
	view := r.View()
	if view == nil {
		return ""
	}
	return digest{view.Cluster(), r.cfg.Self.ID, view.Position(), view.StateDigest().String()[:16]}.String()
}

// Digest returns the record that push/pull exchanges carry; it is empty while
// there is no copy.
func (r *Replica) Digest() []byte { return []byte(r.digest()) }

// Observe takes another node's Digest. It only compares numbers and wakes the
// puller, so it may be called from a callback that must not block.
func (r *Replica) Observe(record []byte) {
	if len(record) > 0 {
		r.hear("", string(record))
	}
}

// hear takes a digest that came from a node; "" = from whoever it names.
func (r *Replica) hear(from muster.NodeID, text string) {
	d, ok := parseDigest(text)
	if !ok || d.cluster != r.cfg.Cluster() || d.node == r.cfg.Self.ID || from != "" && from != d.node {
		return
	}
	r.claims.note(d.node, d.at)
	view := r.View()
	if view == nil {
		signal(r.pull)
		return
	}
	at := view.Position()
	switch {
	case d.at.Epoch > at.Epoch:
		signal(r.kick)
		r.told.Store(true)
		signal(r.soft)
	case d.at.Epoch == at.Epoch && d.at.Rev > at.Rev:
		r.told.Store(true)
		r.stuck.note(at.Rev, r.cfg.Now())
		signal(r.soft)
	case d.at == at && d.state != view.StateDigest().String()[:16]:
		r.metrics.failures.Inc()
		r.log.Error("same history, other documents", "peer", d.node, "position", at.String())
	}
}

// Stamp makes a handler of requests between nodes read and write digests. The
// answer carries the position after the request was served, which acknowledges
// a hint.
func (r *Replica) Stamp(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if text := req.Header.Get(DigestHeader); text != "" {
			if from, ok := r.caller(req); ok {
				r.hear(from, text)
			}
		}
		stamped := &stampWriter{ResponseWriter: w, r: r}
		next.ServeHTTP(stamped, req)
		stamped.stamp()
	})
}

// caller returns the authenticated sender, or "" if nobody knows senders here.
func (r *Replica) caller(req *http.Request) (muster.NodeID, bool) {
	if r.cfg.Caller == nil {
		return "", true
	}
	return r.cfg.Caller(req.Context())
}

// stampWriter sets the digest at the last moment.
type stampWriter struct {
	http.ResponseWriter
	r    *Replica
	done bool
}

func (w *stampWriter) stamp() {
	if w.done {
		return
	}
	w.done = true
	if text := w.r.digest(); text != "" {
		w.Header().Set(DigestHeader, text)
	}
}

func (w *stampWriter) WriteHeader(status int) {
	w.stamp()
	w.ResponseWriter.WriteHeader(status)
}

func (w *stampWriter) Write(b []byte) (int, error) {
	w.stamp()
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer below.
func (w *stampWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Tripper makes requests to a node carry our digest and reads the one in its
// answers.
func (r *Replica) Tripper(to muster.NodeID, next http.RoundTripper) http.RoundTripper {
	return tripper{r, to, next}
}

type tripper struct {
	r    *Replica
	to   muster.NodeID
	next http.RoundTripper
}

func (t tripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if text := t.r.digest(); text != "" {
		req = req.Clone(req.Context())
		req.Header.Set(DigestHeader, text)
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if text := resp.Header.Get(DigestHeader); text != "" {
		t.r.hear(t.to, text)
	}
	return resp, nil
}

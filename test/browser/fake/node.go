package fake

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/web"
)

// Credentials of the made-up node.
const (
	Token = "fake-token"
	Code  = "fake-code"
)

// Node serves a World. Its methods may be called at any time.
type Node struct {
	handler http.Handler

	mu      sync.Mutex
	world   *World
	codes   map[string]bool
	changed chan struct{} // closed at the next change

	frozen atomic.Bool
}

// New returns a node that serves w under a path prefix, "" for none.
func New(w *World, prefix string) *Node {
	n := &Node{world: w, codes: map[string]bool{Code: true}, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle("GET /ui/", web.Handler())
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"status": "ok"}) })
	mux.HandleFunc("GET /cluster/status", n.status)
	mux.HandleFunc("POST /v1/session", n.login)
	mux.HandleFunc("GET /v1/session", n.signedIn(n.caller))
	mux.HandleFunc("GET /v1/watch", n.signedIn(n.watch))
	mux.HandleFunc("GET /v1/config/{kind}/{name}", n.signedIn(n.document))
	mux.HandleFunc("PUT /v1/config/{kind}/{name}", n.signedIn(n.put))
	n.handler = http.StripPrefix(prefix, guard(mux))
	return n
}

// guard sets the policy on every answer, as a real node does.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", web.CSP)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers like a node.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n.frozen.Load() {
		<-r.Context().Done()
		return
	}
	n.handler.ServeHTTP(w, r)
}

// Freeze lets the node fall silent without closing anything, like a pulled cable.
func (n *Node) Freeze() { n.frozen.Store(true) }

// Change edits the world and tells everybody who watches.
func (n *Node) Change(edit func(*World)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	edit(n.world)
	close(n.changed)
	n.changed = make(chan struct{})
}

// Turn puts the i-th member into a state, with the event that says so.
func (n *Node) Turn(i int, state muster.State, reason string) {
	n.Change(func(w *World) {
		m := &w.Members[i]
		from := m.State
		w.turn(i, state, 0, reason)
		w.event(muster.Event{At: m.Since, Kind: muster.EventMemberState, Subject: m.Name, From: string(from), To: string(state), Text: m.Name + " is " + string(state) + ": " + reason})
	})
}

// seen returns a copy of the world and a channel that closes when it is old.
func (n *Node) seen() (World, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := *n.world
	w.Members, w.Docs, w.Events = slices.Clone(w.Members), slices.Clone(w.Docs), slices.Clone(w.Events)
	return w, n.changed
}

func (n *Node) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !authorized(r) {
			refuse(w, muster.CodeUnauthenticated)
			return
		}
		next(w, r)
	}
}

// date is the header by which visitors without a stream learn the time.
func date(w http.ResponseWriter, skew time.Duration) {
	w.Header().Set("Date", time.Now().UTC().Add(skew).Format(http.TimeFormat))
}

func authorized(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+Token }

func (n *Node) status(w http.ResponseWriter, r *http.Request) {
	world, _ := n.seen()
	s := world.Status
	date(w, world.Skew)
	if authorized(r) {
		answer(w, 200, s)
		return
	}
	codes := []map[string]any{}
	for _, p := range s.Problems {
		codes = append(codes, map[string]any{"code": p.Code})
	}
	answer(w, 200, map[string]any{
		"local_node": s.LocalNode, "cluster_id": s.ClusterID, "cluster_name": s.ClusterName, "members": s.Members,
		"healthy_members": s.HealthyMembers, "cluster_size": s.ClusterSize, "cluster_health": s.ClusterHealth, "mode": s.Mode,
		"state": s.State, "is_leader": s.IsLeader, "leader_id": s.LeaderID, "converged": s.Converged, "problems": codes,
	})
}

func (n *Node) login(w http.ResponseWriter, r *http.Request) {
	var body struct{ Code string }
	_ = json.NewDecoder(r.Body).Decode(&body) // an unreadable body holds no code
	n.mu.Lock()
	known := n.codes[body.Code]
	delete(n.codes, body.Code)
	n.mu.Unlock()
	if !known {
		refuse(w, muster.CodeLoginExpired)
		return
	}
	answer(w, 201, map[string]any{"token": Token, "subject": "ops@anna", "role": "admin", "expires_at": time.Now().Add(time.Hour)})
}

func (n *Node) caller(w http.ResponseWriter, _ *http.Request) {
	answer(w, 200, map[string]string{"subject": "ops@anna", "id": "t-81f3", "role": "admin", "via": "bearer"})
}

func find(docs []muster.Document, r *http.Request) int {
	return slices.IndexFunc(docs, func(d muster.Document) bool { return d.Kind == r.PathValue("kind") && d.Name == r.PathValue("name") })
}

func (n *Node) document(w http.ResponseWriter, r *http.Request) {
	world, _ := n.seen()
	i := find(world.Docs, r)
	switch {
	case i < 0:
		refuse(w, muster.CodeNotFound)
	case r.URL.Query().Has("raw"):
		answer(w, 200, world.Docs[i].Spec)
	default:
		answer(w, 200, world.Docs[i])
	}
}

func (n *Node) put(w http.ResponseWriter, r *http.Request) {
	var spec json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		refuse(w, muster.CodeBadDocument)
		return
	}
	kind, name := r.PathValue("kind"), r.PathValue("name")
	n.Change(func(world *World) {
		world.Status.Config.Rev++
		rev := world.Status.Config.Rev
		for i := range world.Members {
			world.Members[i].AppliedRevision = rev
		}
		if i := find(world.Docs, r); i >= 0 {
			world.Docs = slices.Delete(world.Docs, i, i+1)
		}
		world.document(kind, name, string(spec), rev, 1, time.Now().UTC())
		world.event(muster.Event{At: time.Now().UTC(), Kind: muster.EventConfigChange, Subject: kind + "/" + name, Rev: rev, Text: "ops@anna changed " + kind + "/" + name})
	})
	w.WriteHeader(http.StatusCreated)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader has gone
}

func refuse(w http.ResponseWriter, code muster.Code) {
	info, _ := code.Info()
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(info.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the reader has gone
		"type": "urn:muster:" + string(code), "code": code, "title": info.Title, "status": info.Status,
		"detail": strings.ToUpper(info.Title[:1]) + info.Title[1:] + ".", "fix": info.Fix, "errors": []any{},
	})
}

package fake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/musterhq/muster"
)

type key struct {
	Kind       string    `json:"kind"`
	Name       string    `json:"name"`
	Rev        int64     `json:"rev"`
	Generation int64     `json:"generation"`
	UpdatedAt  time.Time `json:"updated_at"`
	UpdatedBy  string    `json:"updated_by"`
}

type patch struct {
	Status  *muster.Status  `json:"status,omitempty"`
	Members []muster.Member `json:"members,omitempty"`
	Config  []key           `json:"config,omitempty"`
}

// watch streams hello, a snapshot, and then what changes, at most once a second.
func (n *Node) watch(w http.ResponseWriter, r *http.Request) {
	world, changed := n.seen()
	s := stream{w: w}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s.send("hello", map[string]any{"cluster_id": clusterID, "node_id": world.Status.NodeID, "node": world.Status.LocalNode,
		"version": world.Status.Version, "at": time.Now().UTC().Add(world.Skew), "topics": []string{"status", "members", "config", "events"}})
	s.send("snapshot", map[string]any{"status": world.Status, "members": world.Members, "config": keys(world.Docs)})
	for _, e := range world.Events {
		s.send("event", e)
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
		before := world
		world, changed = n.seen()
		s.send("patch", difference(before, world))
		for _, e := range world.Events[len(before.Events):] {
			s.send("event", e)
		}
	}
}

type stream struct{ w http.ResponseWriter }

func (s stream) send(event string, data any) {
	text, _ := json.Marshal(data)                                   // plain structs always encode
	_, _ = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, text) // the context ends when the viewer goes
	_ = http.NewResponseController(s.w).Flush()
}

func keys(docs []muster.Document) []key {
	out := []key{}
	for _, d := range docs {
		out = append(out, key{d.Kind, d.Name, d.Rev, d.Generation, d.UpdatedAt, d.UpdatedBy})
	}
	return out
}

func difference(before, after World) patch {
	p := patch{Status: &after.Status}
	old := map[muster.NodeID]muster.Member{}
	for _, m := range before.Members {
		old[m.ID] = m
	}
	for _, m := range after.Members {
		if !reflect.DeepEqual(old[m.ID], m) {
			p.Members = append(p.Members, m)
		}
	}
	had := map[key]bool{}
	for _, k := range keys(before.Docs) {
		had[k] = true
	}
	for _, k := range keys(after.Docs) {
		if !had[k] {
			p.Config = append(p.Config, k)
		}
	}
	return p
}

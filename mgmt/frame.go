package mgmt

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/api"
	"github.com/musterhq/muster/config"
)

// frame is everything that a watch shows at one moment, already encoded. It is
// immutable and shared by all viewers.
type frame struct {
	at      time.Time
	status  json.RawMessage
	steady  []byte // the status without what changes by itself
	members entries
	config  entries
	view    *config.Snapshot // that config was made from
}

// entries are encoded items with the key of each, in order.
type entries struct {
	order []string
	items map[string]entry
}

type entry struct {
	rev  int64 // of a document; equal revisions are equal items
	text json.RawMessage
}

func (e *entries) add(key string, item entry) {
	if e.items == nil {
		e.items = map[string]entry{}
	}
	e.order = append(e.order, key)
	e.items[key] = item
}

// all returns the items in order.
func (e entries) all() []json.RawMessage {
	list := make([]json.RawMessage, len(e.order))
	for i, key := range e.order {
		list[i] = e.items[key].text
	}
	return list
}

// since returns the items that are new or differ from before, and the keys that
// are gone.
func (e entries) since(before entries) (fresh []json.RawMessage, gone []string) {
	for _, key := range e.order {
		if !bytes.Equal(e.items[key].text, before.items[key].text) {
			fresh = append(fresh, e.items[key].text)
		}
	}
	for _, key := range before.order {
		if _, ok := e.items[key]; !ok {
			gone = append(gone, key)
		}
	}
	return fresh, gone
}

// snapshot returns the body of a WatchSnapshot.
func (f *frame) snapshot(wants func(string) bool) map[string]any {
	body := map[string]any{}
	if wants(topicStatus) {
		body["status"] = f.status
	}
	if wants(topicMembers) {
		body["members"] = f.members.all()
	}
	if wants(topicConfig) {
		body["config"] = f.config.all()
	}
	return body
}

// since returns the body of a WatchPatch; empty if nothing has changed.
func (f *frame) since(before *frame, wants func(string) bool) map[string]any {
	body := map[string]any{}
	if f == before {
		return body
	}
	if wants(topicStatus) && !bytes.Equal(f.steady, before.steady) {
		body["status"] = f.status
	}
	add := func(name string, now, then entries) {
		fresh, gone := now.since(then)
		if len(fresh) > 0 {
			body[name] = fresh
		}
		if len(gone) > 0 {
			body[name+"_gone"] = gone
		}
	}
	if wants(topicMembers) {
		add("members", f.members, before.members)
	}
	if wants(topicConfig) && f.view != before.view {
		add("config", f.config, before.config)
	}
	return body
}

// frames makes frames, at most one per moment however many viewers there are.
type frames struct {
	api *API

	mu   sync.Mutex
	last *frame
}

// frameAge is for how long viewers share a frame.
const frameAge = 50 * time.Millisecond

// now returns a frame that is at most frameAge old.
func (f *frames) now() *frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil || time.Since(f.last.at) > frameAge {
		f.last = f.api.newFrame(f.last)
	}
	return f.last
}

// newFrame encodes what there is now, and takes from the frame before what has not
// changed.
func (a *API) newFrame(before *frame) *frame {
	f := &frame{at: time.Now(), view: a.cfg.Config.View()}
	s := a.status()
	f.status = encode(s)
	s.Uptime = 0
	f.steady = encode(s)
	for _, m := range a.members(filter{}) {
		f.members.add(string(m.ID), entry{text: encode(m)})
	}
	switch {
	case f.view == nil:
	case before != nil && before.view == f.view:
		f.config = before.config
	default:
		f.config = configEntries(f.view, before)
	}
	return f
}

func configEntries(view *config.Snapshot, before *frame) (list entries) {
	for _, d := range view.List("") {
		if before != nil {
			if e, ok := before.config.items[key(d)]; ok && e.rev == d.Rev {
				list.add(key(d), e)
				continue
			}
		}
		list.add(key(d), entry{rev: d.Rev, text: encode(configKey(d))})
	}
	return list
}

func configKey(d muster.Document) api.ConfigKey {
	return api.ConfigKey{
		Kind: d.Kind, Name: d.Name, Rev: d.Rev, Generation: d.Generation, UpdatedAt: d.UpdatedAt, UpdatedBy: d.UpdatedBy,
	}
}

// encode is for our own types, which always have a JSON form.
func encode(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic("mgmt: a value of our own has no JSON form: " + err.Error())
	}
	return slices.Clip(text)
}

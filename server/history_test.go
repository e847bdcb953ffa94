package server_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster"
)

// history is what was seen of one run.
type history struct {
	plan    schedule
	log     *virtualLog
	own     map[muster.NodeID]string // the cluster's nodes and their names
	foreign map[muster.NodeID]string // nodes that must never be listed
	secrets []string

	samples   []sample
	writes    []write
	exits     []exit
	final     []finalState
	quietAt   time.Duration // when the last fault was over
	recovered time.Duration // how long after that all was well; -1: never
	broken    error         // why not
	leaked    []string      // goroutines that are left
	revealed  []string      // paths whose answers held a secret
}

// sample is what one node answered at one time.
type sample struct {
	At      time.Duration // when it was asked
	Done    time.Duration // when it had answered everything
	Node    string
	Since   time.Duration // when this run of the node answered first
	Health  error         // of GET /health
	Ready   bool
	Status  muster.Status
	Members []muster.Member
	Err     error // of the status or the members
}

// write is one write of a client, and what it was told.
type write struct {
	At     time.Duration
	Node   string
	Key    string
	Value  string
	Rev    int64       // acknowledged with this revision; 0: not acknowledged
	Code   muster.Code // why it was refused; empty: acknowledged, or nobody knows
	Unseen string      // what the same node said right afterwards, if that is older
}

// exit is the end of a node that was asked to stop.
type exit struct {
	Node string
	At   time.Duration
	Took time.Duration
	Err  error
}

// finalState is what one node serves at the end.
type finalState struct {
	Node    string
	Err     error
	Status  muster.Status
	Members []muster.Member
	Changes []muster.Change
}

// sampleEvery is the interval between two looks at every node.
const sampleEvery = time.Second

// watch looks at every live node until nobody calls any more.
func (r *simulator) watch() {
	for {
		select {
		case <-r.over:
			return
		case <-time.After(sampleEvery):
		}
		r.mu.Lock()
		for name, l := range r.live {
			r.work.Go(func() { r.look(name, l) })
		}
		r.mu.Unlock()
	}
}

// look takes one sample. A node that was taken down meanwhile is not judged.
func (r *simulator) look(name string, l life) {
	s := sample{At: r.now(), Node: name, Since: l.since}
	s.Health = r.check(l.host, "/health", nil)
	if a, err := r.ask(l.host, question{path: "/ready"}); err == nil {
		r.sweep("/ready", a)
		s.Ready = a.status == http.StatusOK
	}
	var list struct{ Members []muster.Member }
	s.Err = errors.Join(r.check(l.host, "/cluster/status", &s.Status), r.check(l.host, "/cluster/members", &list))
	s.Members, s.Done = list.Members, r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[name] == l {
		r.samples = append(r.samples, s)
	}
}

// check reads an answer that must be 200.
func (r *simulator) check(host, path string, into any) error {
	a, err := r.ask(host, question{path: path})
	if err != nil {
		return err
	}
	r.sweep(path, a)
	if into == nil {
		into = new(any)
	}
	return a.decode(into)
}

// sweep looks for secrets in an answer.
func (r *simulator) sweep(path string, a answer) {
	for _, secret := range r.secrets {
		if strings.Contains(string(a.body), secret) {
			r.mu.Lock()
			r.revealed = append(r.revealed, path)
			r.mu.Unlock()
		}
	}
}

// write creates and changes documents until the faults are over. A client
// changes only what it has created itself.
func (r *simulator) write(client int) {
	rng := r.rngOf(client)
	var mine []write
	for i := 0; ; i++ {
		select {
		case <-r.calm:
			return
		case <-time.After(200*time.Millisecond + time.Duration(rng.Int64N(int64(600*time.Millisecond)))):
		}
		host, name := r.any(rng)
		if host == "" {
			continue
		}
		w := write{At: r.now(), Node: name, Key: fmt.Sprintf("route/c%d-%d", client, i), Value: fmt.Sprintf("%d-%d", client, i)}
		condition := []string{"If-None-Match", "*"}
		if len(mine) > 0 && rng.IntN(3) == 0 {
			last := mine[rng.IntN(len(mine))]
			w.Key, condition = last.Key, []string{"If-Match", strconv.Quote(strconv.FormatInt(last.Rev, 10))}
		}
		if w = r.put(host, w, condition); w.Rev > 0 {
			mine = append(slices.DeleteFunc(mine, func(o write) bool { return o.Key == w.Key }), w)
		}
		r.mu.Lock()
		r.writes = append(r.writes, w)
		r.mu.Unlock()
	}
}

// any chooses a live node.
func (r *simulator) any(rng *rand.Rand) (host, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name := range r.live {
		names = append(names, name)
	}
	if len(names) == 0 {
		return "", ""
	}
	slices.Sort(names)
	name = names[rng.IntN(len(names))]
	return r.live[name].host, name
}

// put writes, and after an acknowledgement reads at the same node.
func (r *simulator) put(host string, w write, condition []string) write {
	a, err := r.ask(host, question{http.MethodPut, "/v1/config/" + w.Key, fmt.Sprintf(`{"w":%q}`, w.Value), condition})
	switch {
	case err != nil: // nobody knows
	case a.status == http.StatusOK || a.status == http.StatusCreated:
		w.Rev, _ = strconv.ParseInt(a.header.Get("Muster-Revision"), 10, 64)
		w.Unseen = r.missed(host, w)
	default:
		var p struct{ Code muster.Code }
		_ = answer{http.StatusOK, nil, a.body}.decode(&p)
		if w.Code = p.Code; w.Code == muster.CodeOutcomeUnknown {
			w.Code = ""
		}
	}
	return w
}

// missed says what a node answers that does not serve what it has acknowledged.
func (r *simulator) missed(host string, w write) string {
	a, err := r.ask(host, question{path: "/v1/config/" + w.Key})
	if err != nil || a.status == http.StatusServiceUnavailable {
		return ""
	}
	var d muster.Document
	if err := a.decode(&d); err != nil {
		return err.Error()
	}
	if d.Rev < w.Rev {
		return fmt.Sprintf("revision %d", d.Rev)
	}
	return ""
}

// read takes down what a node serves.
func (r *simulator) read(name string) (f finalState) {
	f.Node = name
	host := r.nodes[name].host
	var list struct{ Members []muster.Member }
	f.Err = errors.Join(r.check(host, "/cluster/status", &f.Status), r.check(host, "/cluster/members", &list))
	f.Members = list.Members
	for f.Err == nil {
		var page struct{ Changes []muster.Change }
		f.Err = r.check(host, "/v1/changes?after="+strconv.Itoa(len(f.Changes)), &page)
		if len(page.Changes) == 0 {
			break
		}
		f.Changes = append(f.Changes, page.Changes...)
	}
	return f
}

// bubbleGoroutines returns the stacks of the other goroutines of this bubble.
func bubbleGoroutines() (list []string) {
	buf := make([]byte, 4<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	_, bubble, ok := strings.Cut(firstLine(stacks[0]), "synctest bubble ")
	if !ok {
		return []string{"not in a bubble"}
	}
	for _, stack := range stacks[1:] {
		head := firstLine(stack)
		own := strings.Contains(head, "[synctest.Run") || strings.Contains(stack, "\ntesting/synctest.testingSynctestTest(")
		if strings.HasSuffix(head, "synctest bubble "+bubble) && !own {
			list = append(list, stack)
		}
	}
	return list
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

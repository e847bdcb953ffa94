package server_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/testnet"
	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store/memory"
)

// simulator runs one schedule on whole nodes and records what they do.
type simulator struct {
	*sim
	schedule
	begun  time.Time
	nodes  map[string]*simNode
	extras map[string]*simNode // clones, twins, intruders, strangers by step
	under  []step              // way
	ended  []chan error        // of killed processes
	work   sync.WaitGroup      // samplers, writers, stops
	calm   chan struct{}       // closed when the last fault is over: no more writes
	over   chan struct{}       // closed when no client calls any more

	mu   sync.Mutex
	live map[string]life // nodes that were started and not yet taken down
	*history
}

// life is where a client finds a node.
type life struct {
	host  string
	since time.Duration
}

// runSchedule plays a schedule in a bubble and returns what was seen.
func runSchedule(t *testing.T, plan schedule) (h *history) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &simulator{
			sim: newSim(t, plan.Seed), schedule: plan, begun: time.Now(), calm: make(chan struct{}), over: make(chan struct{}),
			nodes: map[string]*simNode{}, extras: map[string]*simNode{}, live: map[string]life{},
			history: &history{plan: plan, log: &virtualLog{begun: time.Now()}, own: map[muster.NodeID]string{}, foreign: map[muster.NodeID]string{}},
		}
		h = r.history
		r.secrets = []string{r.token, strings.TrimSpace(r.cookie)}
		if plan.Style == styleDatabase {
			r.shared = memory.New()
		}
		for i := range plan.Size {
			r.nodes[nodeName(i)] = r.plan(i)
		}
		r.play()
		r.client.CloseIdleConnections()
		synctest.Wait()
		h.leaked = bubbleGoroutines()
	})
	return h
}

// plan makes a node that knows others as the style says.
func (r *simulator) plan(i int) *simNode {
	n := r.node(nodeName(i), nil)
	n.change = func(cfg *server.Config) {
		cfg.Log = r.logger(n.name, n.process)
		switch {
		case r.Style == styleChain && i > 0:
			cfg.JoinEndpoints = []string{"http://" + nodeName(i-1) + ":9113"}
		case r.Style == styleRing:
			cfg.BootstrapExpect = r.Expect
			if r.Size > 1 {
				cfg.JoinEndpoints = []string{"http://" + nodeName((i+1)%r.Size) + ":9113"}
			}
		}
	}
	return n
}

// now returns the virtual time since the first start.
func (r *simulator) now() time.Duration { return time.Since(r.begun) }

// moment is one thing that happens at a time.
type moment struct {
	at time.Duration
	do func()
}

func (r *simulator) play() {
	var all []moment
	for i, at := range r.Starts {
		all = append(all, moment{at, func() { r.up(r.nodes[nodeName(i)]) }})
	}
	for _, s := range r.Steps {
		all = append(all, moment{s.At, func() { r.begin(s) }}, moment{s.end(), func() { r.finish(s) }})
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	r.work.Go(r.watch)
	for i := range 2 {
		r.work.Go(func() { r.write(i) })
	}
	for _, m := range all {
		time.Sleep(m.at - r.now())
		m.do()
	}
	r.settle()
	r.end()
}

// recoverLimit is how long the simulator waits for I7; the bar is lower.
const recoverLimit = 45 * time.Second

// settle waits until the cluster has recovered, watches it for a while, and reads
// what every node serves.
func (r *simulator) settle() {
	r.log.note("all faults are over")
	r.quietAt = r.now()
	close(r.calm)
	for r.recovered = -1; r.now() < r.quietAt+recoverLimit; time.Sleep(100 * time.Millisecond) {
		if r.broken = r.whole(); r.broken == nil {
			r.recovered = r.now() - r.quietAt
			break
		}
	}
	close(r.over)
	r.work.Wait()
	time.Sleep(2 * time.Second) // the last write is everywhere
	for _, name := range r.names() {
		r.final = append(r.final, r.read(name))
	}
}

// whole reports nil once every node sees all nodes healthy and in step, and no more
// is wrong than an alarm that is kept for people to see.
func (r *simulator) whole() error {
	for _, name := range r.names() {
		st, err := r.nodes[name].status()
		if err != nil {
			return err
		}
		if st.Members != r.Size || st.HealthyMembers != r.Size || !st.Converged || st.ClusterHealth != muster.Healthy && !alarmed(st) {
			return fmt.Errorf("%s: %s: %s", name, st.ClusterHealth, st.Summary)
		}
	}
	return nil
}

func alarmed(st muster.Status) bool {
	alarms := []muster.Code{muster.CodeClusterMismatch, muster.CodeClone, muster.CodeNameInUse, muster.CodePlaintext}
	return len(st.Problems) > 0 && !slices.ContainsFunc(st.Problems, func(p muster.Problem) bool { return !slices.Contains(alarms, p.Code) })
}

func (r *simulator) names() (list []string) {
	for i := range r.Size {
		list = append(list, nodeName(i))
	}
	return list
}

// end stops all nodes and waits for what is left of the killed ones.
func (r *simulator) end() {
	for _, name := range r.names() {
		r.down(name)
		r.quit(r.nodes[name])
	}
	for _, done := range r.ended {
		<-done
	}
}

// quit stops a node gracefully and notes how that went.
func (r *simulator) quit(n *simNode) {
	asked := r.now()
	n.cancel()
	err := <-n.done
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exits = append(r.exits, exit{n.name, asked, r.now() - asked, err})
}

func (r *simulator) up(n *simNode) {
	r.log.note("start " + n.name + " at " + n.host)
	n.start()
	<-n.server.Started()
	here := life{n.host, r.now()}
	r.mu.Lock()
	r.live[n.name] = here
	r.own[n.id()] = n.name
	r.mu.Unlock()
	r.work.Go(func() { // what it serves before it has heard of others
		for range 10 {
			r.look(n.name, here)
			time.Sleep(20 * time.Millisecond)
		}
	})
}

func (r *simulator) down(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, name)
}

func (n *simNode) id() muster.NodeID { return n.server.Status().NodeID }

func (r *simulator) crash(n *simNode) {
	r.log.note("kill " + n.name + " at " + n.host)
	r.down(n.name)
	n.crash()
	r.ended = append(r.ended, n.done)
}

// targets returns the nodes of a step.
func (r *simulator) targets(s step) (list []*simNode) {
	for _, name := range r.names() {
		if s.on(name) {
			list = append(list, r.nodes[name])
		}
	}
	return list
}

func (r *simulator) begin(s step) {
	r.log.note("begin " + s.String())
	r.under = append(r.under, s)
	switch s.Do {
	case doKill, doMove, doBlackout:
		for _, n := range r.targets(s) {
			r.crash(n)
		}
	case doStop:
		n := r.nodes[s.On[0]]
		r.down(n.name)
		r.work.Go(func() { r.quit(n); n.done <- nil })
	case doClone, doTwin, doIntruder, doStranger:
		r.extra(s)
	}
	r.apply()
}

func (r *simulator) finish(s step) {
	r.log.note("end " + s.String())
	r.under = slices.DeleteFunc(r.under, func(u step) bool { return u.String() == s.String() })
	r.apply()
	if n := r.extras[s.String()]; n != nil {
		n.crash()
		r.ended = append(r.ended, n.done)
		return
	}
	for _, n := range r.targets(s) {
		switch s.Do {
		case doMove:
			n.host = n.name + "-moved-" + fmt.Sprint(s.At.Milliseconds())
			r.apply() // the new host has the cables of the old one
			r.up(n)
		case doKill, doBlackout:
			r.net.Restart(n.host)
			r.up(n)
		case doStop:
			<-n.done
			r.up(n)
		}
	}
}

// apply makes network and database what the steps under way say together.
func (r *simulator) apply() {
	hosts := []string{"client"}
	for _, n := range r.nodes {
		hosts = append(hosts, n.host)
	}
	for _, n := range r.extras {
		hosts = append(hosts, n.host)
	}
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				r.cable(a, b)
			}
		}
	}
	r.database(r.databaseFaults())
}

// cable sets one direction.
func (r *simulator) cable(from, to string) {
	blocked, quality := false, testnet.Quality{}
	a, _, _ := strings.Cut(from, "-moved-")
	b, _, _ := strings.Cut(to, "-moved-")
	for _, s := range r.under {
		switch s.Do {
		case doStall:
			blocked = blocked || s.on(a) || s.on(b)
		case doSplit:
			blocked = blocked || s.on(a) != s.on(b) && a != "client" && b != "client"
		case doCut:
			blocked = blocked || s.on(a) && s.on(b)
		case doBlock:
			blocked = blocked || s.On[0] == a && s.On[1] == b
		case doSlow, doLossy:
			if s.On[0] == a && s.On[1] == b {
				quality = qualityOf(s.Do)
			}
		}
	}
	if blocked {
		r.net.Block(from, to)
	} else {
		r.net.Unblock(from, to)
	}
	r.net.Degrade(from, to, quality)
}

func qualityOf(do action) testnet.Quality {
	if do == doSlow {
		return testnet.Quality{Delay: 200 * time.Millisecond, Jitter: 50 * time.Millisecond}
	}
	return testnet.Quality{Loss: 0.2}
}

func (r *simulator) databaseFaults() (f memory.Faults) {
	for _, s := range r.under {
		switch s.Do {
		case doDown:
			f.Down = true
		case doHang:
			f.Hang = true
		case doVague:
			f.LoseReply = true
		}
	}
	return f
}

// extra starts a node that does not belong to the cluster.
func (r *simulator) extra(s step) {
	target := r.nodes[s.On[0]]
	host := fmt.Sprintf("%s-%s-%d", target.name, s.Do, s.At.Milliseconds())
	n := r.node(host, nil)
	n.host = host
	endpoints := []string{target.url()}
	switch s.Do {
	case doTwin:
		n.name = target.name
	case doClone:
		n.name, n.disk, n.mirror = target.name, target.disk.Copy(), target.mirror.copy()
	}
	n.change = func(cfg *server.Config) {
		cfg.Log = r.logger(host, n.process)
		cfg.JoinEndpoints = endpoints
		if s.Do == doIntruder || s.Do == doStranger {
			cfg.Store = ""
		}
		if s.Do == doIntruder {
			cfg.Cookies = newRing(r.t)
		}
	}
	r.extras[s.String()] = n
	if s.Do != doStranger {
		r.admit(n, s)
		return
	}
	endpoints = nil // it forms a cluster of its own first
	r.admit(n, s)
	time.Sleep(100 * time.Millisecond)
	n.kill()
	endpoints = []string{target.url()}
	n.revive()
}

// admit starts an extra node and notes who it is.
func (r *simulator) admit(n *simNode, s step) {
	r.log.note("start " + n.host)
	n.start()
	<-n.server.Started()
	if s.Do != doClone {
		r.foreign[n.id()] = n.host
	}
}

// logger writes with virtual time and the node's name, until the process is killed.
func (r *simulator) logger(node string, p *process) *slog.Logger {
	return slog.New(slog.NewTextHandler(lineWriter{r.log, node, p}, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// virtualLog is what happened, in the order of virtual time.
type virtualLog struct {
	begun time.Time

	mu    sync.Mutex
	lines []string
}

func (l *virtualLog) add(who, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%9.3fs %-6s %s", time.Since(l.begun).Seconds(), who, strings.TrimSpace(text)))
}

func (l *virtualLog) note(text string) { l.add("FAULTS", text) }

// String returns the log without what is of interest to developers of one part only.
func (l *virtualLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := slices.DeleteFunc(slices.Clone(l.lines), func(line string) bool {
		return strings.Contains(line, " level=DEBUG ") || strings.Contains(line, "level=INFO msg=write ")
	})
	return strings.Join(lines, "\n")
}

type lineWriter struct {
	log  *virtualLog
	node string
	run  *process
}

func (w lineWriter) Write(p []byte) (int, error) {
	if !w.run.dead.Load() {
		w.log.add(w.node, string(p))
	}
	return len(p), nil
}

// ask sends a request to a host and reads the whole answer.
func (r *simulator) ask(host string, q question) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, cmp.Or(q.method, http.MethodGet), "http://"+host+":9113"+q.path, strings.NewReader(q.body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	if len(q.header) == 2 {
		req.Header.Set(q.header[0], q.header[1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, data}, err
}

// question is a request; without a method it is a GET.
type question struct {
	method, path, body string
	header             []string // name and value, or nothing
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) decode(v any) error {
	if a.status != http.StatusOK {
		return fmt.Errorf("status %d: %s", a.status, a.body)
	}
	return json.Unmarshal(a.body, v)
}

// rngOf returns the random numbers of one client.
func (r *simulator) rngOf(client int) *rand.Rand {
	return rand.New(rand.NewPCG(r.Seed, uint64(client)+1))
}

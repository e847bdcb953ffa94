package server_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// style is how the nodes of a simulated cluster find each other.
type style string

const (
	styleChain    style = "chain"    // each one joins through the one before it
	styleRing     style = "ring"     // bootstrap-expect, each one knows the next
	styleDatabase style = "database" // a shared database, no endpoints
)

// action is a fault, or something that must do no harm.
type action string

const (
	doKill     action = "kill"     // power failure; the node starts again at the end
	doMove     action = "move"     // killed, and started again at another address
	doStop     action = "stop"     // graceful, and started again at the end
	doBlackout action = "blackout" // power failure of all nodes
	doStall    action = "stall"    // nothing reaches or leaves the host, as if its process were stopped
	doSplit    action = "split"    // the targets on one side, all others on the other
	doCut      action = "cut"      // between two nodes, both directions
	doBlock    action = "block"    // from the first to the second
	doSlow     action = "slow"     // one direction: 200 ms and up to 50 ms more
	doLossy    action = "lossy"    // one direction: one segment in five is sent again
	doDown     action = "db-down"  // the database refuses
	doHang     action = "db-hang"  // the database does not answer
	doVague    action = "db-vague" // the database commits and loses the answer
	doClone    action = "clone"    // a second process from a copy of the node's disk, elsewhere
	doTwin     action = "twin"     // a new node with the name of a live one
	doIntruder action = "intruder" // a node with another cookie that wants to join
	doStranger action = "stranger" // a member of another cluster with our cookie that is told to join
)

// Which actions take the target's process away, and which ones must not make
// anybody call a live node dead.
func (a action) takesProcess() bool {
	return slices.Contains([]action{doKill, doMove, doStop, doBlackout, doStall, doClone}, a)
}

func (a action) harmless() bool {
	return slices.Contains([]action{doCut, doBlock, doSlow, doDown, doHang, doVague, doTwin, doIntruder, doStranger}, a)
}

// step is one action from a time on, for a while. Times count from the first start.
type step struct {
	At, For time.Duration
	Do      action
	On      []string
}

func (s step) end() time.Duration { return s.At + s.For }

func (s step) on(node string) bool { return s.Do == doBlackout || slices.Contains(s.On, node) }

// String returns the line that parseSchedule reads.
func (s step) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", s.At, s.Do, strings.Join(s.On, ","))) + " for " + s.For.String()
}

// schedule is all that happens to a simulated cluster.
type schedule struct {
	Seed   uint64
	Size   int
	Style  style
	Expect int             // bootstrap-expect of the ring
	Starts []time.Duration // of each node
	Steps  []step          // by time
}

// quiet returns when the last fault is over.
func (s schedule) quiet() time.Duration {
	last := slices.Max(s.Starts)
	for _, step := range s.Steps {
		last = max(last, step.end())
	}
	return last
}

// String returns the form that parseSchedule reads.
func (s schedule) String() string {
	var b strings.Builder
	starts := make([]string, len(s.Starts))
	for i, at := range s.Starts {
		starts[i] = at.String()
	}
	_, _ = fmt.Fprintf(&b, "%d %d %s %d %s\n", s.Seed, s.Size, s.Style, s.Expect, strings.Join(starts, ","))
	for _, step := range s.Steps {
		b.WriteString(step.String() + "\n")
	}
	return b.String()
}

func parseSchedule(text string) (s schedule, err error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var starts string
	if _, err := fmt.Sscan(lines[0], &s.Seed, &s.Size, &s.Style, &s.Expect, &starts); err != nil {
		return s, fmt.Errorf("first line %q: want SEED SIZE STYLE EXPECT STARTS: %w", lines[0], err)
	}
	for _, text := range strings.Split(starts, ",") {
		at, err := time.ParseDuration(text)
		if err != nil {
			return s, fmt.Errorf("starts: %w", err)
		}
		s.Starts = append(s.Starts, at)
	}
	if len(s.Starts) != s.Size {
		return s, fmt.Errorf("%d starts for %d nodes", len(s.Starts), s.Size)
	}
	for _, line := range lines[1:] {
		step, err := parseStep(line)
		if err != nil {
			return s, fmt.Errorf("%q: %w", line, err)
		}
		s.Steps = append(s.Steps, step)
	}
	return s, nil
}

func parseStep(line string) (s step, err error) {
	words := strings.Fields(line)
	if len(words) < 4 || words[len(words)-2] != "for" {
		return s, fmt.Errorf("want TIME ACTION [NODE,...] for DURATION")
	}
	s.Do = action(words[1])
	if len(words) == 5 {
		s.On = strings.Split(words[2], ",")
	}
	if s.At, err = time.ParseDuration(words[0]); err != nil {
		return s, err
	}
	s.For, err = time.ParseDuration(words[len(words)-1])
	return s, err
}

func nodeName(i int) string { return "n" + strconv.Itoa(i+1) }

// generator draws a schedule from a seed.
type generator struct {
	schedule
	rng  *rand.Rand
	busy map[string]time.Duration // until when an action has the node's process
	hold time.Duration            // until when an identity is doubled: nothing else may happen
	move bool                     // a node has moved already
}

// faultTime is the length of the part of a schedule in which faults begin.
const faultTime = 60 * time.Second

func newSchedule(seed uint64) schedule {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0x5eed)), busy: map[string]time.Duration{}}
	g.Seed, g.Size = seed, []int{1, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7}[g.rng.IntN(12)]
	g.Style = []style{styleChain, styleRing, styleDatabase}[g.rng.IntN(3)]
	if g.Style == styleRing {
		g.Expect = g.Size/2 + 1 + g.rng.IntN(g.Size-g.Size/2)
	}
	for range g.Size {
		g.Starts = append(g.Starts, g.upTo(2*time.Second))
	}
	at := 3 * time.Second
	if g.rng.IntN(4) == 0 {
		at = 0 // faults while the cluster forms
	}
	for at += g.upTo(5 * time.Second); at < faultTime; at += g.upTo(15 * time.Second) {
		g.add(at)
	}
	return g.schedule
}

// upTo returns a random duration in whole milliseconds.
func (g *generator) upTo(limit time.Duration) time.Duration {
	return time.Duration(g.rng.Int64N(limit.Milliseconds())) * time.Millisecond
}

// add draws an action that may begin now; sometimes there is none.
func (g *generator) add(at time.Duration) {
	choices := []action{
		doKill, doKill, doKill, doStop, doStop, doStall, doStall, doMove, doBlackout, doTwin, doIntruder, doStranger,
		doSplit, doSplit, doCut, doCut, doBlock, doBlock, doSlow, doLossy, doClone, doDown, doHang, doVague,
	}
	s := step{At: at, Do: choices[g.rng.IntN(len(choices))], For: g.length()}
	if s.On = g.targets(s); s.At < g.hold || !g.fits(&s) {
		return
	}
	if s.Do == doTwin || s.Do == doClone {
		g.hold = s.end() + settling
	}
	if s.Do.takesProcess() {
		for i := range g.Size {
			if name := nodeName(i); s.on(name) {
				g.busy[name] = s.end() + time.Second
			}
		}
	}
	g.Steps = append(g.Steps, s)
}

// settling is what the cluster gets before and after an identity is doubled: a
// node that looks dead may lose its name to another, and rightly so.
const settling = 10 * time.Second

// alone puts a step behind all others.
func (g *generator) alone(s *step) {
	s.At = max(s.At, slices.Max(g.Starts)+settling)
	for _, other := range g.Steps {
		s.At = max(s.At, other.end()+settling)
	}
	s.For = 6*time.Second + g.upTo(10*time.Second)
}

// length is short mostly: most trouble is a blink.
func (g *generator) length() time.Duration {
	limit := []time.Duration{time.Second, 5 * time.Second, 12 * time.Second, 40 * time.Second}[g.rng.IntN(4)]
	return 100*time.Millisecond + g.upTo(limit)
}

func (g *generator) targets(s step) []string {
	order := g.rng.Perm(g.Size)
	count := 1
	switch s.Do {
	case doBlackout, doDown, doHang, doVague:
		return nil
	case doCut, doBlock, doSlow, doLossy:
		count = min(2, g.Size)
	case doSplit:
		count = max(1, g.Size/2)
	}
	names := make([]string, count)
	for i := range names {
		names[i] = nodeName(order[i])
	}
	return names
}

// fits says whether the step makes sense here, and what it needs.
func (g *generator) fits(s *step) bool {
	free := true
	for i := range g.Size {
		name := nodeName(i)
		free = free && (!s.on(name) || g.busy[name] <= s.At && g.Starts[i] < s.At)
	}
	switch s.Do {
	case doDown, doHang, doVague:
		return g.Style == styleDatabase
	case doCut, doBlock, doSlow, doLossy, doSplit:
		return g.Size > 1
	case doMove:
		// Two nodes that move while neither can see the other need discovery.
		ok := free && g.Size > 1 && (g.Style == styleDatabase || !g.move)
		g.move = g.move || ok
		return ok
	case doClone:
		g.alone(s)
		// Without a database the copy of the home's disk would hold another history.
		return g.Size > 1 && (g.Style == styleDatabase || g.Style == styleChain && s.On[0] != "n1")
	case doTwin:
		g.alone(s)
		return true
	case doIntruder, doStranger:
		s.For = max(s.For, 8*time.Second)
		return true
	case doBlackout, doKill, doStop, doStall:
		return free
	}
	return false
}

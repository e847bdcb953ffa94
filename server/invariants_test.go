package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
)

// Bars of the invariants.
const (
	recoverBar = 15 * time.Second // after the last fault, without an operator
	deathBar   = 5 * time.Second  // until a dead member is known
	exitBar    = 10 * time.Second // of a graceful stop
)

// invariant holds in every run, whatever the schedule.
type invariant struct {
	name  string
	claim string
	check func(*history) []string // what is wrong
}

func invariants() []invariant {
	return []invariant{
		{"I1", "in quiet all nodes show the same cluster, members, revision, chain and view", (*history).disagreements},
		{"I2", "no acknowledged write is lost, none is doubled, no refused one is applied", (*history).lostWrites},
		{"I3", "no node serves an older revision than before, also after a restart", (*history).stepsBack},
		{"I4", "nobody of another cluster is ever listed", (*history).foreigners},
		{"I5", "no live reachable node is called dead", (*history).falseDeaths},
		{"I6", "/health never fails, /ready and the verdict are honest", (*history).dishonesty},
		{"I7", "the cluster recovers within 15 s of the last fault by itself", (*history).slowRecovery},
		{"I8", "all goroutines end with their node, and it ends in time", (*history).leaks},
		{"I9", "no secret is logged or answered", (*history).revelations},
		{"I10", "nothing panics", (*history).panics},
		{"I11", "one start is one cluster id", (*history).splitIDs},
		{"I12", "a name or identity in use twice is said loudly", (*history).silentConflicts},
	}
}

// violations returns what is wrong with a run, at most a few lines per invariant.
func (h *history) violations() (list []string) {
	for _, inv := range invariants() {
		found := inv.check(h)
		for i, text := range found {
			if i == 5 {
				list = append(list, fmt.Sprintf("%s: and %d more", inv.name, len(found)-i))
				break
			}
			list = append(list, inv.name+" ("+inv.claim+"): "+text)
		}
	}
	return list
}

func (h *history) disagreements() (bad []string) {
	var first *finalState
	for i := range h.final {
		f := &h.final[i]
		if f.Err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", f.Node, f.Err))
			continue
		}
		if first == nil {
			first = f
		}
		if want, got := outlook(first), outlook(f); got != want {
			bad = append(bad, fmt.Sprintf("%s shows %s, %s shows %s", first.Node, want, f.Node, got))
		}
	}
	return bad
}

// outlook is what all nodes must agree on.
func outlook(f *finalState) string {
	var members []string
	for _, m := range f.Members {
		members = append(members, fmt.Sprintf("%s=%s@%s", m.Name, m.State, m.Endpoint))
	}
	c := f.Status.Config
	return fmt.Sprintf("cluster %s view %s members %s config %d/%d/%s",
		f.Status.ClusterID, f.Status.ViewHash, strings.Join(members, " "), c.Epoch, c.Rev, c.Chain.Short())
}

func (h *history) lostWrites() (bad []string) {
	for _, f := range h.final {
		values := map[string][]muster.Change{}
		for _, c := range f.Changes {
			var spec struct{ W string }
			_ = json.Unmarshal(c.Spec, &spec)
			values[spec.W] = append(values[spec.W], c)
		}
		for _, w := range h.writes {
			if why := w.wrong(values[w.Value]); why != "" {
				bad = append(bad, fmt.Sprintf("%s, written at %s at %s: %s according to %s", w.Key, w.Node, w.At, why, f.Node))
			}
		}
	}
	return bad
}

// wrong compares a write with the changes that hold its value.
func (w write) wrong(found []muster.Change) string {
	switch {
	case len(found) > 1:
		return fmt.Sprintf("applied %d times", len(found))
	case w.Rev > 0 && len(found) == 0:
		return fmt.Sprintf("acknowledged as revision %d and lost", w.Rev)
	case w.Rev > 0 && (found[0].Rev != w.Rev || found[0].Kind+"/"+found[0].Name != w.Key):
		return fmt.Sprintf("acknowledged as revision %d and found as revision %d", w.Rev, found[0].Rev)
	case w.Code != "" && len(found) > 0:
		return fmt.Sprintf("refused with %s and applied as revision %d", w.Code, found[0].Rev)
	}
	return ""
}

func (h *history) stepsBack() (bad []string) {
	last := map[string]sample{}
	for _, s := range h.answered() {
		if s.Status.Config.Source == "" {
			continue // serves nothing
		}
		if s.At < last[s.Node].Done {
			continue // the two answers may have overtaken each other
		}
		before, now := last[s.Node].Status.Config, s.Status.Config
		if now.Epoch < before.Epoch || now.Epoch == before.Epoch && now.Rev < before.Rev {
			bad = append(bad, fmt.Sprintf("%s at %s serves %d/%d after %d/%d at %s", s.Node, s.At, now.Epoch, now.Rev, before.Epoch, before.Rev, last[s.Node].At))
		}
		last[s.Node] = s
	}
	for _, w := range h.writes {
		if w.Unseen != "" {
			bad = append(bad, fmt.Sprintf("%s at %s acknowledged %s as revision %d and answered then: %s", w.Node, w.At, w.Key, w.Rev, w.Unseen))
		}
	}
	return bad
}

// answered returns the samples that were answered, in order.
func (h *history) answered() (list []sample) {
	for _, s := range h.samples {
		if s.Err == nil {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b sample) int { return int(a.At - b.At) })
	return list
}

func (h *history) foreigners() (bad []string) {
	for _, s := range h.answered() {
		for _, m := range s.Members {
			if who, ok := h.foreign[m.ID]; ok || h.own[m.ID] == "" {
				bad = append(bad, fmt.Sprintf("%s at %s lists %s (%s)", s.Node, s.At, m.Name, who))
			}
		}
	}
	return bad
}

func (h *history) falseDeaths() (bad []string) {
	for _, s := range h.answered() {
		if !h.harmless(s.At) {
			continue
		}
		for _, m := range s.Members {
			if m.State == muster.StateDead || m.State == muster.StateLeft {
				bad = append(bad, fmt.Sprintf("%s at %s calls %s %s: %s", s.Node, s.At, m.Name, m.State, m.Reason))
			}
		}
	}
	return bad
}

// harmless reports whether nothing that takes a node away, or all its paths, was
// under way at a time or a little before. A single cut link is harmless as long as
// somebody else can vouch for the node behind it.
func (h *history) harmless(at time.Duration) bool {
	if at < slices.Max(h.plan.Starts)+recoverBar {
		return false
	}
	links := 0
	for _, s := range h.plan.Steps {
		if s.At > at || s.end()+recoverBar < at {
			continue
		}
		if s.Do == doCut || s.Do == doBlock || s.Do == doSlow {
			links++
		}
		if !s.Do.harmless() {
			return false
		}
	}
	return links == 0 || links == 1 && h.plan.Size > 3
}

func (h *history) dishonesty() (bad []string) {
	for _, s := range h.samples {
		if s.Health != nil && !h.stalled(s) {
			bad = append(bad, fmt.Sprintf("/health of %s at %s: %v", s.Node, s.At, s.Health))
		}
		if s.Err == nil && s.Ready && (s.Status.ClusterID == "" || s.Status.Config.Source == "") {
			bad = append(bad, fmt.Sprintf("%s at %s is ready with cluster %q and the configuration from %q", s.Node, s.At, s.Status.ClusterID, s.Status.Config.Source))
		}
		if s.Err == nil && s.Status.ClusterHealth == muster.Healthy && h.plan.Size > 1 && !h.stalled(s) {
			if step, ok := h.missing(s.At); ok {
				bad = append(bad, fmt.Sprintf("%s at %s says HEALTHY during %s", s.Node, s.At, step))
			}
		}
	}
	return bad
}

// stalled reports whether the client could not reach the node, then or while it
// waited for the answer.
func (h *history) stalled(s sample) bool {
	return slices.ContainsFunc(h.plan.Steps, func(step step) bool {
		return step.Do == doStall && step.on(s.Node) && step.At < s.At+4*time.Second && s.At < step.end()
	})
}

// missing returns a step that has kept a node away from the others for so long that
// everybody must know.
func (h *history) missing(at time.Duration) (step, bool) {
	if at < h.plan.Starts[0]+recoverBar {
		return step{}, false // while it forms, not everybody is expected yet
	}
	for _, s := range h.plan.Steps {
		away := s.Do == doKill || s.Do == doMove || s.Do == doBlackout || s.Do == doStall || s.Do == doSplit
		if away && s.At+deathBar < at && at < s.end() {
			return s, true
		}
	}
	return step{}, false
}

func (h *history) slowRecovery() (bad []string) {
	switch {
	case h.recovered < 0:
		bad = append(bad, fmt.Sprintf("not recovered %s after the last fault: %v", recoverLimit, h.broken))
	case h.recovered > recoverBar:
		bad = append(bad, fmt.Sprintf("recovered %s after the last fault", h.recovered))
	}
	return bad
}

func (h *history) leaks() (bad []string) {
	for _, stack := range h.leaked {
		bad = append(bad, "left: "+stack)
	}
	for _, e := range h.exits {
		if e.Took > exitBar {
			bad = append(bad, fmt.Sprintf("%s took %s to stop at %s", e.Node, e.Took, e.At))
		}
	}
	return bad
}

func (h *history) revelations() (bad []string) {
	for _, path := range h.revealed {
		bad = append(bad, path+" answers a secret")
	}
	for _, line := range h.log.lines {
		for i, secret := range h.secrets {
			if strings.Contains(line, secret) {
				bad = append(bad, fmt.Sprintf("secret %d is in the log: %s", i, line))
			}
		}
	}
	return bad
}

func (h *history) panics() (bad []string) {
	for _, line := range h.log.lines {
		if strings.Contains(line, "panic") {
			bad = append(bad, line)
		}
	}
	for _, e := range h.exits {
		if e.Err != nil {
			bad = append(bad, fmt.Sprintf("%s ended with an error at %s: %v", e.Node, e.At, e.Err))
		}
	}
	return bad
}

func (h *history) splitIDs() (bad []string) {
	var first sample
	for _, s := range h.answered() {
		switch {
		case s.Status.ClusterID == "":
		case first.Node == "":
			first = s
		case s.Status.ClusterID != first.Status.ClusterID:
			bad = append(bad, fmt.Sprintf("%s at %s is in %s, %s at %s in %s", first.Node, first.At, first.Status.ClusterID, s.Node, s.At, s.Status.ClusterID))
		}
	}
	return bad
}

// conflictBar is how long it takes until a doubled name or identity is said.
const conflictBar = 5 * time.Second

func (h *history) silentConflicts() (bad []string) {
	for _, s := range h.plan.Steps {
		want := map[action]muster.Code{doTwin: muster.CodeNameInUse, doClone: muster.CodeClone, doStranger: muster.CodeClusterMismatch}[s.Do]
		if want == "" || s.Do == doStranger && !h.harmless(s.At) {
			continue
		}
		if !h.said(string(want), s) {
			bad = append(bad, fmt.Sprintf("nobody says %s within %s of %s", want, conflictBar, s))
		}
	}
	return bad
}

// said reports whether a line of the log holds a word soon after a step began.
func (h *history) said(word string, s step) bool {
	for _, line := range h.log.lines {
		seconds, rest, _ := strings.Cut(strings.TrimSpace(line), "s ")
		at, err := time.ParseDuration(seconds + "s")
		if err == nil && at >= s.At && at <= s.At+conflictBar && strings.Contains(rest, word) && !strings.HasPrefix(rest, "FAULTS") {
			return true
		}
	}
	return false
}

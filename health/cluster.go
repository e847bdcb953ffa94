package health

import (
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster"
)

// Cluster is what one node knows about its cluster as a whole.
type Cluster struct {
	Formed    bool
	Waiting   string // what an unformed node waits for
	Size      int    // durable member list
	Members   []muster.Member
	Converged bool
	Rev       int64
	Behind    []string
	Problems  []muster.Problem
	Now       time.Time
}

// Summary is the verdict on a cluster.
type Summary struct {
	Health    muster.Health
	Healthy   int    // healthy members
	Known     int    // members that have not left
	Tolerates int    // further losses before the verdict is UNHEALTHY
	Sentence  string // the verdict for people
}

// Judge weighs the state of the cluster: HEALTHY when every expected member is
// healthy, all serve one revision and nothing is wrong; UNHEALTHY when the node
// belongs to no cluster or at most half of the expected members are healthy;
// DEGRADED in between.
func (c Cluster) Judge() Summary {
	s := Summary{}
	for _, m := range c.Members {
		if m.State != muster.StateLeft && m.State != muster.StateExpelled {
			s.Known++
		}
		if m.Healthy {
			s.Healthy++
		}
	}
	size := max(c.Size, 1)
	s.Tolerates = max(0, s.Healthy-size/2-1)
	s.Health = c.level(s.Healthy, size)
	s.Sentence = c.sentence(s)
	return s
}

func (c Cluster) level(healthy, size int) muster.Health {
	switch {
	case !c.Formed, 2*healthy <= size:
		return muster.Unhealthy
	case healthy < size, !c.Converged, len(c.Problems) > 0:
		return muster.Degraded
	}
	return muster.Healthy
}

func (c Cluster) sentence(s Summary) string {
	if !c.Formed {
		return "This node belongs to no cluster yet: " + c.Waiting + "."
	}
	parts := []string{c.counted(s)}
	for _, m := range c.Members {
		if !m.Healthy && m.State != muster.StateExpelled {
			parts = append(parts, c.sick(m))
		}
	}
	if len(c.Behind) > 0 {
		parts = append(parts, strings.Join(c.Behind, ", ")+" not yet at revision "+fmt.Sprint(c.Rev))
	}
	for _, p := range c.Problems {
		parts = append(parts, p.Text)
	}
	return strings.Join(parts, "; ") + "."
}

func (c Cluster) counted(s Summary) string {
	size := max(c.Size, 1)
	switch {
	case s.Healthy == 1 && size == 1:
		return fmt.Sprintf("The one member is healthy and serves revision %d", c.Rev)
	case s.Healthy == size && c.Converged:
		return fmt.Sprintf("All %d members are healthy and serve revision %d", size, c.Rev)
	}
	return fmt.Sprintf("%d of %d members healthy", s.Healthy, size)
}

func (c Cluster) sick(m muster.Member) string {
	word := string(m.State)
	if m.State == muster.StateAlive {
		word = "unreachable"
	}
	text := m.Name + " " + word
	if !m.Since.IsZero() {
		text += " for " + c.Now.Sub(m.Since).Round(time.Second).String()
	}
	if m.Reason != "" {
		text += " (" + m.Reason + ")"
	}
	return text
}

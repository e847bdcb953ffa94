package replica

import (
	"sort"
	"sync"
	"time"

	"github.com/musterhq/muster"
)

// maxMarks bounds the steps of the copy that are remembered: a step has one revision
// or more.
const maxMarks = 1024

// origin is where changes come from.
type origin struct {
	source string // store, peer or mirror, as /cluster/status shows it
	way    muster.Way
	peer   muster.NodeID // that sent them; empty: the store or the mirror
}

// Mark is one step of a node's copy: the revisions after After up to Rev came and were
// served at the same time.
type Mark struct {
	After    int64         `json:"after"`
	Rev      int64         `json:"rev"`
	Way      muster.Way    `json:"way"`
	Source   string        `json:"source"`
	Peer     muster.NodeID `json:"peer,omitempty"`
	Received time.Time     `json:"received"` // by the node's own clock
	Applied  time.Time     `json:"applied"`
}

// marks remembers the last steps.
type marks struct {
	now func() time.Time

	mu   sync.Mutex
	list []Mark // by rising Rev
}

// add remembers a step. What a step back or aside has made void is forgotten.
func (m *marks) add(k Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := len(m.list); n > 0 && m.list[n-1].Rev > k.After; n = len(m.list) {
		m.list = m.list[:n-1]
	}
	m.list = append(m.list, k)
	if len(m.list) > maxMarks*5/4 {
		m.list = append([]Mark{}, m.list[len(m.list)-maxMarks:]...)
	}
}

// of returns the step that brought a revision.
func (m *marks) of(rev int64) (Mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := sort.Search(len(m.list), func(i int) bool { return m.list[i].Rev >= rev })
	if i == len(m.list) || m.list[i].After >= rev {
		return Mark{}, false
	}
	return m.list[i], true
}

// since returns when this node went beyond a revision that it has left behind, or the
// oldest moment that it remembers.
func (m *marks) since(rev int64) (time.Time, bool) {
	if k, ok := m.of(rev + 1); ok {
		return k.Applied, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.list) == 0 || m.list[len(m.list)-1].Rev <= rev {
		return time.Time{}, false
	}
	return m.list[0].Applied, true
}

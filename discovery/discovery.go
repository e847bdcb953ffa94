// Package discovery finds the endpoints of other nodes.
//
// A [Source] asks one method once: a list, a name server, a registry. A [Poller]
// asks all sources of a node again and again, merges what they say, and keeps
// the last answer of each for people to see. What it finds are hints: nothing is
// trusted because discovery named it, and no credential is sent to it unproved.
//
// The methods live in packages below this one, so that a program links only
// those that it names.
package discovery

import (
	"context"

	"github.com/musterhq/muster"
)

// Candidate is one endpoint that may be a node.
type Candidate struct {
	Endpoint string        // URL of the management port
	ID       muster.NodeID // empty if the method does not know
	Source   string        // name of the source
}

// Source is one discovery method with its settings. Find asks once and returns
// everything there is now; this node itself may be among it. It honours ctx and
// is called by one goroutine at a time.
type Source interface {
	Name() string
	Find(ctx context.Context) ([]Candidate, error)
}

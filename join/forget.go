package join

import (
	"github.com/musterhq/muster"
)

// Ties is what binds the node of a data directory to a cluster.
type Ties struct {
	ID      muster.NodeID
	Name    string
	Cluster Cluster
	Peers   int     // members that it would turn to
	Promise Promise // to let another node form
	Drained bool
}

// Any reports whether there are any.
func (t Ties) Any() bool {
	return t.Cluster.ID != "" || t.Peers > 0 || t.Promise.To != "" || t.Drained
}

// TiesOf reads a data directory whose node does not run. It changes nothing.
func TiesOf(dir string) (Ties, error) {
	s, err := reopen(dir)
	if err != nil {
		return Ties{}, err
	}
	r := s.read()
	return Ties{ID: r.NodeID, Name: r.Name, Cluster: r.Cluster, Peers: len(r.Peers), Promise: r.Promise, Drained: r.Drain != nil}, nil
}

// Cut removes everything that Ties names from a data directory whose node does not
// run. The node keeps its key, its name and its cookies' history. Promises that it
// holds of others are void: it never uses them again. One that it has given is
// void too, on the word of the operator.
func Cut(dir string) error {
	s, err := reopen(dir)
	if err != nil {
		return err
	}
	return s.update(func(r *record) error {
		if r.Promise.To == r.NodeID {
			r.Round++
		}
		r.Cluster, r.Unconfirmed, r.Peers, r.Promise, r.Drain = Cluster{}, false, nil, Promise{}, nil
		return nil
	})
}

// reopen reads the state of a node that has run before, without counting a start.
func reopen(dir string) (*State, error) {
	d := directory(dir)
	data, err := d.load()
	if err != nil {
		return nil, muster.Errorf(muster.CodeDataDir, "read %s: %w", d, err)
	}
	if data == nil {
		return nil, muster.Errorf(muster.CodeDataDir, "%s is no data directory of a node: it has no %s", dir, StateFile).
			WithFix("give the directory that the node was started with, as --data-dir")
	}
	s := &State{disk: d}
	if s.record, err = decode(data); err != nil {
		return nil, muster.Errorf(muster.CodeDataDir, "%s is damaged: %w", d, err)
	}
	return s, nil
}

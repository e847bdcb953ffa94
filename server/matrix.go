package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
)

// maxBroken bounds the problems about links; the matrix has all of them.
const maxBroken = 8

// mesh is what this node and all others say, and when they said it.
func (n *node) mesh() (health.Mesh, map[muster.NodeID]health.Outlook, map[muster.NodeID]time.Time) {
	outlooks, at := n.lookout.heard()
	outlooks[n.self.ID], at[n.self.ID] = n.outlook(), time.Now()
	return health.NewMesh(outlooks), outlooks, at
}

// observed adds to each member those to whom it looks other than to this node.
func (n *node) observed(members []muster.Member) []muster.Member {
	mesh, outlooks, _ := n.mesh()
	own := map[muster.NodeID]muster.State{n.self.ID: muster.StateAlive}
	for _, s := range outlooks[n.self.ID].Sights {
		own[s.ID] = s.State
	}
	at := make(map[muster.NodeID]*muster.Member, len(members))
	for i := range members {
		at[members[i].ID] = &members[i]
	}
	for _, by := range members {
		for _, s := range outlooks[by.ID].Sights {
			m := at[s.ID]
			if by.Self || m == nil || s.State == own[s.ID] && len(s.Trouble) == 0 {
				continue
			}
			m.Observers = append(m.Observers, observer(mesh, by, s))
		}
	}
	return members
}

// Observers returns how all others see a member. See mgmt.Node.
func (n *node) Observers(id muster.NodeID) []muster.Observer {
	mesh, outlooks, _ := n.mesh()
	list := []muster.Observer{}
	for _, by := range n.members() {
		for _, s := range outlooks[by.ID].Sights {
			if s.ID == id && !by.Self {
				list = append(list, observer(mesh, by, s))
			}
		}
	}
	return list
}

func observer(mesh health.Mesh, by muster.Member, s health.Sight) muster.Observer {
	return muster.Observer{
		ID: by.ID, Name: by.Name, State: s.State, Since: s.Since,
		Link: mesh.Link(by.ID, s.ID), Reason: health.Words(s.Trouble),
	}
}

// Matrix returns who sees whom. See mgmt.Node.
func (n *node) Matrix() muster.Matrix {
	members := n.members()
	mesh, outlooks, heard := n.mesh()
	x := muster.Matrix{Members: []muster.MatrixMember{}, Rows: []muster.MatrixRow{}, Broken: mesh.Broken(members)}
	column := make(map[muster.NodeID]int, len(members))
	for i, m := range members {
		x.Members = append(x.Members, muster.MatrixMember{ID: m.ID, Name: m.Name})
		column[m.ID] = i
	}
	for i, by := range members {
		o := outlooks[by.ID]
		row := muster.MatrixRow{ID: by.ID, Name: by.Name, Heard: heard[by.ID], Isolated: o.Isolated}
		row.Marks = slices.Repeat([]muster.Mark{muster.MarkUnknown}, len(members))
		for _, s := range o.Sights {
			if j, known := column[s.ID]; known {
				row.Marks[j] = markOf(mesh, by.ID, s)
			}
		}
		row.Marks[i] = muster.MarkSelf
		x.Rows = append(x.Rows, row)
	}
	return x
}

func markOf(mesh health.Mesh, by muster.NodeID, s health.Sight) muster.Mark {
	if s.State == muster.StateAlive {
		switch mesh.Link(by, s.ID) {
		case muster.LinkDown:
			return muster.MarkLinkDown
		case muster.LinkOneWay:
			return muster.MarkOneWay
		}
	}
	return muster.Mark(s.State)
}

// partialMesh names each pair of live members that do not reach each other.
func (n *node) partialMesh(members []muster.Member) (list []muster.Problem) {
	mesh, _, _ := n.mesh()
	links := mesh.Broken(members)
	// Both directions of a pair that is broken both ways are one problem.
	links = slices.DeleteFunc(links, func(b muster.BrokenLink) bool { return !b.OneWay && b.FromID > b.ToID && mesh.Mutual(b) })
	for i, b := range links {
		if i == maxBroken {
			info, _ := muster.CodePartialMesh.Info()
			text := fmt.Sprintf("%d more pairs of members do not reach each other", len(links)-i)
			return append(list, muster.Problem{Code: muster.CodePartialMesh, Text: text, Fix: info.Fix, Since: b.Since})
		}
		list = append(list, meshProblem(b, members))
	}
	return list
}

func meshProblem(b muster.BrokenLink, members []muster.Member) muster.Problem {
	text := fmt.Sprintf("%s does not reach %s: %s; %s reaches %s", b.From, b.To, b.Reason, b.To, b.From)
	if !b.OneWay {
		text = fmt.Sprintf("%s and %s do not reach each other: %s", b.From, b.To, b.Reason)
	}
	info, _ := muster.CodePartialMesh.Info()
	p := muster.Problem{Code: muster.CodePartialMesh, Text: text, Fix: info.Fix, Since: b.Since}
	if i := slices.IndexFunc(members, func(m muster.Member) bool { return m.ID == b.ToID }); i >= 0 {
		endpoint := cmp.Or(members[i].Endpoint, "its endpoint")
		p.Fix = fmt.Sprintf("on %s, try: curl %s/health; all pairs: muster members --matrix", b.From, strings.TrimRight(endpoint, "/"))
	}
	return p
}

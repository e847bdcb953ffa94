package health

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster"
)

// Trouble is one way to a member that an observer finds broken.
type Trouble struct {
	Channel string    `json:"channel"` // packet, stream, rpc
	Why     string    `json:"why"`     // in words
	Since   time.Time `json:"since"`
}

// Sight is how one observer sees one member.
type Sight struct {
	ID      muster.NodeID `json:"id"`
	State   muster.State  `json:"state"`
	Since   time.Time     `json:"since"`
	Trouble []Trouble     `json:"trouble,omitempty"`
}

// Outlook is all that one observer says.
type Outlook struct {
	Isolated bool    `json:"isolated"` // it hears nobody: what it says of others is worth nothing
	Sights   []Sight `json:"sights"`
}

// direction is from an observer to a member.
type direction struct{ from, to muster.NodeID }

// Mesh is what all observers together say about the links between live members.
type Mesh struct {
	outlooks map[muster.NodeID]Outlook
	trouble  map[direction]Sight // the few that are not in order
}

// NewMesh puts together what the observers say, by their ids.
func NewMesh(outlooks map[muster.NodeID]Outlook) Mesh {
	m := Mesh{outlooks, map[direction]Sight{}}
	for from, o := range outlooks {
		for _, s := range o.Sights {
			if len(s.Trouble) > 0 {
				m.trouble[direction{from, s.ID}] = s
			}
		}
	}
	return m
}

// Link says whether an observer reaches a member. Who has said nothing, or is
// isolated, accuses nobody.
func (m Mesh) Link(from, to muster.NodeID) muster.LinkWord {
	switch {
	case !m.blames(from, to):
		return muster.LinkUp
	case m.blames(to, from) || m.outlooks[to].Isolated:
		return muster.LinkDown
	}
	return muster.LinkOneWay
}

// Mutual reports whether both ends of a link say that it is broken, so that the list of
// broken links has it twice.
func (m Mesh) Mutual(b muster.BrokenLink) bool {
	return m.blames(b.FromID, b.ToID) && m.blames(b.ToID, b.FromID)
}

func (m Mesh) blames(from, to muster.NodeID) bool {
	return !m.outlooks[from].Isolated && len(m.trouble[direction{from, to}].Trouble) > 0
}

// Broken returns the links between live members that do not work, ordered by the
// names of both ends. A member that is isolated is sick itself: links to it are its
// own fault and not listed. Two members that can only call others have no link between
// them: nothing is broken there.
func (m Mesh) Broken(members []muster.Member) []muster.BrokenLink {
	live := map[muster.NodeID]muster.Member{}
	for _, one := range members {
		if !one.State.Gone() {
			live[one.ID] = one
		}
	}
	list := []muster.BrokenLink{}
	for d, s := range m.trouble {
		from, to := live[d.from], live[d.to]
		if from.ID == "" || to.ID == "" || !m.blames(d.from, d.to) || m.outlooks[d.to].Isolated {
			continue
		}
		if from.Endpoint == "" && to.Endpoint == "" {
			continue
		}
		list = append(list, broken(from, to, s, m.Link(d.from, d.to) == muster.LinkOneWay))
	}
	slices.SortFunc(list, func(a, b muster.BrokenLink) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.FromID, b.FromID), cmp.Compare(a.ToID, b.ToID))
	})
	return list
}

func broken(from, to muster.Member, s Sight, oneWay bool) muster.BrokenLink {
	b := muster.BrokenLink{
		From: from.Name, FromID: from.ID, To: to.Name, ToID: to.ID, OneWay: oneWay,
		Channels: []string{}, Reason: Words(s.Trouble), Since: s.Trouble[0].Since,
	}
	for _, t := range s.Trouble {
		b.Channels = append(b.Channels, t.Channel)
		if t.Since.Before(b.Since) {
			b.Since = t.Since
		}
	}
	return b
}

// channelName says what travels on a channel.
func channelName(channel string) string {
	switch channel {
	case "packet":
		return "packets"
	case "stream":
		return "state streams"
	}
	return "calls"
}

// Words says in words what of a link is broken, and what still works.
func Words(trouble []Trouble) string {
	var parts, fine []string
	for _, channel := range []string{"packet", "stream", "rpc"} {
		i := slices.IndexFunc(trouble, func(t Trouble) bool { return t.Channel == channel })
		if i < 0 {
			fine = append(fine, channelName(channel))
			continue
		}
		parts = append(parts, channelName(channel)+": "+trouble[i].Why)
	}
	text := strings.Join(parts, ", ")
	if len(fine) > 0 && len(parts) > 0 {
		text += " (" + strings.Join(fine, " and ") + " pass)"
	}
	return text
}

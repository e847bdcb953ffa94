package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/musterhq/muster"
)

// keysPath answers which cookies a node accepts. It is a call of its own, and not
// one of the facts that are remembered, because a rotation must not go by what was
// true a while ago.
const keysPath = "/peer/v1/keys"

// maxListed bounds each list of what a node says of its keys.
const maxListed = 64

// ownKeys is what this node says of its cookies.
func (n *node) ownKeys() muster.NodeKeys {
	own := muster.NodeKeys{
		ID: n.self.ID, Name: n.self.Name, State: muster.StateAlive, Accepted: n.cookies.now().KIDs(),
		Retired: n.state.Retired(), Links: []muster.LinkKey{}, Tokens: n.cookies.usage.list(),
	}
	for _, l := range n.link.Links() {
		k := muster.LinkKey{Peer: l.Name, Channel: string(l.Channel), KID: l.KID}
		if len(own.Links) < maxListed && !slices.Contains(own.Links, k) {
			own.Links = append(own.Links, k)
		}
	}
	return own
}

func (n *node) serveKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(n.ownKeys()) // the caller is gone if it fails
}

// memberKeys asks all members at the same time, and says of those that are gone or
// do not answer why nothing is known of them. Expelled nodes shall learn no cookie.
func (n *node) memberKeys(ctx context.Context) []muster.NodeKeys {
	members := slices.DeleteFunc(n.members(), func(m muster.Member) bool { return m.State == muster.StateExpelled })
	list := make([]muster.NodeKeys, len(members))
	var calls sync.WaitGroup
	for i, m := range members {
		calls.Go(func() { list[i] = n.keysOf(ctx, m) })
	}
	calls.Wait()
	return list
}

func (n *node) keysOf(ctx context.Context, m muster.Member) (got muster.NodeKeys) {
	var why string
	switch {
	case m.Self:
		got = n.ownKeys()
	case m.State.Gone():
		why = "the member is " + string(m.State)
	default:
		if err := n.askMember(ctx, m.ID, keysPath, &got); err != nil {
			got, why = muster.NodeKeys{}, err.Error()
		}
	}
	got = printableKeys(got)
	got.ID, got.Name, got.State, got.Error = m.ID, m.Name, m.State, muster.Printable(why)
	return got
}

// printableKeys makes texts from outside safe to show, and lists that are not nil.
func printableKeys(k muster.NodeKeys) muster.NodeKeys {
	out := muster.NodeKeys{Accepted: []string{}, Retired: []muster.RetiredKey{}, Links: []muster.LinkKey{}, Tokens: []muster.TokenUse{}}
	for _, kid := range few(k.Accepted) {
		out.Accepted = append(out.Accepted, muster.Printable(kid))
	}
	for _, r := range few(k.Retired) {
		out.Retired = append(out.Retired, muster.RetiredKey{KID: muster.Printable(r.KID), Since: r.Since})
	}
	for _, l := range few(k.Links) {
		out.Links = append(out.Links, muster.LinkKey{Peer: muster.Printable(l.Peer), Channel: muster.Printable(l.Channel), KID: muster.Printable(l.KID)})
	}
	for _, t := range few(k.Tokens) {
		use := muster.TokenUse{KID: muster.Printable(t.KID), Count: t.Count, Subjects: []string{}}
		for _, s := range few(t.Subjects) {
			use.Subjects = append(use.Subjects, muster.Printable(s))
		}
		out.Tokens = append(out.Tokens, use)
	}
	slices.SortFunc(out.Links, func(a, b muster.LinkKey) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.KID, b.KID))
	})
	return out
}

func few[T any](list []T) []T { return list[:min(len(list), maxListed)] }

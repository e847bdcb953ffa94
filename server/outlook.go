package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
	"github.com/musterhq/muster/link"
)

// outlookPath answers how this node sees the others. A node speaks for itself only.
const outlookPath = "/peer/v1/outlook"

const (
	maxOutlook = 1 << 20 // bytes
	maxSights  = 4096
)

// missesOfTrouble is how many probes in a row a member must leave unanswered before
// packets to it count as lost, and missTime how long that must have lasted: one lost
// packet is no news.
const (
	missesOfTrouble = 3
	missTime        = 3 * time.Second
)

// outlook is how this node sees all others now.
func (n *node) outlook() health.Outlook {
	o := health.Outlook{Isolated: n.isolated(), Sights: []health.Sight{}}
	for _, v := range n.gossip.Members() {
		if v.Self {
			continue
		}
		s := health.Sight{ID: v.ID, State: v.State, Since: v.Since.Truncate(time.Millisecond)}
		if !v.State.Gone() {
			s.Trouble = n.lookout.troubleWith(v.ID)
			if v.Misses >= missesOfTrouble && time.Since(v.MissedSince) > missTime {
				lost := health.Trouble{Channel: string(link.ChannelPacket), Why: "no answer", Since: v.MissedSince.Truncate(time.Millisecond)}
				s.Trouble = append([]health.Trouble{lost}, s.Trouble...)
			}
		}
		o.Sights = append(o.Sights, s)
	}
	return o
}

// tagOf is equal for equal outlooks.
func tagOf(o health.Outlook) string {
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode(o) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))
}

// serveOutlook answers with this node's outlook, or with 304 to whoever has it. The
// clock goes with it, to be compared.
func (n *node) serveOutlook(w http.ResponseWriter, r *http.Request) {
	o := n.outlook()
	tag := tagOf(o)
	w.Header().Set("Etag", tag)
	w.Header().Set(clockHeader, n.cfg.Now().UTC().Format(time.RFC3339Nano))
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o) // the caller is gone if it fails
}

var errOutlook = errors.New("the member's outlook makes no sense")

// cleanOutlook makes an outlook from outside safe to keep and to show.
func cleanOutlook(o health.Outlook) (health.Outlook, error) {
	if len(o.Sights) > maxSights {
		return o, fmt.Errorf("%w: it tells of %d members", errOutlook, len(o.Sights))
	}
	for i, s := range o.Sights {
		known := slices.Contains([]muster.State{muster.StateAlive, muster.StateSuspect, muster.StateDead, muster.StateLeft, muster.StateExpelled}, s.State)
		if !s.ID.Valid() || !known || len(s.Trouble) > 3 {
			return o, fmt.Errorf("%w: sight %d", errOutlook, i)
		}
		for j, t := range s.Trouble {
			if !slices.Contains([]string{"packet", "stream", "rpc"}, t.Channel) {
				return o, fmt.Errorf("%w: channel %q", errOutlook, muster.Printable(t.Channel))
			}
			o.Sights[i].Trouble[j].Why = muster.Printable(t.Why)
		}
	}
	return o, nil
}

// nudge tells all live members that this node's links have changed, so that they ask
// at once. That is rare; what else changes they see at their next look.
func (n *node) nudge() {
	for _, v := range n.dialled() {
		id := v.ID
		n.group.run("nudge", func(ctx context.Context) error {
			if err := n.tell(ctx, id, outlookPath, nil); err != nil {
				n.log.DebugContext(ctx, "member not told of a change; it asks in its turn", "member", id, "error", err)
			}
			return nil
		})
	}
}

// serveNudge makes this node ask the caller soon.
func (n *node) serveNudge(w http.ResponseWriter, r *http.Request) {
	if id, ok := caller(r.Context()); ok {
		n.lookout.hint(id)
	}
	w.WriteHeader(http.StatusNoContent)
}

package gossip

import (
	"time"

	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"

	"github.com/musterhq/muster"
)

const (
	MetaDomain   = metaDomain
	InboxPackets = inboxPackets
	InboxStreams = inboxStreams
)

func EncodeMeta(m Meta, key ed25519.PrivateKey) ([]byte, error) { return m.encode(key) }

func ParseMeta(raw []byte) (Meta, error) { return parseMeta(raw) }

func ParseExchange(answer []byte) (int, error) {
	records, err := parseExchange(answer)
	return len(records), err
}

func LogWriter(log *slog.Logger) io.Writer { return logWriter(log) }

func AddressOf(id muster.NodeID) net.IP { return addressOf(id).ip }

func (g *Gossip) Snapshot(ctx context.Context, buffer *bytes.Buffer) (int, error) {
	records, err := g.snapshot(ctx, buffer)
	return len(records), err
}

func Screen(r io.Reader) ([]byte, error) { return screen(r) }

func PlainPacket(b []byte) bool { return plainPacket(b) }

func (b *Inbox) Dropped() (packets, streams uint64) {
	return b.droppedPackets.Load(), b.droppedStreams.Load()
}

// Ears is what a node hears of answers, for tests that bring their own clock.
type Ears struct{ h *hearing }

// NewEars returns ears for a probe interval.
func NewEars(probe time.Duration) Ears { return Ears{newHearing(probe)} }

func (e Ears) Begin(now time.Time)                            { e.h.begin(now) }
func (e Ears) Heard(now time.Time)                            { e.h.heard(now) }
func (e Ears) Asked(id muster.NodeID, now time.Time)          { e.h.asked(id, now) }
func (e Ears) Answered(id muster.NodeID, now time.Time)       { e.h.answered(id, now) }
func (e Ears) Missed(id muster.NodeID, now time.Time)         { e.h.missed(id, now) }
func (e Ears) MayAccuse(id muster.NodeID, now time.Time) bool { return e.h.mayAccuse(id, now) }
func (e Ears) MayTell(id muster.NodeID, death bool, now time.Time) bool {
	return e.h.mayTell(id, death, now)
}
func (e Ears) State(now time.Time, others int, excused func(muster.NodeID) bool) (Hearing, time.Time) {
	return e.h.state(now, others, excused)
}

// Calmed is a packet as a node sends it that hears nobody.
func Calmed(self muster.NodeID, packet []byte) []byte {
	t := &Transport{self: self, hearing: newHearing(time.Millisecond)}
	return t.calm(packet)
}

// CalmExchange is calmExchange.
func CalmExchange(message []byte, peer muster.NodeID) { calmExchange(message, peer) }

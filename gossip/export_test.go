package gossip

import (
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

package gossip_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/musterhq/muster/gossip"
)

// BenchmarkSnapshotOfFifty is what taking the view costs, every two seconds in quiet.
func BenchmarkSnapshotOfFifty(b *testing.B) {
	inbox := gossip.NewInbox()
	self := selfOf("self", 1)
	g, err := gossip.New(gossip.Config{Self: self, Inbox: inbox, Link: deaf{}, Meta: sampleMeta})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	buffer := &bytes.Buffer{}
	for n := 0; n < 50; {
		for i := range 49 {
			other := selfOf(fmt.Sprint("member", i), 1)
			raw, err := gossip.EncodeMeta(gossip.Meta{Boot: other.Boot, Name: other.Name, Endpoint: "http://192.0.2.1:9113"}, other.Key)
			if err != nil {
				b.Fatal(err)
			}
			inbox.Packet(other.ID, alivePacket(other.ID, gossip.AddressOf(other.ID), 1, raw))
		}
		if n, err = g.Snapshot(ctx, buffer); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Snapshot(ctx, buffer); err != nil {
			b.Fatal(err)
		}
	}
}

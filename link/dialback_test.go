package link_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// outboundOnly makes a node that says it cannot be dialled.
func outboundOnly(c *link.Config) {
	c.Facts = func() link.Facts { return link.Facts{Role: muster.RoleVoter} }
}

// hidden starts a member and a node that only the member's packet link reaches.
func hidden(t *testing.T) (member, out *node) {
	t.Helper()
	member, out = start(t, newSelf(t, "member")), start(t, newSelf(t, "out"), outboundOnly)
	out.Learn(member.self.ID, member.url)
	if err := out.Send(member.self.ID, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	receive(t, "the packet", member.in.packets)
	return member, out
}

func TestStreamAndRPCReachAnOutboundOnlyNode(t *testing.T) {
	t.Parallel()
	member, out := hidden(t)
	stream, err := member.Stream(t.Context(), out.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	other := receive(t, "the stream", out.in.streams)
	go func() { _, _ = io.WriteString(stream, "to you") }()
	got := make([]byte, 6)
	if _, err := io.ReadFull(other, got); err != nil || string(got) != "to you" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = other.Close()
	_ = stream.Close()
	for range 3 {
		if got := post(t, member.Transport(out.self.ID), "/x", strings.NewReader("body")); got != "member /x body" {
			t.Errorf("rpc answered %q", got)
		}
	}
}

func TestNobodyDialsBackToANodeThatWentAway(t *testing.T) {
	t.Parallel()
	member, out := hidden(t)
	out.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer/x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := member.Transport(out.self.ID).RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	wantCode(t, err, muster.CodePeerUnreachable)
	if ctx.Err() != nil {
		t.Error("it waited for the whole time instead of for the link")
	}
}

// TestReachableNodeIsNotSentAround: a node that others can dial has no reason to
// dial whom it is told to.
func TestReachableNodeIsNotSentAround(t *testing.T) {
	t.Parallel()
	member, other := start(t, newSelf(t, "member")), start(t, newSelf(t, "other"))
	other.Learn(member.self.ID, member.url)
	if err := other.Send(member.self.ID, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	receive(t, "the packet", member.in.packets) // member knows no endpoint of other
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := member.Stream(ctx, other.self.ID)
	wantCode(t, err, muster.CodePeerUnreachable)
	if len(other.in.streams) != 0 {
		t.Error("it dialled back")
	}
}

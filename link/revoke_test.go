package link_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
)

// rotating is the keys of a node, which may be changed.
type rotating struct {
	mu      sync.Mutex
	cookies []string
}

func (r *rotating) set(cookies ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cookies = cookies
}

func (r *rotating) keys() (keys []link.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.cookies {
		keys = append(keys, keyOf(c))
	}
	return keys
}

// startRotating starts a node that accepts the cookies "old" and "new".
func startRotating(t *testing.T, name string, change ...func(*link.Config)) (*node, *rotating) {
	ring := &rotating{cookies: []string{"old", "new"}}
	withRing := func(c *link.Config) { c.Keys = ring.keys }
	return start(t, newSelf(t, name), append(change, withRing)...), ring
}

func TestRevokeClosesWhatTheDroppedCookieHasOpened(t *testing.T) {
	t.Parallel()
	entered, ended := make(chan struct{}), make(chan struct{})
	a, ringA := startRotating(t, "a", func(c *link.Config) {
		c.RPC = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(ended)
		})
	})
	b, ringB := startRotating(t, "b")
	b.Learn(a.self.ID, a.url)
	if err := b.Send(a.self.ID, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	receive(t, "the packet", a.in.packets)
	stream, err := b.Stream(t.Context(), a.self.ID)
	if err != nil {
		t.Fatal(err)
	}
	incoming := receive(t, "the stream", a.in.streams)
	failed := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://peer/x", http.NoBody)
		resp, err := b.Transport(a.self.ID).RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	receive(t, "the request", entered)

	ringA.set("new")
	ringB.set("new", "old")
	a.Revoke()
	receive(t, "the end of the request at the server", ended)
	if err := receive(t, "the end of the request at the client", failed); err == nil {
		t.Error("a request under a dropped cookie was answered")
	}
	if _, err := incoming.Read(make([]byte, 1)); err == nil {
		t.Error("the stream at the side that dropped the cookie is still open")
	}
	if _, err := stream.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "4003") {
		t.Errorf("the stream at the other side ended with %v, want code 4003", err)
	}
	old := keyOf("old").ID
	eventually(t, "no link under the old key", func() bool {
		return !slices.ContainsFunc(slices.Concat(a.Links(), b.Links()), func(s link.Status) bool { return s.KID == old })
	})
	eventually(t, "a packet under the new key", func() bool {
		_ = b.Send(a.self.ID, []byte("again"))
		return slices.ContainsFunc(a.Links(), func(s link.Status) bool { return s.KID == keyOf("new").ID })
	})
}

func TestRevokeLeavesAcceptedLinksAlone(t *testing.T) {
	t.Parallel()
	a, ring := startRotating(t, "a")
	b := start(t, newSelf(t, "b"), withCookie("new"))
	stream := func() error {
		b.Learn(a.self.ID, a.url)
		c, err := b.Stream(t.Context(), a.self.ID)
		if err != nil {
			return err
		}
		in := receive(t, "the stream", a.in.streams)
		ring.set("new")
		a.Revoke()
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err = in.Read(make([]byte, 1))
		return err
	}
	if err := stream(); err != nil {
		t.Errorf("a link under an accepted cookie: %v", err)
	}
}

func TestSleeperIsToldThatItsCookieWasDropped(t *testing.T) {
	t.Parallel()
	dropped := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	member := start(t, newSelf(t, "member"), withCookie("new"), func(c *link.Config) {
		c.Retired = func(kid string) (time.Time, bool) { return dropped, kid == keyOf("old").ID }
	})
	sleeper, stranger := start(t, newSelf(t, "sleeper"), withCookie("old")), start(t, newSelf(t, "stranger"), withCookie("other"))
	_, err := sleeper.Meet(t.Context(), member.url, "")
	wantCode(t, err, muster.CodeCookieRetired)
	for _, part := range []string{"2026-03-04T05:06:07Z", keyOf("old").ID, keyOf("new").ID} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
	_, err = stranger.Meet(t.Context(), member.url, "")
	wantCode(t, err, muster.CodeCookieMismatch)
}

package gossip_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/link"
)

// realNode is gossip over a real link on loopback.
type realNode struct {
	*link.Link
	g    *gossip.Gossip
	self gossip.Self
	url  string
}

// real starts one that tells the others an endpoint, its own if there is none.
func real(t *testing.T, name, endpoint string, loopback bool) *realNode {
	t.Helper()
	inbox, mux := gossip.NewInbox(), http.NewServeMux()
	srv := httptest.NewServer(mux)
	n := &realNode{self: selfOf(name, 1), url: srv.URL}
	l, err := link.New(link.Config{
		Self: link.Self{ID: n.self.ID, Key: n.self.Key, Boot: n.self.Boot, Name: name}, Loopback: loopback,
		Keys:  func() []link.Key { return []link.Key{{ID: "00000000"}} },
		Facts: func() link.Facts { return link.Facts{Endpoint: n.url, Role: muster.RoleVoter} }, Receiver: inbox,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Link = l
	if endpoint == "" {
		endpoint = n.url
	}
	n.g, err = gossip.New(gossip.Config{
		Self: n.self, Inbox: inbox, Link: l,
		Meta: func() gossip.Meta { return gossip.Meta{Endpoint: endpoint, Version: "v0.1.0", Role: muster.RoleVoter} },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle(link.Path, l)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { _ = l.Run(ctx); ended <- struct{}{} }()
	go func() { _ = n.g.Run(ctx); ended <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-ended; <-ended; srv.Close() })
	return n
}

// TestAMembersEndpointObeysTheDialPolicy: members that hold the cookie and tell the
// truth about all but their endpoint. A node that is not on loopback itself never
// dials what they name, through the real hook of its dialler: it says why, and nobody
// is there to be called.
func TestAMembersEndpointObeysTheDialPolicy(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	secret, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = secret.Close() })
	go func() {
		for _, err := secret.Accept(); err == nil; _, err = secret.Accept() {
			hits.Add(1)
		}
	}()
	for name, endpoint := range map[string]string{
		"metadata": "http://169.254.169.254/latest", "wildcard": "http://0.0.0.0:9", "multicast": "http://224.0.0.1:9",
		"linklocal": "http://[fe80::1]:9", "loopback": "http://" + secret.Addr().String(),
	} {
		victim, liar := real(t, "victim-"+name, "", false), real(t, name, endpoint, true)
		liar.Learn(victim.self.ID, victim.url)
		joined, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for joined.Err() == nil && liar.g.Join(joined, victim.self.ID) != nil { // both have just started
			continue
		}
		for joined.Err() == nil && !lists(victim.g, liar.self.ID) {
			time.Sleep(5 * time.Millisecond)
		}
		if !lists(victim.g, liar.self.ID) {
			t.Fatalf("%s: the liar is no member", name)
		}
		_, err := victim.Stream(joined, liar.self.ID)
		if muster.CodeOf(err) != muster.CodeAddressNotAllowed {
			t.Errorf("%s: %v, want it refused by the policy", name, err)
		}
		if err := victim.g.Join(joined, liar.self.ID); err == nil {
			t.Errorf("%s: an exchange with a node at a forbidden address", name)
		}
		cancel()
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections to a forbidden address", n)
	}
}

func lists(g *gossip.Gossip, id muster.NodeID) bool {
	for _, v := range g.Members() {
		if v.ID == id && v.State == muster.StateAlive {
			return true
		}
	}
	return false
}

package server

import (
	"context"
	"crypto/ed25519"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/link"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/peer"
)

// peers shows the other members to the replica.
type peers struct{ n *node }

func (p peers) Live() []muster.NodeID                        { return p.n.live() }
func (p peers) Transport(id muster.NodeID) http.RoundTripper { return p.n.direct(id) }

// live returns the other members that gossip holds alive or suspect: a suspect
// may well answer.
func (n *node) live() (ids []muster.NodeID) {
	for _, v := range n.gossip.Members() {
		if !v.Self && !v.State.Gone() {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// transport is the way to a member for everything but the replica, with the
// positions of both sides on every message.
func (n *node) transport(id muster.NodeID) http.RoundTripper {
	if c := n.core.Load(); c != nil {
		return c.replica.Tripper(id, n.direct(id))
	}
	return n.direct(id)
}

// direct is the bare way to a member, with the clocks of both sides on every
// message.
func (n *node) direct(id muster.NodeID) http.RoundTripper {
	return n.cfg.Between(id, clocked{n.journal.Clock(), n.link.Transport(id)})
}

// caller names the node at the other end of an rpc connection.
func caller(ctx context.Context) (muster.NodeID, bool) {
	hello, ok := link.PeerFrom(ctx)
	return hello.ID, ok
}

// rpc is what this node serves to other nodes inside sealed links. Joining and
// forming are open to every holder of the cookie, the rest to members only.
func (n *node) rpc() http.Handler {
	members := http.NewServeMux()
	members.HandleFunc("GET "+factsPath, n.facts.serve)
	members.HandleFunc("GET "+keysPath, n.serveKeys)
	members.HandleFunc("GET "+eventsPath, n.serveEvents)
	members.HandleFunc("POST "+tombstonesPath, n.graves.serve)
	members.HandleFunc("POST "+drainPath, n.serveOrder(n.drain))
	members.HandleFunc("POST "+resumePath, n.serveOrder(n.resume))
	members.HandleFunc("POST "+removePath, n.serveRemove)
	members.HandleFunc("POST "+forgetPath, n.serveForget)
	members.HandleFunc("GET "+outlookPath, n.serveOutlook)
	members.HandleFunc("POST "+outlookPath, n.serveNudge)
	members.HandleFunc("POST "+leaseNewsPath, n.serveLeaseNews)
	members.HandleFunc("POST "+leaseDownPath, n.serveLeaseDown)
	members.HandleFunc("/", n.serveCore)

	mux := http.NewServeMux()
	mux.Handle("/peer/v1/join", n.seeker.Handler())
	mux.Handle("/peer/v1/formation/", n.seeker.Handler())
	mux.Handle("/peer/v1/", n.membersOnly(members))
	return withClock(n.journal.Clock(), mux)
}

// membersOnly refuses callers whose connection was not made as a member of this
// cluster.
func (n *node) membersOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hello, ok := link.PeerFrom(r.Context())
		own := n.state.Cluster().ID
		switch {
		case own == "":
			peer.WriteProblem(w, muster.Errorf(muster.CodeNotFormed, "%s belongs to no cluster yet", n.self.Name))
		case !ok || hello.Cluster != own:
			peer.WriteProblem(w, muster.Errorf(muster.CodeClusterMismatch, "%s belongs to cluster %s", n.self.Name, own))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// serveCore passes requests about the configuration to the replica and the store.
func (n *node) serveCore(w http.ResponseWriter, r *http.Request) {
	c := n.core.Load()
	if c == nil {
		peer.WriteProblem(w, muster.Errorf(muster.CodeNotSynced, "%s has no configuration yet", n.self.Name))
		return
	}
	mux := http.NewServeMux()
	mux.Handle(peer.Prefix, c.backend)
	mux.Handle("/", c.replica.Handler())
	c.replica.Stamp(mux).ServeHTTP(w, r)
}

// maxKeys bounds the keybook: who holds the cookie can make up any number of nodes.
const maxKeys = 1024

// keybook remembers the public keys of peers whose HELLO has verified, to check
// what they signed. When it is full it forgets those that are not live members.
type keybook struct {
	live func() []muster.NodeID

	mu   sync.Mutex // never held while calling out
	keys map[muster.NodeID]ed25519.PublicKey
}

func newKeybook(live func() []muster.NodeID) *keybook {
	return &keybook{live: live, keys: map[muster.NodeID]ed25519.PublicKey{}}
}

func (k *keybook) add(id muster.NodeID, key ed25519.PublicKey) {
	if k.put(id, key) {
		return
	}
	members := k.live()
	k.mu.Lock()
	maps.DeleteFunc(k.keys, func(id muster.NodeID, _ ed25519.PublicKey) bool { return !slices.Contains(members, id) })
	k.mu.Unlock()
	k.put(id, key) // full of members: what this one signs is pulled instead
}

// put stores a key, unless the book is full.
func (k *keybook) put(id muster.NodeID, key ed25519.PublicKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.keys[id]; !known && len(k.keys) >= maxKeys {
		return false
	}
	k.keys[id] = key
	return true
}

func (k *keybook) verify(id muster.NodeID, message, sig []byte) bool {
	k.mu.Lock()
	key := k.keys[id]
	k.mu.Unlock()
	return key != nil && ed25519.Verify(key, message, sig)
}

func (n *node) sign(message []byte) []byte { return ed25519.Sign(n.self.Key, message) }

// row is this node's line in the durable member list.
func (n *node) row() store.Member {
	return store.Member{
		ID: n.self.ID, Name: n.self.Name, Endpoint: n.endpoint, Boot: n.self.Boot,
		Role: n.cfg.Role, Version: n.cfg.Version, Zone: n.cfg.Zone, State: muster.StateAlive,
	}
}

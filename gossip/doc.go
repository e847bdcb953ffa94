// Package gossip keeps the list of members: who is alive, suspect, dead or gone,
// and where each can be reached. It runs hashicorp/memberlist (SWIM with the
// Lifeguard extensions) over the sealed links of package link, so it needs no
// port of its own.
//
// memberlist knows a member by its node id and by an address made up from that
// id (fd00::/8); the real endpoint, a URL, travels in the member's Meta, signed
// with its node key. A member that restarts elsewhere therefore keeps its
// address, and no forged Meta gets past the gate.
//
// memberlist neither reports suspects nor tells left members from dead ones to
// its delegates, and it forgets the dead after half a minute. So the view is
// taken where all of this is known: from the state that memberlist tells any
// peer that asks for an exchange. This package is that peer (see snapshot.go),
// every two seconds and whenever something may have changed. Delegates raise a flag
// and return: they are called under memberlist's locks.
//
// memberlist does not heal partitions that outlast its memory either. Every five
// seconds one dead member is asked for an exchange of state, for ever, until
// somebody calls Forget.
//
//	inbox := gossip.NewInbox()   // give it to link.Config.Receiver
//	g, err := gossip.New(gossip.Config{Self: self, Inbox: inbox, Link: link, Meta: meta})
//	go g.Run(ctx)
//	err = g.Join(ctx, id)        // after link.Learn(id, endpoint)
//	members := g.Members()
package gossip

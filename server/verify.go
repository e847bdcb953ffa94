package server

import (
	"maps"
	"sync/atomic"

	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/config"
)

// verifier checks tokens against this node's cookies, its cluster and what the
// configuration says was revoked. The configuration is the node's own copy, so a
// revocation holds with the store down too.
type verifier struct {
	n       *node
	denials *config.Typed[auth.Denial]
	last    atomic.Pointer[denyList]
}

// denyList is what one snapshot revokes, by document name.
type denyList struct {
	view  *config.Snapshot
	known map[string]*auth.Denial
}

func newVerifier(n *node) *verifier {
	return &verifier{n: n, denials: config.NewTyped[auth.Denial](auth.DenyKind)}
}

// Verify admits a token or says why not. See mgmt.Authenticator.
func (v *verifier) Verify(token string) (auth.Claims, error) {
	claims, err := v.n.cookies.now().VerifyFor(token, v.n.state.Cluster().ID)
	if err != nil {
		return auth.Claims{}, err
	}
	if err := auth.Denied(claims, maps.All(v.list())); err != nil {
		return auth.Claims{}, err
	}
	v.n.cookies.usage.note(claims)
	return claims, nil
}

// list reads the documents once per snapshot. A node without a snapshot, which
// serves no configuration either, denies nobody.
func (v *verifier) list() map[string]*auth.Denial {
	view := v.n.View()
	if view == nil {
		return nil
	}
	if last := v.last.Load(); last != nil && last.view == view {
		return last.known
	}
	next := &denyList{view: view, known: maps.Collect(v.denials.All(view))}
	v.last.Store(next)
	return next.known
}

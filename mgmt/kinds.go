package mgmt

import (
	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/store"
)

// checkKind holds writes of the kinds that muster itself reads against their
// schema and role. Tombstones have a check of their own.
func checkKind(who caller, w store.Write) error {
	if w.Kind != auth.DenyKind {
		return nil
	}
	if !who.Role.Allows(auth.RoleAdmin) {
		// Else an operator could take back what was revoked.
		return muster.Errorf(muster.CodeForbidden, "documents of kind %s need the role %s, %s has the role %s",
			auth.DenyKind, auth.RoleAdmin, muster.Printable(who.Subject), who.Role)
	}
	if w.Op == muster.OpDelete {
		return nil
	}
	_, err := auth.ParseDenial(w.Spec)
	return err
}

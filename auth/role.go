package auth

import "slices"

// Role says what a caller may do. Each role may do everything that the ones
// before it may.
type Role string

// The roles, least first.
const (
	RoleViewer   Role = "viewer"   // read
	RoleApp      Role = "app"      // take limits, report traffic
	RoleOperator Role = "operator" // write configuration, drain and resume nodes
	RoleAdmin    Role = "admin"    // everything
)

// Roles returns every role, least first.
func Roles() []Role { return []Role{RoleViewer, RoleApp, RoleOperator, RoleAdmin} }

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return slices.Contains(Roles(), r) }

// Allows reports whether a caller with role r may do what needs role need. An
// unknown role allows nothing and is allowed to nobody.
func (r Role) Allows(need Role) bool {
	return r.Valid() && need.Valid() && slices.Index(Roles(), r) >= slices.Index(Roles(), need)
}

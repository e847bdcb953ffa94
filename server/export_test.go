package server

import (
	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
)

// Dissenting is dissenting.
func Dissenting(self muster.NodeID, members []muster.Member, outlooks map[muster.NodeID]health.Outlook) []muster.Member {
	return dissenting(self, members, outlooks)
}

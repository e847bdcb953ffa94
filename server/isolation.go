package server

import "github.com/musterhq/muster"

func (n *node) isolated() bool { return false }

func (n *node) isolation() []muster.Problem { return nil }

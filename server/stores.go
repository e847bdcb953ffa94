package server

import (
	"errors"

	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
)

func (n *node) ownStore() (store.Store, error) {
	if n.cfg.OpenStore != nil {
		return n.cfg.OpenStore(store.KindSQLite)
	}
	return nil, errors.New("later")
}

func (n *node) openMirror() (replica.Mirror, error) {
	if n.cfg.OpenMirror != nil {
		return n.cfg.OpenMirror()
	}
	return nil, errors.New("later")
}

func (n *node) openShared() (store.Store, error) {
	if n.cfg.dsn() == "" {
		return nil, nil
	}
	if n.cfg.OpenStore != nil {
		return n.cfg.OpenStore(store.KindPostgres)
	}
	return nil, errors.New("later")
}

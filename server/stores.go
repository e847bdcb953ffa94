package server

import (
	"path/filepath"

	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/postgres"
	"github.com/musterhq/muster/store/sqlite"
)

func (n *node) ownStore() (store.Store, error) {
	if n.cfg.OpenStore != nil {
		return n.cfg.OpenStore(store.KindSQLite)
	}
	return sqlite.Open(filepath.Join(n.cfg.DataDir, "config.db"))
}

func (n *node) openMirror() (replica.Mirror, error) {
	if n.cfg.OpenMirror != nil {
		return n.cfg.OpenMirror()
	}
	m, err := sqlite.OpenMirror(filepath.Join(n.cfg.DataDir, "mirror.db"))
	if err != nil {
		return nil, err
	}
	if aside := m.Damaged(); aside != "" {
		n.log.Warn("the copy of the configuration on disk was damaged; it is fetched again", "moved_to", aside)
	}
	return m, nil
}

// openShared returns the database that was configured, or nil. It is not
// connected to yet.
func (n *node) openShared() (store.Store, error) {
	if n.cfg.dsn() == "" {
		return nil, nil // no database is a normal state
	}
	if n.cfg.OpenStore != nil {
		return n.cfg.OpenStore(store.KindPostgres)
	}
	return postgres.New(postgres.Config{DSN: n.cfg.dsn(), Log: n.log})
}

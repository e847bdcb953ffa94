package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

// mirrorLog is how many changes a mirror keeps at least, beside the documents.
const mirrorLog = 10_000

// Mirror is a node's own copy of a store elsewhere, from which it serves when it
// starts while the store is away.
type Mirror struct {
	file    *file
	damaged string
}

// OpenMirror opens the mirror in a file and creates it if there is none. A
// damaged file is moved aside and replaced by an empty one, since everything in
// it can be fetched again; Damaged tells.
func OpenMirror(path string) (*Mirror, error) {
	f, err := openFile(path, syncNormal)
	if err == nil {
		return &Mirror{file: f}, nil
	}
	if !isDamaged(err) {
		return nil, err
	}
	aside, err := moveAside(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	if f, err = openFile(path, syncNormal); err != nil {
		return nil, err
	}
	return &Mirror{file: f, damaged: aside}, nil
}

// errDamaged is the cause of errors about files that hold nonsense.
var errDamaged = errors.New("damaged")

func isDamaged(err error) bool { return errors.Is(err, errDamaged) }

// moveAside renames a file, and removes what SQLite keeps beside it.
func moveAside(path string) (string, error) {
	aside := path + ".damaged"
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("move the damaged file aside: %w", err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("remove what belongs to the damaged file: %w", err)
		}
	}
	return aside, nil
}

// Damaged returns where OpenMirror put a damaged file, or "".
func (m *Mirror) Damaged() string { return m.damaged }

// Close releases the file.
func (m *Mirror) Close() error { return m.file.close() }

// Load returns what the mirror holds, or nil if it is empty. Content that was
// never written is an error with CodeDataDir.
func (m *Mirror) Load(ctx context.Context) (*store.Snapshot, error) {
	var snap *store.Snapshot
	err := m.file.call(ctx, "load the mirror", func(ctx context.Context) (err error) {
		snap, err = readSnapshot(ctx, m.file.readers)
		return err
	})
	if errors.Is(err, store.ErrNoCluster) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return snap, nil
}

// Append adds changes that continue what is there; they are checked against the
// chain, so changes of another cluster are refused. The epoch may have grown.
func (m *Mirror) Append(ctx context.Context, changes []muster.Change, epoch int64) error {
	return m.file.write(ctx, "append to the mirror", func(tx *sql.Tx) error {
		head, err := readHead(ctx, tx)
		if err != nil {
			return err
		}
		if epoch != head.Epoch {
			if _, err := tx.Exec("update config_cluster set epoch = ?", epoch); err != nil {
				return fmt.Errorf("advance the epoch: %w", err)
			}
		}
		if len(changes) == 0 {
			return nil
		}
		return m.appendChanges(ctx, tx, head, changes)
	})
}

func (m *Mirror) appendChanges(ctx context.Context, tx *sql.Tx, head store.Head, changes []muster.Change) error {
	if changes[0].Rev != head.Rev+1 {
		return muster.Errorf(muster.CodeInternal, "append revision %d to a mirror at %d: %w", changes[0].Rev, head.Rev, config.ErrGap)
	}
	if err := config.Verify(head.Chain, changes); err != nil {
		return muster.Errorf(muster.CodeInternal, "append to the mirror: %w", err)
	}
	t := &fileTx{statements: newStatements(tx), items: head.Items}
	for _, c := range changes {
		before, err := t.Document(c.Kind, c.Name)
		if err != nil {
			return err
		}
		var after *muster.Document
		if c.Op == muster.OpPut {
			after = new(config.DocumentOf(c, before))
		} else if before == nil {
			t.items++ // Record will count a document less
		}
		if err := t.Record(c, after); err != nil {
			return err
		}
	}
	last := changes[len(changes)-1]
	if err := setHead(tx, muster.Position{Rev: last.Rev, Chain: last.Chain}, t.items); err != nil {
		return err
	}
	if last.Rev-head.Compacted < 2*mirrorLog {
		return nil
	}
	return compact(ctx, tx, last.Rev-mirrorLog)
}

// Replace exchanges everything, whatever cluster it belonged to.
func (m *Mirror) Replace(ctx context.Context, snap *store.Snapshot) error {
	return m.file.write(ctx, "replace the mirror", func(tx *sql.Tx) error {
		for _, table := range []string{"config_cluster", "config_head", "config_item", "config_change"} {
			if _, err := tx.Exec("delete from " + table); err != nil {
				return fmt.Errorf("empty %s: %w", table, err)
			}
		}
		c := store.Cluster{ID: snap.ClusterID, Epoch: snap.Position.Epoch, Created: now()}
		if err := insertCluster(tx, c, snap.Position, len(snap.Documents)); err != nil {
			return err
		}
		prepared := newStatements(tx)
		for _, doc := range snap.Documents {
			if err := prepared.putDocument(doc, config.DigestOf(doc.Spec)); err != nil {
				return err
			}
		}
		return nil
	})
}

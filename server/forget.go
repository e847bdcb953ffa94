package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
)

// Forgetting is what a data directory holds of a cluster, and what became of it.
type Forgetting struct {
	join.Ties

	Files  []string // of the configuration: the store of a home, the copy of any other node
	Backup string   // directory with the files and the state before; empty: nothing was changed
}

// Forget makes the node of a data directory belong to no cluster, so that it can join
// or form another one. The node must not run. It keeps its identity, its name and
// its cookie. What it forgets is kept in a directory beside. With dry it only says
// what it would forget.
func Forget(dir string, dry bool) (f Forgetting, err error) {
	if _, err := os.Stat(dir); err != nil {
		return f, muster.Errorf(muster.CodeDataDir, "open data directory: %w", err)
	}
	if _, err := join.TiesOf(dir); err != nil {
		return f, err // before anything is made there
	}
	lock, err := lockDataDir(dir)
	if err != nil {
		if muster.CodeOf(err) == muster.CodeDataDirInUse {
			return f, muster.Errorf(muster.CodeDataDirInUse, "%w", err).WithFix("stop the node first; to take a running node out of its cluster: muster leave")
		}
		return f, err
	}
	defer func() { _ = lock.Close() }() // releases the lock
	if f.Ties, err = join.TiesOf(dir); err != nil {
		return f, err
	}
	if f.Files, err = configFiles(dir); err != nil || dry || !f.Ties.Any() && len(f.Files) == 0 {
		return f, err
	}
	f.Backup, err = forget(dir, f)
	return f, err
}

// configFiles lists the databases in a data directory.
func configFiles(dir string) ([]string, error) {
	var names []string
	for _, pattern := range []string{"config.db*", "mirror.db*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("look for the configuration: %w", err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return names, nil
}

// forget keeps a copy of the state, cuts the ties, then moves the databases away. If
// it is interrupted, no node ever believes that it still has a store which is gone.
func forget(dir string, f Forgetting) (backup string, err error) {
	backup = filepath.Join(dir, fmt.Sprintf("forgotten-%s", time.Now().UTC().Format("20060102T150405.000Z")))
	if err := os.Mkdir(backup, 0o700); err != nil {
		return "", muster.Errorf(muster.CodeDataDir, "make the backup: %w", err)
	}
	if err := copyState(dir, backup); err != nil {
		return "", err
	}
	if err := join.Cut(dir); err != nil {
		return "", err
	}
	for _, name := range f.Files {
		err = errors.Join(err, os.Rename(name, filepath.Join(backup, filepath.Base(name))))
	}
	if err != nil {
		return backup, muster.Errorf(muster.CodeDataDir, "move the configuration away: %w", err).WithFix("run it again: the rest is done")
	}
	return backup, nil
}

// copyState copies the file that holds the node's state.
func copyState(dir, backup string) error {
	data, err := os.ReadFile(filepath.Join(dir, join.StateFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(backup, join.StateFile), data, 0o600)
	}
	if err != nil {
		return muster.Errorf(muster.CodeDataDir, "make the backup: %w", err)
	}
	return nil
}

package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/musterhq/muster"
)

// lockDataDir creates the data directory if needed (mode 0700) and takes an
// exclusive lock on it for the life of the process or until the returned file is
// closed.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, muster.Errorf(muster.CodeDataDir, "create data directory %s: %w", dir, err)
	}
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, muster.Errorf(muster.CodeDataDir, "open lock file: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = inUse(dir, f)
	} else if err != nil {
		err = muster.Errorf(muster.CodeDataDir, "lock %s: %w", path, err)
	}
	if err != nil {
		_ = f.Close() // the lock was not ours
		return nil, err
	}
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // a hint for people only
	return f, nil
}

func inUse(dir string, f *os.File) error {
	pid := make([]byte, 16)
	n, _ := f.Read(pid)
	holder := muster.Printable(string(pid[:n]))
	return muster.Errorf(muster.CodeDataDirInUse, "data directory %s is used by another muster process (pid %s)", dir, holder)
}

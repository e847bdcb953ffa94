package join

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// StateFile is the name of the one file in the data directory that this package
// owns. It holds the node's private key.
const StateFile = "node.json"

// disk keeps one blob. load returns nil if there is none yet; save returns once
// the blob would survive a power cut.
type disk interface {
	load() ([]byte, error)
	save(data []byte) error
	String() string
}

// directory is a disk in a real directory.
type directory string

func (d directory) String() string { return filepath.Join(string(d), StateFile) }

func (d directory) load() ([]byte, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	data, err := os.ReadFile(d.String())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// save replaces the file in one step: whoever reads it sees the old or the new
// content, also after a crash.
func (d directory) save(data []byte) error {
	temp, err := os.CreateTemp(string(d), StateFile+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already unless something failed
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temp.Name(), err)
	}
	if err := os.Rename(temp.Name(), d.String()); err != nil {
		return err
	}
	return d.sync()
}

// sync makes the rename durable.
func (d directory) sync() error {
	handle, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(handle.Sync(), handle.Close())
}

// Memory is a disk for simulations: what a node stored in it is there when the
// node is opened again. The zero value is an empty disk.
type Memory struct {
	mu   sync.Mutex
	data []byte
	fail error
}

// Fail makes every later write fail with err, until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Copy returns another disk with the same content.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{data: slices.Clone(m.data)}
}

// String names the disk in errors.
func (m *Memory) String() string { return "memory" }

func (m *Memory) load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data), nil
}

func (m *Memory) save(data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.data = slices.Clone(data)
	}
	return m.fail
}

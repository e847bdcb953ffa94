package auth

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// Files is the cookies in some files, which may change while a node runs. It is
// safe for concurrent use.
type Files struct {
	paths []string
	stdin io.Reader

	mu    sync.Mutex
	once  []Cookie // from standard input, which can be read only once
	read  bool     // whether once has been read
	extra []Cookie
	seen  string // what the files looked like at the last Load
}

// NewFiles names the files; "-" is stdin, which is read only once. It reads
// nothing. The cookies of extra come after those of the files.
func NewFiles(paths []string, stdin io.Reader, extra ...Cookie) *Files {
	return &Files{paths: slices.Clone(paths), stdin: stdin, extra: extra}
}

// Load reads the files as LoadCookies does.
func (f *Files) Load() (Ring, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = f.look() // before reading: what changes meanwhile is read again
	once := f.readOnce()
	cookies, faults := []Cookie(nil), []error{once}
	for _, path := range f.paths {
		found, err := f.once, error(nil)
		if path != "-" {
			found, err = LoadCookies([]string{path}, nil)
		}
		cookies, faults = append(cookies, found...), append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return unique(append(cookies, f.extra...)), nil
}

func (f *Files) readOnce() (err error) {
	if f.read || !slices.Contains(f.paths, "-") {
		return nil
	}
	f.once, err = LoadCookies([]string{"-"}, f.stdin)
	f.read = err == nil
	return err
}

// Changed reports whether a file looks different from what it was at the last
// Load. It reads no content.
func (f *Files) Changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look() != f.seen
}

// look describes the files without reading them.
func (f *Files) look() string {
	var all strings.Builder
	for _, path := range f.paths {
		if path == "-" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&all, "%s\n", err)
			continue
		}
		fmt.Fprintln(&all, info.ModTime().UnixNano(), info.Size(), info.Mode())
	}
	return all.String()
}

// unique keeps the first of equal cookies.
func unique(cookies []Cookie) (ring Ring) {
	for _, c := range cookies {
		if !slices.Contains(ring.KIDs(), c.KID()) {
			ring = append(ring, c)
		}
	}
	return ring
}

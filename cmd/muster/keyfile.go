package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/musterhq/muster/auth"
)

// cookieFile is the content of a cookie file: the cookies and their key ids.
type cookieFile struct {
	path  string
	info  os.FileInfo
	lines []string
	kids  []string
}

func readCookieFile(path string) (*cookieFile, error) {
	if _, err := auth.LoadCookies([]string{path}, nil); err != nil {
		return nil, err // it says more than we would
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, usage("cookie file: %w", err)
	}
	raw, err := os.ReadFile(real)
	if err != nil {
		return nil, usage("cookie file: %w", err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, usage("cookie file: %w", err)
	}
	f := &cookieFile{path: real, info: info, lines: auth.Lines(raw)}
	for _, line := range f.lines {
		cookie, err := auth.ParseCookie([]byte(line))
		if err != nil {
			return nil, err
		}
		f.kids = append(f.kids, cookie.KID())
	}
	return f, nil
}

// write replaces the file in one step. It keeps its mode and owner: the node that
// reads it may be another user.
func (f *cookieFile) write() error {
	temp, err := os.CreateTemp(filepath.Dir(f.path), ".cookie-*") // mode 0600
	if err != nil {
		return usage("change the cookie file: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already unless something failed
	_, err = temp.WriteString(strings.Join(f.lines, "\n") + "\n")
	if owner, ok := f.info.Sys().(*syscall.Stat_t); ok && err == nil {
		err = temp.Chown(int(owner.Uid), int(owner.Gid))
	}
	err = errors.Join(err, temp.Chmod(f.info.Mode().Perm()), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return usage("change the cookie file: %w", err).WithFix("run it as the user that owns %s", f.path)
	}
	return nil
}

// addCookie appends the first cookie of a file to another one.
func addCookie(path, from string) (kid string, err error) {
	f, err := readCookieFile(path)
	if err != nil {
		return "", err
	}
	fresh, err := readCookieFile(from)
	if err != nil {
		return "", err
	}
	kid = fresh.kids[0]
	if slices.Contains(f.kids, kid) {
		return kid, nil
	}
	f.lines = append(f.lines, fresh.lines[0])
	return kid, f.write()
}

// firstCookie moves a cookie to the beginning of a file.
func firstCookie(path, kid string) error {
	f, i, err := findCookie(path, kid)
	if err != nil || i == 0 {
		return err
	}
	line := f.lines[i]
	f.lines = slices.Insert(slices.Delete(f.lines, i, i+1), 0, line)
	return f.write()
}

// dropCookie takes a cookie out of a file.
func dropCookie(path, kid string) error {
	f, i, err := findCookie(path, kid)
	if err != nil {
		return err
	}
	if len(f.lines) == 1 {
		return usage("%s is the only cookie in %s", kid, path).WithFix("add the new one first: muster keys rotate --add FILE")
	}
	f.lines = slices.Delete(f.lines, i, i+1)
	return f.write()
}

func findCookie(path, kid string) (*cookieFile, int, error) {
	f, err := readCookieFile(path)
	if err != nil {
		return nil, 0, err
	}
	i := slices.Index(f.kids, kid)
	if i < 0 {
		return nil, 0, usage("%s holds no cookie %s but %s", path, kid, strings.Join(f.kids, ", "))
	}
	return f, i, nil
}

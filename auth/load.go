package auth

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/musterhq/muster"
)

// LoadCookies reads the cookies in each file, one a line; "-" is stdin. It
// reports every fault, joined: a file that others can read has
// CodeCookieReadable, a cookie that is easy to guess CodeWeakCookie, a file that
// cannot be read CodeBadConfig. A cookie that is there twice counts once.
func LoadCookies(paths []string, stdin io.Reader) ([]Cookie, error) {
	var (
		cookies []Cookie
		faults  []error
		seen    = map[string]bool{}
	)
	for _, path := range paths {
		found, err := loadCookie(path, stdin)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, cookie := range found {
			if !seen[cookie.KID()] {
				seen[cookie.KID()] = true
				cookies = append(cookies, cookie)
			}
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return cookies, nil
}

// maxCookies bounds the cookies in one file: a rotation needs two.
const maxCookies = 16

func loadCookie(path string, stdin io.Reader) ([]Cookie, error) {
	raw, err := readCookie(path, stdin)
	if err != nil {
		return nil, err
	}
	lines := Lines(raw)
	if len(lines) > maxCookies {
		return nil, weak("cookie file %s: more than %d cookies", path, maxCookies)
	}
	cookies := make([]Cookie, len(lines))
	for i, line := range lines {
		if cookies[i], err = ParseCookie([]byte(line)); err != nil {
			return nil, inFile(path, i, err)
		}
	}
	return cookies, nil
}

// Lines returns the lines of a cookie file that hold a cookie, without white
// space around them. A file without any has one empty line.
func Lines(raw []byte) []string {
	var lines []string
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return []string{""}
	}
	return lines
}

// inFile says in which file and, if it has several, which cookie is at fault.
func inFile(path string, i int, err error) error {
	where := "cookie file " + path
	if i > 0 {
		where = fmt.Sprintf("%s, cookie %d", where, i+1)
	}
	e, ok := errors.AsType[*muster.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", where, err)
	}
	named := *e
	named.Text = fmt.Sprintf("%s: %s", where, e.Text)
	return &named
}

func readCookie(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		if stdin == nil {
			return nil, muster.Errorf(muster.CodeBadConfig, "the cookie is to come from standard input, and there is none")
		}
		return readLimited(path, stdin)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = file.Close() }()
	if err := checkMode(file); err != nil {
		return nil, err
	}
	return readLimited(path, file)
}

func readLimited(path string, from io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(from, maxCookies*maxCookieLength))
	if err != nil {
		return nil, unreadable(path, err)
	}
	return raw, nil
}

// checkMode looks at the open file, not at the path, so that nobody can swap
// the file between the look and the read.
func checkMode(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return unreadable(file.Name(), err)
	}
	if info.IsDir() {
		return muster.Errorf(muster.CodeBadConfig, "cookie file %s is a directory", file.Name()).
			WithFix("name the file in it")
	}
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o007 == 0 {
		return nil
	}
	return muster.Errorf(muster.CodeCookieReadable, "cookie file %s has mode %04o: others on this machine can read it", file.Name(), info.Mode().Perm()).
		WithFix("chmod 600 %s", file.Name())
}

func unreadable(path string, err error) error {
	e := muster.Errorf(muster.CodeBadConfig, "read the cookie file: %w", err)
	if errors.Is(err, fs.ErrNotExist) {
		return e.WithFix("copy the cluster's cookie file to %s, or make the first one: muster cookie new --out %s", path, path)
	}
	return e.WithFix("make %s readable for the user that runs muster, and for nobody else", path)
}

package e2e_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/testca"
)

// moment is what no two runs say alike.
var moment = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:]+Z`)

// saysOne runs a command line that has to fail with an exit code, and wants one line
// that says what is wrong, word by word, with one that says what to do below it.
func saysOne(t *testing.T, exit int, line string, args ...string) {
	t.Helper()
	code, _, stderr := run(t, nil, args...)
	first, rest, _ := strings.Cut(moment.ReplaceAllString(stderr, "TIME"), "\n")
	if code != exit || first != "error: "+line {
		t.Errorf("exit %d, want %d, and\n%q, want\n%q", code, exit, first, "error: "+line)
	}
	if !strings.HasPrefix(rest, "  fix: ") || strings.Count(stderr, "error: ") != 1 {
		t.Errorf("no advice, or more than one fault:\n%s", stderr)
	}
}

// TestBadCookieFilesAreToldInOneLine, word by word.
func TestBadCookieFilesAreToldInOneLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := string(readFile(t, newCookie(t, filepath.Join(dir, "good"))))
	for name, f := range map[string]struct {
		content string
		mode    os.FileMode
		line    string // below FILE stands for its path
	}{
		"missing":       {"", 0, "read the cookie file: open FILE: no such file or directory"},
		"readable":      {good, 0o644, "cookie file FILE has mode 0644: others on this machine can read it"},
		"short":         {"secret", 0o600, "cookie file FILE: the cookie has 6 characters, it needs 32"},
		"monotonous":    {strings.Repeat("ab", 20), 0o600, "cookie file FILE: the cookie has 2 different characters, it needs 12"},
		"short-crlf":    {"secret\r\n", 0o600, "cookie file FILE: the cookie has 6 characters, it needs 32"},
		"second-crlf":   {strings.TrimSpace(good) + "\r\nsecret\r\n", 0o600, "cookie file FILE, cookie 2: the cookie has 6 characters, it needs 32"},
		"damaged-crlf":  {strings.TrimSpace(good)[:40] + "\r\n", 0o600, "cookie file FILE: the cookie starts with mck1_ but its checksum is wrong: characters are missing or changed"},
		"crlf-in-words": {"correct\r horse battery staple is what we say", 0o600, "cookie file FILE: the cookie has white space or control characters inside: it must be one word on one line"},
	} {
		path := filepath.Join(dir, name)
		if f.mode != 0 {
			put(t, path, []byte(f.content), f.mode)
		}
		saysOne(t, 2, strings.ReplaceAll(f.line, "FILE", path),
			"serve", "--data-dir", filepath.Join(dir, "data"), "--mgmt-bind", "127.0.0.1:0", "--cluster-cookie-file", path)
	}
}

// TestBadCertificatesAreToldInOneLine: to who starts a node, to who calls one, and in
// the status of a node that would join one.
func TestBadCertificatesAreToldInOneLine(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	a, b := s.ca.Issue(t, testca.Leaf{}), s.ca.Issue(t, testca.Leaf{})
	saysOne(t, 2, "the key in "+b.KeyFile+" does not belong to the certificate in "+a.CertFile,
		"serve", "--data-dir", filepath.Join(s.dir, "mixed"), "--mgmt-bind", "127.0.0.1:0", "--mgmt-tls-cert", a.CertFile, "--mgmt-tls-key", b.KeyFile)

	const day = 24 * time.Hour
	s.secure = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // to ask nodes whose certificates are wrong on purpose
	good := s.node("good").up()
	late := s.with("late", s.ca.Issue(t, testca.Leaf{CommonName: "late", To: -2*day - time.Hour})).up()
	expired := late.url() + ": the certificate of 127.0.0.1 expired on TIME, 2 days ago"
	misnamed := good.url() + ": the certificate is for 127.0.0.1, not for db.internal"
	saysOne(t, 7, expired, "status", "--addr", late.url(), "--ca", s.ca.File)
	saysOne(t, 7, misnamed, "status", "--addr", good.url(), "--ca", s.ca.File, "--tls-server-name", "db.internal")

	for _, j := range []struct {
		name string
		args []string
		code muster.Code
		text string
	}{
		{"to-late", []string{"--cluster-join-endpoint", late.url()}, muster.CodeCertificateExpired, expired},
		{"to-other", []string{"--cluster-join-endpoint", good.url(), "--mgmt-tls-server-name", "db.internal"}, muster.CodeCertificateName, misnamed},
	} {
		n := s.node(j.name, append(j.args, "--formation", "never")...).up()
		eventually(t, 15*time.Second, func() error { return names(n, j.code) })
		for _, p := range n.mustStatus().Problems {
			if text := moment.ReplaceAllString(p.Text, "TIME"); p.Code == j.code && text != j.text {
				t.Errorf("%s: %q, want %q", j.name, text, j.text)
			}
		}
	}
}

package postgres

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/musterhq/muster"
)

const redacted = "[redacted]"

var (
	queryPassword   = regexp.MustCompile(`(?i)\b(password|sslpassword)=[^&\s]*`)
	keywordPassword = regexp.MustCompile(`(?i)\b(password|sslpassword)\s*=\s*('(\\.|[^'\\])*'?|(\\.|[^\s\\])*)`)
)

// Redact returns a connection string without its passwords, to show and to log.
// Of a string that it cannot make out it rather hides too much.
func Redact(dsn string) string {
	scheme, rest, isURL := strings.Cut(dsn, "://")
	if !isURL {
		return muster.Printable(keywordPassword.ReplaceAllString(dsn, "$1="+redacted))
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, _, hasPassword := strings.Cut(rest[:at], ":")
		if hasPassword {
			rest = user + ":" + redacted + rest[at:]
		}
	}
	return muster.Printable(scheme + "://" + queryPassword.ReplaceAllString(rest, "$1="+redacted))
}

// parseDSN reads a connection string, as a URL or as keywords, with everything
// that libpq takes from the environment. Its errors have CodeBadConfig and quote
// nothing of the string but host names: what is wrong may be the password.
func parseDSN(dsn string) (*pgxpool.Config, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, badDSN("the connection string is empty")
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, badDSN("the connection string cannot be used: %s", reason(err))
	}
	for _, h := range hosts(cfg.ConnConfig) {
		if h.plain && h.encrypted && !isLocal(h.name) {
			return nil, muster.Errorf(muster.CodeBadConfig, "the connection to the database at %s does not say whether it must be encrypted", h.name).
				WithFix("add sslmode=verify-full (or require) to the connection string; sslmode=disable only on a network you trust")
		}
	}
	return cfg, nil
}

func badDSN(format string, args ...any) error {
	return muster.Errorf(muster.CodeBadConfig, format, args...).
		WithFix("write postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full; characters like / @ : ? # in the password must be percent-encoded")
}

// reason says in own words why a connection string was refused.
func reason(err error) string {
	text := err.Error()
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		if errors.Is(file, os.ErrNotExist) {
			return "a file that it names (certificate, key or service file) does not exist"
		}
		return "a file that it names (certificate, key or service file) cannot be read"
	}
	for word, say := range map[string]string{
		"sslmode": "sslmode must be disable, require, verify-ca or verify-full", "invalid port": "the port is not a number",
		"unable to add CA": "sslrootcert holds no certificate", "sslrootcert": "sslrootcert cannot be used",
		"pool_": "a pool_ option is not valid",
	} {
		if strings.Contains(text, word) {
			return say
		}
	}
	return "it is neither a URL nor a list of keywords"
}

// host is one server that a connection may be made to.
type host struct {
	name             string
	plain, encrypted bool // whether it is tried in this way
}

func hosts(cfg *pgx.ConnConfig) []host {
	var list []host
	index := make(map[string]int)
	add := func(name string, encrypted bool) {
		i, there := index[name]
		if !there {
			i = len(list)
			index[name] = i
			list = append(list, host{name: name})
		}
		list[i].encrypted = list[i].encrypted || encrypted
		list[i].plain = list[i].plain || !encrypted
	}
	add(cfg.Host, cfg.TLSConfig != nil)
	for _, f := range cfg.Fallbacks {
		add(f.Host, f.TLSConfig != nil)
	}
	return list
}

// isLocal reports whether what is sent to a host stays on this machine.
func isLocal(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

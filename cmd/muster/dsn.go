package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/musterhq/muster/auth"
)

func sslModes() []string {
	return []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
}

// dsn reads --config-store. Its errors never show the value, which may hold a
// password.
func dsn(s *settings, values []string) error {
	value := values[len(values)-1]
	if err := checkStore(value); err != nil {
		return err
	}
	s.Store = auth.NewSecret(value)
	return nil
}

func checkStore(value string) error {
	words := []string{"auto", "sqlite", "peer"}
	if slices.Contains(words, value) {
		return nil
	}
	scheme, _, isURL := strings.Cut(value, "://")
	if !isURL {
		if near := nearest(value, words); near != "" {
			return fmt.Errorf("the value is none of auto, sqlite, peer and a postgres:// URL; did you mean %s?", near)
		}
		return errors.New("the value is none of auto, sqlite, peer and a postgres:// URL")
	}
	if scheme != "postgres" && scheme != "postgresql" {
		return fmt.Errorf("the URL has the scheme %q; want postgres://USER@HOST:PORT/DATABASE", shown(scheme))
	}
	return checkPostgres(value)
}

func checkPostgres(value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return errors.New("the postgres:// URL cannot be read: escape special characters of the password, as in %40 for @")
	case u.Host == "" && u.Query().Get("host") == "":
		return errors.New("the postgres:// URL names no host")
	case strings.Trim(u.Path, "/") == "" && u.Query().Get("dbname") == "":
		return errors.New("the postgres:// URL names no database: postgres://USER@HOST:PORT/DATABASE")
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		if _, number, err := net.SplitHostPort(host); err == nil && port(number) != nil {
			return errors.New("the postgres:// URL has a port that is none")
		}
	}
	if mode := u.Query().Get("sslmode"); mode != "" {
		if err := oneOf(sslModes()...)(mode); err != nil {
			return fmt.Errorf("sslmode: %w", err)
		}
	}
	return nil
}

// storeURL makes the value of --config-store of the config_store section.
func (d database) storeURL() (auth.Secret, error) {
	switch {
	case d.disabled:
		if d.given {
			return auth.Secret{}, errors.New("config_store.enabled is false, but the section says more")
		}
		return auth.NewSecret("auto"), nil
	case d.kind == "sqlite":
		if d != (database{given: true, kind: "sqlite"}) {
			return auth.Secret{}, errors.New("config_store.config and dsn_file belong to type postgres, and the type is sqlite")
		}
		return auth.NewSecret("sqlite"), nil
	case d.kind == "":
		return auth.Secret{}, errors.New("config_store.type is missing: postgres or sqlite")
	case d.dsnFile != "":
		return d.fromFile()
	}
	return d.assemble()
}

func (d database) fromFile() (auth.Secret, error) {
	if d.host+d.port+d.user+d.passwordFile+d.name+d.sslMode != "" || !d.password.Empty() {
		return auth.Secret{}, errors.New("config_store has both dsn_file and config: use one of them")
	}
	raw, err := os.ReadFile(d.dsnFile)
	if err != nil {
		return auth.Secret{}, fmt.Errorf("config_store.dsn_file: %w", err)
	}
	value := strings.TrimSpace(string(raw))
	if err := checkStore(value); err != nil {
		return auth.Secret{}, fmt.Errorf("config_store.dsn_file: %w", err)
	}
	return auth.NewSecret(value), nil
}

func (d database) assemble() (auth.Secret, error) {
	if d.host == "" || d.name == "" {
		return auth.Secret{}, errors.New("config_store.config needs host and db_name")
	}
	password, err := d.secret()
	if err != nil {
		return auth.Secret{}, err
	}
	u := url.URL{Scheme: "postgres", Host: d.host, Path: "/" + d.name}
	if d.port != "" || strings.Contains(d.host, ":") {
		u.Host = net.JoinHostPort(d.host, orDefault(d.port, "5432"))
	}
	switch {
	case !password.Empty():
		u.User = url.UserPassword(d.user, password.Reveal())
	case d.user != "":
		u.User = url.User(d.user)
	}
	if d.sslMode != "" {
		u.RawQuery = url.Values{"sslmode": {d.sslMode}}.Encode()
	}
	return auth.NewSecret(u.String()), nil
}

func (d database) secret() (auth.Secret, error) {
	if d.passwordFile == "" {
		return d.password, nil
	}
	if !d.password.Empty() {
		return auth.Secret{}, errors.New("config_store.config has both password and password_file: use the file")
	}
	raw, err := os.ReadFile(d.passwordFile)
	if err != nil {
		return auth.Secret{}, fmt.Errorf("config_store.config.password_file: %w", err)
	}
	return auth.NewSecret(strings.TrimRight(string(raw), "\r\n")), nil
}

func orDefault(value, preset string) string {
	if value == "" {
		return preset
	}
	return value
}

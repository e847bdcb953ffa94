// Package migrations embeds the numbered SQL files of the config store and says
// which of them a database still lacks. It opens no database: store/postgres and
// store/sqlite run the files.
//
// Files go forward only, are named NNNN_what.sql without gaps, and are never
// changed once released: a database records the SHA-256 of each file it has run.
// Within a minor series a migration only adds, so that nodes of two versions can
// share a database during a rolling upgrade. Functions on the server carry their
// version in their name for the same reason.
package migrations

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// Errors of a database that does not fit this binary.
var (
	// ErrNewer means that a newer version has migrated the database.
	ErrNewer = errors.New("the schema is newer than this binary")
	// ErrChanged means that the database was made by other files of the same
	// numbers.
	ErrChanged = errors.New("the schema was made by another file of this number")
)

// Migration is one file. Its SHA256 is hexadecimal.
type Migration struct {
	Version int
	Name    string
	SQL     string
	SHA256  string
}

// Applied is one row of the table schema_migration.
type Applied struct {
	Version int
	Name    string
	SHA256  string
}

// Postgres returns the migrations for PostgreSQL, oldest first.
func Postgres() ([]Migration, error) { return load("postgres") }

// SQLite returns the migrations for SQLite, oldest first.
func SQLite() ([]Migration, error) { return load("sqlite") }

func load(dialect string) ([]Migration, error) {
	dir, err := fs.Sub(files, dialect)
	if err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	return Load(dir)
}

// Load reads the migrations in the root of a file system.
func Load(dir fs.FS) ([]Migration, error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	all := make([]Migration, 0, len(names))
	for i, name := range names { // Glob sorts
		number, title, _ := strings.Cut(strings.TrimSuffix(name, ".sql"), "_")
		if version, err := strconv.Atoi(number); err != nil || len(number) != 4 || version != i+1 || title == "" {
			return nil, fmt.Errorf("load migrations: file %s, want number %04d and a title", name, i+1)
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("load migrations: %w", err)
		}
		sum := sha256.Sum256(text)
		all = append(all, Migration{Version: i + 1, Name: title, SQL: string(text), SHA256: hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// Pending returns the migrations that a database lacks which has run applied,
// oldest first. It wraps ErrNewer or ErrChanged if the database does not fit.
func Pending(all []Migration, applied []Applied) ([]Migration, error) {
	for i, a := range applied {
		switch {
		case a.Version > len(all):
			return nil, fmt.Errorf("schema version %d (%s), known up to %d: %w", a.Version, a.Name, len(all), ErrNewer)
		case a.Version != i+1:
			return nil, fmt.Errorf("schema version %d where %d should be: %w", a.Version, i+1, ErrChanged)
		case a.SHA256 != all[i].SHA256:
			return nil, fmt.Errorf("schema version %d (%s): %w", a.Version, a.Name, ErrChanged)
		}
	}
	return all[len(applied):], nil
}

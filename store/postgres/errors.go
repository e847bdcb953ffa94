package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
)

// errClosed is made an Error with the store's name by explain.
var errClosed = errors.New("the store is closed")

// Conditions that the server function raises.
const (
	stateNoCluster    = "MU001"
	stateOtherCluster = "MU002"
)

// condition says what an SQLSTATE means to an operator, and what he can do.
func condition(state string) (text, fix string) {
	switch state {
	case "53100":
		return "its disk is full", "free space on the database server"
	case "53200":
		return "it is out of memory", "give the database server more memory"
	case "53300":
		return "it has no connection left", "raise max_connections on the server, or lower pool_max_conns in the connection string"
	case "53400":
		return "a limit of its configuration is reached", ""
	case "25006":
		return "it is read-only", "point the connection string at the primary (several hosts with target_session_attrs=read-write find it by themselves)"
	case "28P01":
		return "it refuses the password", "correct user and password in the connection string"
	case "28000":
		return "it refuses the user", "correct user and password in the connection string, or pg_hba.conf on the server"
	case "3D000":
		return "the database does not exist", "create it: createdb -E UTF8 -T template0 NAME"
	case "3F000":
		return "the schema does not exist", "create the schema that search_path names, with create schema NAME"
	case "42501":
		return "the user lacks a privilege", "grant the user all on the schema"
	case "55P03":
		return "another write holds the lock for too long", "look for long transactions in pg_stat_activity"
	case "57P01":
		return "it is shutting down", ""
	case "57P02":
		return "it has crashed and restarts", ""
	case "57P03":
		return "it is starting up", ""
	case "57014":
		return "it has cancelled the query", ""
	case "40001":
		return "concurrent transactions collide", "set default_transaction_isolation of the database to read committed"
	case "40P01":
		return "concurrent transactions collide", ""
	}
	return "", ""
}

// explain makes an error of the driver one of the store's contract.
func (s *Store) explain(ctx context.Context, what string, err error) error {
	if err == nil || errors.Is(err, store.ErrNoCluster) || errors.Is(err, store.ErrCompacted) {
		return err
	}
	if _, done := errors.AsType[*muster.Error](err); done {
		return err
	}
	if s.life.Err() != nil || errors.Is(err, errClosed) {
		return muster.Errorf(muster.CodeStoreUnavailable, "%s: the store is closed", what)
	}
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return s.explainServer(what, server)
	}
	return s.explainNetwork(ctx, what, err)
}

func (s *Store) unavailable(what, why string) *muster.Error {
	return muster.Errorf(muster.CodeStoreUnavailable, "%s: PostgreSQL at %s: %s", what, s.name, why)
}

func (s *Store) explainServer(what string, err *pgconn.PgError) error {
	switch err.Code {
	case stateNoCluster:
		return store.ErrNoCluster
	case stateOtherCluster:
		return muster.Errorf(muster.CodeStoreMismatch, "%s: PostgreSQL at %s: %s", what, s.name, err.Message)
	case "42P01", "42883":
		s.forgetSchema()
		return s.unavailable(what, "the tables of muster are missing")
	}
	if text, fix := condition(err.Code); text != "" {
		e := s.unavailable(what, text)
		e.Fix = fix
		return e
	}
	if strings.HasPrefix(err.Code, "XX") {
		return s.unavailable(what, "it reports damaged data: "+muster.Printable(err.Message)).WithFix("look at the server's log at once")
	}
	return s.unavailable(what, fmt.Sprintf("it answers %q (SQLSTATE %s)", muster.Printable(err.Message), err.Code))
}

func (s *Store) explainNetwork(ctx context.Context, what string, err error) error {
	var dns *net.DNSError
	text := err.Error()
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		return s.unavailable(what, "its host name does not resolve")
	case errors.Is(ctx.Err(), context.Canceled) && s.life.Err() == nil:
		return muster.Errorf(muster.CodeStoreUnavailable, "%s: the caller gave up: %w", what, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || errors.Is(err, os.ErrDeadlineExceeded):
		return s.unavailable(what, "it does not answer in time")
	case strings.Contains(text, "refused TLS"):
		return s.unavailable(what, "it offers no encryption").WithFix("enable ssl on the server, or use sslmode=disable on a network you trust")
	case strings.Contains(text, "tls: ") || strings.Contains(text, "x509: "):
		return s.unavailable(what, "its certificate is not accepted").WithFix("name the right authority with sslrootcert, and the host as in the certificate")
	case isRefused(err):
		return s.unavailable(what, "it refuses connections")
	}
	return s.unavailable(what, "the connection broke")
}

package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/pgtest"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/postgres"
	"github.com/musterhq/muster/store/storetest"
)

const secret = "hunter2"

func TestRedactHidesPasswords(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://ann:hunter2@db:5432/muster?sslmode=require":  "postgres://ann:[redacted]@db:5432/muster?sslmode=require",
		"postgres://ann@db/muster":                               "postgres://ann@db/muster",
		"postgres:///muster?host=/tmp&password=hunter2&user=ann": "postgres:///muster?host=/tmp&password=[redacted]&user=ann",
		"postgres://ann:hun/ter?2hunter2@db/muster":              "postgres://ann:[redacted]@db/muster",
		"postgres://ann:hunter2@x@db/muster":                     "postgres://ann:[redacted]@db/muster",
		"postgres://db/muster?sslpassword=hunter2":               "postgres://db/muster?sslpassword=[redacted]",
		"host=db user=ann password=hunter2 dbname=muster":        "host=db user=ann password=[redacted] dbname=muster",
		`host=db password = 'it\'s hunter2' user=ann`:            "host=db password=[redacted] user=ann",
		`host=db PASSWORD=hun\ ter2hunter2 sslpassword='hunter2`: "host=db PASSWORD=[redacted] sslpassword=[redacted]",
		"":                   "",
		"just words\x1b[31m": "just words[31m",
	} {
		got := postgres.Redact(dsn)
		if got != want || strings.Contains(got, secret) {
			t.Errorf("%q: got %q, want %q", dsn, got, want)
		}
	}
}

func TestBadConnectionStringsAreRefusedWithoutQuotingThem(t *testing.T) {
	t.Parallel()
	for dsn, text := range map[string]string{
		"":                                      "empty",
		"postgres://ann:hunter2/x@db/muster":    "",
		"postgres://ann:hunter2@db:port/muster": "port",
		"postgres://ann:hunter2%zz@db/muster":   "",
		"host=127.0.0.1 password=hunter2 sslmode=perhaps":                                     "sslmode",
		"postgres://ann:hunter2@127.0.0.1/m?sslmode=verify-full&sslrootcert=/no/such/hunter2": "does not exist",
		"postgres://ann:hunter2@127.0.0.1/m?pool_max_conns=hunter2":                           "pool_",
		"hunter2": "",
		"postgres://ann:hunter2@db.example.com/muster":                "whether it must be encrypted",
		"postgres://ann:hunter2@db.example.com/muster?sslmode=prefer": "db.example.com",
		"postgres://ann:hunter2@10.0.0.1/muster?sslmode=allow":        "10.0.0.1",
		"host=127.0.0.1,10.0.0.1 password=hunter2":                    "10.0.0.1",
	} {
		_, err := postgres.New(postgres.Config{DSN: dsn})
		if muster.CodeOf(err) != muster.CodeBadConfig || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, want %s about %q", dsn, err, muster.CodeBadConfig, text)
		}
		checkNoSecret(t, err, secret)
	}
}

// checkNoSecret looks for a secret in an error, its causes and its advice.
func checkNoSecret(t *testing.T, err error, secret string) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, secret) {
			t.Errorf("the secret is in %s", text)
		}
	}
	if e, ok := errors.AsType[*muster.Error](err); ok && strings.Contains(e.Advice(), secret) {
		t.Errorf("the secret is in the advice %q", e.Advice())
	}
}

func TestPlaintextIsKnown(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]bool{
		"postgres://db.example.com/m?sslmode=disable": true,
		"postgres://db.example.com/m?sslmode=require": false,
		"postgres://127.0.0.1/m?sslmode=disable":      false,
		"postgres://127.0.0.1/m":                      false,
		"postgres:///m?host=/tmp":                     false,
	} {
		if got := open(t, postgres.Config{DSN: dsn}).Plaintext(); got != want {
			t.Errorf("%s: got %v, want %v", dsn, got, want)
		}
	}
}

func TestConnectionsAreEncryptedAsAsked(t *testing.T) {
	t.Parallel()
	own := pgtest.New(t)
	ca := own.EnableTLS(t)
	db := own.CreateDatabase(t)
	for _, mode := range []string{"require", "verify-full&sslrootcert=" + ca} {
		dsn := strings.Replace(own.TCPDSN(db, "MODE"), "MODE", mode, 1)
		s := open(t, postgres.Config{DSN: dsn})
		if _, err := s.Form(t.Context(), storetest.ClusterID); err != nil {
			t.Errorf("sslmode=%s: %v", mode, err)
		}
		own.SQL(t, db, "do $$ begin if not exists (select from pg_stat_ssl where ssl) then raise 'nobody is encrypted'; end if; end $$")
		_ = s.Close()
	}
	_, err := open(t, postgres.Config{DSN: own.TCPDSN(db, "verify-full")}).Head(t.Context())
	wantError(t, err, want{muster.CodeStoreUnavailable, "certificate is not accepted", "sslrootcert"})
	_, err = open(t, postgres.Config{DSN: server.TCPDSN(db, "require")}).Head(t.Context())
	wantError(t, err, want{muster.CodeStoreUnavailable, "offers no encryption", "sslmode"})
}

func TestRefusedLoginsSayWhyWithoutThePassword(t *testing.T) {
	t.Parallel()
	db := server.CreateDatabase(t)
	user := "login_" + db
	server.SQL(t, db, fmt.Sprintf("create role %s login password 'right' connection limit 1", user))
	as := func(password, database string) string {
		return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", user, password, server.Addr(), database)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	try := func(dsn string) error {
		s := open(t, postgres.Config{DSN: dsn, Log: logger})
		defer s.Close()
		_, err := s.Cluster(t.Context())
		checkNoSecret(t, err, secret)
		return err
	}
	err := try(as(secret, db))
	wantError(t, err, want{muster.CodeStoreUnavailable, "refuses the password", "password"})
	err = try(as("right", "nowhere"))
	wantError(t, err, want{muster.CodeStoreUnavailable, "does not exist", "createdb"})
	awaitNoConnection(t, db)
	err = try(as("right", db))
	wantError(t, err, want{muster.CodeStoreUnavailable, "lacks a privilege", "grant"})

	server.SQL(t, db, "grant all on schema public to "+user)
	awaitNoConnection(t, db)
	first := open(t, postgres.Config{DSN: as("right", db) + "&pool_max_conns=1"})
	if _, err := first.Cluster(t.Context()); !errors.Is(err, store.ErrNoCluster) {
		t.Fatalf("got %v, want ErrNoCluster", err)
	}
	err = try(as("right", db))
	wantError(t, err, want{muster.CodeStoreUnavailable, "no connection left", "max_connections"})
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log holds the password: %s", log.String())
	}
}

// awaitNoConnection waits until the server has noticed that clients are gone.
func awaitNoConnection(t *testing.T, db string) {
	t.Helper()
	server.SQL(t, "postgres", "do $$ begin for i in 1..1000 loop if not exists (select from pg_stat_activity where datname = '"+db+
		"') then return; end if; perform pg_sleep(0.01); perform pg_stat_clear_snapshot(); end loop; raise 'still connected'; end $$")
}

func FuzzRedact(f *testing.F) {
	f.Add("postgres://ann:", "@db/muster")
	f.Add("host=db password=", " user=ann")
	f.Fuzz(func(t *testing.T, before, after string) {
		isURL := strings.Contains(before, "://") && strings.Contains(after, "@") && strings.Contains(before[strings.Index(before, "://")+3:], ":")
		isKeyword := strings.HasSuffix(before, " password=") && !strings.Contains(before, "://") && !strings.ContainsAny(before, `'\`)
		if !isURL && !isKeyword {
			return
		}
		const rare = "S3CRET"
		if strings.Contains(before+after, rare) {
			return
		}
		if got := postgres.Redact(before + rare + after); strings.Contains(got, rare) {
			t.Errorf("%q became %q", before+rare+after, got)
		}
	})
}

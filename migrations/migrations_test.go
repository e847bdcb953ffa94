package migrations_test

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/musterhq/muster/migrations"
)

func TestBothDialectsLoadAndKeepStep(t *testing.T) {
	t.Parallel()
	postgres, err := migrations.Postgres()
	if err != nil {
		t.Fatal(err)
	}
	sqlite, err := migrations.SQLite()
	if err != nil {
		t.Fatal(err)
	}
	if len(postgres) == 0 || len(sqlite) == 0 || postgres[0].Name != "init" || sqlite[0].Name != "init" {
		t.Errorf("got %d and %d migrations", len(postgres), len(sqlite))
	}
}

func TestLoadRefusesBadNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"1_init.sql", "0002_init.sql", "init.sql", "0001_.sql", "0001.sql", "000x_init.sql"} {
		if _, err := migrations.Load(fstest.MapFS{name: {}}); err == nil {
			t.Errorf("accepted %s", name)
		}
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	all, err := migrations.Load(fstest.MapFS{"0001_init.sql": {Data: []byte("a")}, "0002_more.sql": {Data: []byte("b")}})
	if err != nil {
		t.Fatal(err)
	}
	row := func(i int) migrations.Applied {
		return migrations.Applied{Version: all[i].Version, Name: all[i].Name, SHA256: all[i].SHA256}
	}
	changed, newer := row(0), row(1)
	changed.SHA256, newer.Version = all[1].SHA256, 3
	for name, tc := range map[string]struct {
		applied []migrations.Applied
		pending int
		want    error
	}{
		"an empty database":   {nil, 2, nil},
		"an older database":   {[]migrations.Applied{row(0)}, 1, nil},
		"a current database":  {[]migrations.Applied{row(0), row(1)}, 0, nil},
		"a newer database":    {[]migrations.Applied{row(0), row(1), newer}, 0, migrations.ErrNewer},
		"a changed file":      {[]migrations.Applied{changed, row(1)}, 0, migrations.ErrChanged},
		"a missing migration": {[]migrations.Applied{row(1)}, 0, migrations.ErrChanged},
	} {
		pending, err := migrations.Pending(all, tc.applied)
		if !errors.Is(err, tc.want) || len(pending) != tc.pending {
			t.Errorf("%s: got %d pending, %v", name, len(pending), err)
		}
	}
}

package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/sqlite"
	"github.com/musterhq/muster/store/storetest"
)

// The test binary runs itself: with childMode in its environment it is the
// process that the test kills or starves.
const (
	childMode = "MUSTER_SQLITE_CHILD"
	childFile = "MUSTER_SQLITE_FILE"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "write":
		writeForEver(os.Getenv(childFile))
	case "starve":
		os.Exit(starve(os.Getenv(childFile)))
	default:
		os.Exit(m.Run())
	}
}

func child(t *testing.T, mode, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childMode+"="+mode, childFile+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// writeForEver writes documents and prints the revision of each once it is
// acknowledged.
func writeForEver(path string) {
	s, err := sqlite.Open(path)
	if err == nil {
		_, err = s.Form(context.Background(), storetest.ClusterID)
	}
	for n := 0; err == nil; n++ {
		var outcomes []store.Outcome
		outcomes, err = s.Apply(context.Background(), []store.Write{storetest.Put("route", strconv.Itoa(n%100), strconv.Itoa(n))})
		if err == nil {
			fmt.Println(outcomes[0].Change.Rev)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// kills is how often the writer is killed: 500 times in `make long`.
func kills() int {
	if os.Getenv("MUSTER_LONG") != "" {
		return 500
	}
	return 30
}

func TestKilledWriterLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	path := dataFile(t)
	var acknowledged int64
	for kill := range kills() {
		cmd := child(t, "write", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := readUntilKilled(t, cmd, out, 5+rand.IntN(60))
		if last <= acknowledged {
			t.Fatalf("kill %d: revision %d after %d", kill, last, acknowledged)
		}
		acknowledged = last
		checkSurvivors(t, path, acknowledged)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", kills(), acknowledged)
}

// readUntilKilled kills the writer after some lines, in the midst of its work,
// and returns the last revision that it printed.
func readUntilKilled(t *testing.T, cmd *exec.Cmd, out io.Reader, lines int) (last int64) {
	t.Helper()
	for scanner := bufio.NewScanner(out); scanner.Scan(); lines-- {
		rev, err := strconv.ParseInt(scanner.Text(), 10, 64)
		if err != nil {
			break // the last line was cut
		}
		last = rev
		if lines == 0 {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // it was killed
	return last
}

func checkSurvivors(t *testing.T, path string, acknowledged int64) {
	t.Helper()
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	history := storetest.History(t, s, 1000)
	if int64(len(history)) < acknowledged {
		t.Fatalf("%d writes were acknowledged, %d are there", acknowledged, len(history))
	}
	snap, err := s.Snapshot(t.Context())
	if err != nil || len(snap.Documents) != storetest.Replay(t, history).Len() {
		t.Fatalf("the documents are not those of the log: %v", err)
	}
}

// starve makes the file unable to grow, as a full disk does, and checks what the
// store says then and afterwards.
func starve(path string) int {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := sqlite.Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	if _, err := s.Form(ctx, storetest.ClusterID); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	big := []store.Write{storetest.Put("route", "big", `"`+strings.Repeat("x", 200_000)+`"`)}
	old := setFileLimit(64 << 10)
	_, err = s.Apply(ctx, big)
	fmt.Println("starved:", muster.CodeOf(err))
	setFileLimit(old)
	_, err = s.Apply(ctx, big)
	fmt.Println("fed:", muster.CodeOf(err))
	h, err := s.Head(ctx)
	fmt.Println("revision:", h.Rev, muster.CodeOf(err))
	return 0
}

func setFileLimit(limit uint64) uint64 {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: old.Max}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return old.Cur
}

func TestFullDiskIsUnavailableAndHeals(t *testing.T) {
	t.Parallel()
	out, err := child(t, "starve", dataFile(t)).Output()
	want := "starved: store-unavailable\nfed: \nrevision: 1 \n"
	if err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func change(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestChangedDocumentIsNotServed(t *testing.T) {
	t.Parallel()
	path := dataFile(t)
	fill(t, path)
	change(t, path, "update config_item set spec = '2' where name = 'c'")
	s := open(t, path)
	if _, err := s.Snapshot(t.Context()); muster.CodeOf(err) != muster.CodeDataDir || !strings.Contains(err.Error(), "route/c") {
		t.Errorf("the store: got %v", err)
	}
	m := openMirror(t, path)
	if _, err := m.Load(t.Context()); muster.CodeOf(err) != muster.CodeDataDir {
		t.Errorf("the mirror: got %v", err)
	}
}

func TestForeignSchemasAreRefused(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"newer":   "insert into schema_migration select max(version) + 1, 'later', 'x', 0 from schema_migration",
		"changed": "update schema_migration set sha256 = 'x'",
	} {
		path := filepath.Join(t.TempDir(), name+".db")
		fill(t, path)
		change(t, path, statement)
		if _, err := sqlite.Open(path); muster.CodeOf(err) != muster.CodeStoreSchema || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := sqlite.OpenMirror(path); muster.CodeOf(err) != muster.CodeStoreSchema {
			t.Errorf("%s, as a mirror: got %v", name, err)
		}
	}
}

func TestAnotherProcessHoldsTheFileForAWhileOnly(t *testing.T) {
	t.Parallel()
	path := dataFile(t)
	s := open(t, path)
	storetest.Form(t, s)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("begin immediate"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = s.Apply(t.Context(), []store.Write{storetest.Put("route", "a", `1`)})
	if muster.CodeOf(err) != muster.CodeStoreUnavailable || !strings.Contains(err.Error(), "another process") || time.Since(start) > sqlite.Deadline {
		t.Errorf("after %v: got %v", time.Since(start), err)
	}
	if _, err := s.Head(t.Context()); err != nil {
		t.Errorf("a read meanwhile: %v", err)
	}
	if _, err := db.Exec("rollback"); err != nil {
		t.Fatal(err)
	}
	storetest.MustApply(t, s, storetest.Put("route", "a", `1`))
}

func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 16} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			s := open(b, dataFile(b))
			storetest.Form(b, s)
			writes := make([]store.Write, size)
			for n := 0; b.Loop(); n++ {
				for i := range writes {
					writes[i] = storetest.Put("route", strconv.Itoa((n+i)%1000), `{"upstream":"http://10.0.0.1:8080","weight":10}`)
				}
				if _, err := s.Apply(b.Context(), writes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

func BenchmarkLoadMirror(b *testing.B) {
	path := dataFile(b)
	s := open(b, path)
	storetest.Form(b, s)
	for n := range 160 {
		var writes []store.Write
		for i := range store.MaxBatch {
			writes = append(writes, storetest.Put("route", strconv.Itoa(n*store.MaxBatch+i), `{"upstream":"http://10.0.0.1:8080","weight":10}`))
		}
		storetest.MustApply(b, s, writes...)
	}
	for b.Loop() {
		m, err := sqlite.OpenMirror(path)
		if err != nil {
			b.Fatal(err)
		}
		snap, err := m.Load(b.Context())
		if err != nil || len(snap.Documents) != 160*store.MaxBatch {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

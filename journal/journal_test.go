package journal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/journal"
)

const node muster.NodeID = "11111111-1111-8111-8111-111111111111"

// run is one boot of a node with a data directory.
type run struct {
	*journal.Journal
	t        *testing.T
	registry *prometheus.Registry
	cancel   context.CancelFunc
	done     chan error
}

// boot starts a journal, inside a bubble.
func boot(t *testing.T, dir string, counter uint64) *run {
	t.Helper()
	r := &run{t: t, registry: prometheus.NewRegistry(), done: make(chan error, 1)}
	var err error
	r.Journal, err = journal.Open(journal.Config{Node: node, Name: "n1", Boot: counter, Dir: dir, Metrics: r.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.done <- r.Run(ctx) }()
	r.Add(muster.Event{Kind: muster.EventNodeStart, Subject: "n1", Text: "n1 started"})
	return r
}

func (r *run) tell(text string) muster.Event {
	return r.Add(muster.Event{Kind: muster.EventMemberState, Subject: "n2", Text: text})
}

// crash ends a run without another word. What was written by then is on disk.
func (r *run) crash() {
	synctest.Wait()
	r.cancel()
	<-r.done
}

// stop ends a run in order.
func (r *run) stop() {
	r.t.Helper()
	r.Add(muster.Event{Kind: muster.EventNodeStop, Subject: "n1", Text: "n1 stopped"})
	r.cancel()
	<-r.done
	if err := r.Close(); err != nil {
		r.t.Error(err)
	}
}

// after asks for what comes after a cursor.
func (r *run) after(cursor string) muster.EventPage {
	r.t.Helper()
	at, err := muster.ParseEventCursor(cursor)
	if err != nil {
		r.t.Fatal(err)
	}
	page, _ := r.Events(muster.EventQuery{After: at})
	return page
}

func texts(page muster.EventPage) string {
	var all []string
	for _, e := range page.Events {
		all = append(all, e.Text)
	}
	return strings.Join(all, ", ")
}

// failures is how many writes have failed.
func (r *run) failures() float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil || len(families) != 1 {
		r.t.Fatalf("metrics: %v, %v", families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

func TestEventsSurviveARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := boot(t, dir, 4)
		seen := first.tell("one")
		last := first.tell("two")
		first.stop()
		second := boot(t, dir, 5)
		next := second.tell("three")
		page := second.after(seen.ID)
		if got := texts(page); got != "two, n1 stopped, n1 started, three" || len(page.Gaps) != 0 {
			t.Errorf("resumed with %s and gaps %v", got, page.Gaps)
		}
		if next.Clock <= last.Clock || next.ID != "11111111.5.2" || page.Next != next.ID {
			t.Errorf("after %s at %s comes %s at %s, next %s", last.ID, last.Clock, next.ID, next.Clock, page.Next)
		}
		second.stop()
	})
}

func TestCrashIsToldAsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := boot(t, dir, 4)
		seen := first.tell("one")
		first.crash()
		lost := first.tell("never written")
		second := boot(t, dir, 5)
		for _, cursor := range []string{seen.ID, lost.ID} {
			page := second.after(cursor)
			if texts(page) != "n1 started" || len(page.Gaps) != 1 || page.Gaps[0].Before != page.Events[0].ID || page.Gaps[0].Lost != 0 {
				t.Errorf("after %s: %s, gaps %+v", cursor, texts(page), page.Gaps)
			}
		}
		if whole := second.after(""); texts(whole) != "n1 started, one, n1 started" || len(whole.Gaps) != 1 {
			t.Errorf("from the beginning: %s, gaps %+v", texts(whole), whole.Gaps)
		}
		second.stop()
	})
}

func TestOverflowIsToldAsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := boot(t, t.TempDir(), 1)
		seen := r.tell("seen")
		for i := range journal.Keep + 7 {
			r.tell(fmt.Sprint(i))
		}
		page := r.after(seen.ID)
		if len(page.Events) != journal.Keep || len(page.Gaps) != 1 || page.Gaps[0].Lost != 7 || page.Gaps[0].After != seen.ID {
			t.Errorf("%d events, gaps %+v, want 7 lost", len(page.Events), page.Gaps)
		}
		if again := r.after(page.Events[3].ID); len(again.Gaps) != 0 || len(again.Events) != journal.Keep-4 {
			t.Errorf("later: %d events, gaps %+v", len(again.Events), again.Gaps)
		}
		r.stop()
	})
}

func TestPagesAreWalkedWithoutLoss(t *testing.T) {
	t.Parallel()
	j, err := journal.Open(journal.Config{Node: node, Name: "n1", Boot: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		subject := fmt.Sprintf("n%d", i%2)
		j.Add(muster.Event{Kind: muster.EventMemberState, Subject: subject, Text: fmt.Sprint(i)})
	}
	q := muster.EventQuery{After: muster.EventCursor{"11111111": {Node: "11111111", Boot: 1, Seq: 2}}, Member: "n1", Kind: "member", Limit: 4}
	var got []string
	for more := true; more; {
		page, _ := j.Events(q)
		got = append(got, texts(page))
		more = page.More
		if q.After, err = muster.ParseEventCursor(page.Next); err != nil || len(got) > 9 {
			t.Fatal(err, got)
		}
	}
	if want := "3, 5, 7, 9|11, 13, 15, 17|19, 21, 23"; strings.Join(got, "|") != want {
		t.Errorf("pages %s, want %s", strings.Join(got, "|"), want)
	}
	if newest, _ := j.Events(muster.EventQuery{Limit: 2}); texts(newest) != "23, 24" {
		t.Errorf("a first page of two has %s, want the newest", texts(newest))
	}
	if none, _ := j.Events(muster.EventQuery{Kind: "mem"}); len(none.Events) != 0 {
		t.Errorf("half a word of a kind finds %s", texts(none))
	}
	if none, _ := j.Events(muster.EventQuery{Since: time.Now().Add(time.Hour)}); len(none.Events) != 0 {
		t.Errorf("since the future: %s", texts(none))
	}
}

// TestTornAndDamagedLinesCostOnlyThemselves cuts the file everywhere and flips a
// bit of each line.
func TestTornAndDamagedLinesCostOnlyThemselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := boot(t, dir, 1)
		first.tell("one")
		first.tell("two")
		first.stop()
		path := filepath.Join(dir, journal.FileName)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for cut := range len(whole) {
			write(t, path, whole[:cut])
			held := reopen(t, dir)
			if want := strings.Count(string(whole[:cut+1]), "\n"); len(held.Events) != want {
				t.Fatalf("cut at %d: %d events, want %d", cut, len(held.Events), want)
			}
		}
		for at := range len(whole) {
			bad := append([]byte{}, whole...)
			bad[at] ^= 4
			write(t, path, bad)
			if held := reopen(t, dir); len(held.Events) > 3 || len(held.Events) < 2 {
				t.Fatalf("a bit flipped at %d: %d events of 4", at, len(held.Events))
			}
		}
	})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, dir string) muster.EventPage {
	t.Helper()
	j, err := journal.Open(journal.Config{Node: node, Name: "n1", Boot: 9, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	page, _ := j.Events(muster.EventQuery{})
	return page
}

func TestFileStaysSmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := boot(t, dir, 1)
		long := strings.Repeat("ä", 2000)
		largest := int64(0)
		for range 200 {
			for range 20 {
				r.tell(long)
			}
			synctest.Wait() // one write for all of them
			if info, err := os.Stat(filepath.Join(dir, journal.FileName)); err == nil {
				largest = max(largest, info.Size())
			}
		}
		r.stop()
		t.Logf("largest size: %d bytes", largest)
		if largest > 3<<20 { // a thousand of them, a MiB, one write
			t.Errorf("the file grew to %d bytes, want at most 3 MiB", largest)
		}
		if held := reopen(t, dir); len(held.Events) != journal.Keep || held.Events[5].Text != long[:1024] {
			t.Errorf("%d events are held, want %d with texts of 1 KiB", len(held.Events), journal.Keep)
		}
	})
}

// TestFullDiskIsSurvived lets the disk be full for the first write.
func TestFullDiskIsSurvived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink("/dev/full", filepath.Join(dir, journal.FileName+".new")); err != nil {
			t.Fatal(err)
		}
		r := boot(t, dir, 1)
		synctest.Wait()
		r.tell("while full")
		if got := r.after(""); texts(got) != "n1 started, while full" || r.failures() != 1 {
			t.Errorf("with a full disk: %s, %v failures", texts(got), r.failures())
		}
		if held := reopen(t, dir); len(held.Events) != 0 {
			t.Errorf("a full disk holds %s", texts(held))
		}
		time.Sleep(6 * time.Second) // there is room again
		synctest.Wait()
		if held := reopen(t, dir); texts(held) != "n1 started, while full" {
			t.Errorf("afterwards the disk holds %s", texts(held))
		}
		r.stop()
	})
}

func TestUnusableFileCostsNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, journal.FileName, "in-the-way"), 0o700); err != nil {
			t.Fatal(err)
		}
		r := boot(t, dir, 1)
		r.tell("one")
		synctest.Wait()
		if got := texts(r.after("")); got != "n1 started, one" || r.failures() == 0 {
			t.Errorf("held %s after %v failures", got, r.failures())
		}
		r.stop()
	})
}

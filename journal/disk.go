package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/musterhq/muster"
)

const (
	// maxGrowth is by how much the file grows before it is written anew with the
	// events that are held. With short texts they take 300 KiB, at most a few MiB.
	maxGrowth = 1 << 20
	// maxFile bounds what is read.
	maxFile = 16 << 20
	// retryEvery is the pause after a failed write.
	retryEvery = 5 * time.Second
	// maxLine bounds a line that is read.
	maxLine = 16 << 10
)

// disk is the file: one line per event, CRC-32C in eight hex digits, a space, JSON.
// Lines that do not match their checksum are skipped, so a torn one costs one
// event. It is used by one goroutine at a time.
type disk struct {
	path    string
	log     *slog.Logger
	metrics *metrics

	file    *os.File // nil: not open
	size    int64    // good bytes
	base    int64    // size when it was new
	written muster.EventID
	failing bool
}

// load returns the events of the file.
func (d *disk) load() (events []muster.Event) {
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		d.failed(err)
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	damaged := 0
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if e, ok := decode(lines.Bytes()); ok {
			events = append(events, e)
		} else {
			damaged++
		}
	}
	if damaged > 0 || lines.Err() != nil {
		d.log.Warn("the journal of events is damaged, the rest of it is used", "file", d.path, "damaged_lines", damaged, "error", lines.Err())
	}
	return events
}

func checksum(text []byte) uint32 { return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)) }

func encode(e muster.Event) []byte {
	text, err := json.Marshal(e)
	if err != nil { // a time beyond the year 9999
		return nil
	}
	return fmt.Appendf(nil, "%08x %s\n", checksum(text), text)
}

func decode(line []byte) (e muster.Event, ok bool) {
	sum, text, found := bytes.Cut(line, []byte(" "))
	if !found || string(sum) != fmt.Sprintf("%08x", checksum(text)) {
		return e, false
	}
	return e, json.Unmarshal(text, &e) == nil
}

// save appends events, or writes all that are held into a new file if this one is
// not open or full. It reports whether the disk has them.
func (d *disk) save(events []muster.Event, all func() []muster.Event) bool {
	var err error
	if d.file == nil || d.size > d.base+maxGrowth {
		events = all()
		err = d.replace(events)
	} else {
		err = d.append(events)
	}
	if err != nil {
		d.failed(err)
		return false
	}
	if d.failing {
		d.log.Info("events are written to disk again", "file", d.path)
	}
	d.failing = false
	d.written = item{Event: events[len(events)-1]}.id()
	return true
}

func (d *disk) failed(err error) {
	d.metrics.failures.Inc()
	if !d.failing {
		d.log.Warn("events are kept in memory alone: their file cannot be used", "file", d.path, "error", err)
	}
	d.failing = true
}

func lines(events []muster.Event) []byte {
	var data []byte
	for _, e := range events {
		data = append(data, encode(e)...)
	}
	return data
}

// append writes behind the last good line; what a failed write has left is cut off
// before the next one.
func (d *disk) append(events []muster.Event) error {
	data := lines(events)
	if _, err := d.file.WriteAt(data, d.size); err != nil {
		return errors.Join(err, d.file.Truncate(d.size))
	}
	d.size += int64(len(data))
	return nil
}

// replace writes a new file, complete before it takes the name.
func (d *disk) replace(events []muster.Event) error {
	temporary := d.path + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	data := lines(events)
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temporary, d.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(temporary))
	}
	_ = d.close() // the old one: nobody reads it any more
	d.file, d.size, d.base = f, int64(len(data)), int64(len(data))
	return nil
}

func (d *disk) close() error {
	if d.file == nil {
		return nil
	}
	err := errors.Join(d.file.Sync(), d.file.Close())
	d.file = nil
	return err
}

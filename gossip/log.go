package gossip

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/musterhq/muster"
)

// logWriter returns what memberlist writes its log lines to.
func logWriter(log *slog.Logger) io.Writer {
	if !log.Enabled(context.Background(), slog.LevelError) {
		return io.Discard // lets the log package skip the formatting
	}
	return lines{log}
}

// lines turns lines of the form "[LEVEL] memberlist: text" into records.
type lines struct{ log *slog.Logger }

// Write takes one line.
func (l lines) Write(p []byte) (int, error) {
	level, text := parseLine(string(bytes.TrimSpace(p)))
	ownQuestion := strings.HasSuffix(text, "from="+askerAddress)
	stale := strings.HasSuffix(text, errExpelled.Error()) // counted; a stale peer says it with every exchange
	if !ownQuestion && !stale && l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "memberlist reports", "text", muster.Printable(text))
	}
	return len(p), nil
}

// parseLine reads the level of a line. What memberlist calls an error is a
// warning here: it retries, and nothing has ended.
func parseLine(line string) (slog.Level, string) {
	level := slog.LevelInfo
	if tag, rest, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(tag, "[") {
		line = rest
		switch tag[1:] {
		case "DEBUG":
			level = slog.LevelDebug
		case "WARN", "ERR", "ERROR":
			level = slog.LevelWarn
		}
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}

package muster

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Clock is a time of a hybrid logical clock (Kulkarni et al., 2014): milliseconds
// since 1970 in the upper 48 bits, a counter in the lower 16. Its text is 16 hex
// digits, which sort like it.
type Clock uint64

// ClockAt returns the lowest value of a moment.
func ClockAt(t time.Time) Clock { return Clock(max(t.UnixMilli(), 0)) << 16 }

// Time returns the moment without the counter.
func (c Clock) Time() time.Time { return time.UnixMilli(int64(c >> 16)) }

// String returns the text.
func (c Clock) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// ParseClock reads the text of a clock value.
func ParseClock(text string) (Clock, error) {
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil || len(text) != 16 {
		return 0, errNoClock
	}
	return Clock(n), nil
}

var errNoClock = errors.New("a clock value has 16 hex digits")

// MarshalText returns the text: 64 bits are more than a JSON number keeps.
func (c Clock) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads it.
func (c *Clock) UnmarshalText(text []byte) (err error) {
	*c, err = ParseClock(string(text))
	return err
}

package muster

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxForeignText bounds what is shown or logged of a text that came from
// outside, in bytes.
const maxForeignText = 200

// Printable makes a text that came from outside safe to show and to log: control
// and bidirectional-override characters are removed, invalid UTF-8 is replaced,
// and the result is at most 200 bytes long.
func Printable(s string) string {
	if len(s) > 4*maxForeignText {
		s = s[:4*maxForeignText]
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxForeignText {
		return s
	}
	s = s[:maxForeignText]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

package config

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/musterhq/muster"
)

// Limits of a specification, beside muster.MaxSpec for its size.
const (
	MaxDepth        = 32   // arrays and objects inside one another
	maxNumberLength = 128  // characters of one number
	maxExponent     = 9999 // beyond it some stores cannot hold the number
)

// Canonical returns the one form in which a specification is stored, hashed and
// served: keys sorted by their UTF-8 bytes, no insignificant space, strings with
// the fewest escapes, numbers exactly as they were written.
//
// What two readers could understand differently is refused with CodeBadDocument
// and a text that names the field by its JSON pointer: repeated keys, NUL
// characters, invalid UTF-8, unpaired surrogates, more than MaxDepth levels and
// numbers of absurd size. More than muster.MaxSpec bytes are CodeTooLarge.
func Canonical(raw []byte) ([]byte, error) {
	if len(raw) > 4*muster.MaxSpec {
		return nil, tooLarge(len(raw))
	}
	if err := checkSyntax(raw); err != nil {
		return nil, err
	}
	w := writer{in: raw, out: make([]byte, 0, len(raw))}
	if err := w.value(0); err != nil {
		return nil, err
	}
	if len(w.out) > muster.MaxSpec {
		return nil, tooLarge(len(w.out))
	}
	return w.out, nil
}

func tooLarge(size int) error {
	return muster.Errorf(muster.CodeTooLarge, "the specification has %d bytes, the limit is %d", size, muster.MaxSpec)
}

func checkSyntax(raw []byte) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return muster.Errorf(muster.CodeBadDocument, "the specification is empty")
	}
	if !utf8.Valid(raw) {
		return muster.Errorf(muster.CodeBadDocument, "the specification is not valid UTF-8")
	}
	if json.Valid(raw) {
		return nil
	}
	var v json.RawMessage
	return muster.Errorf(muster.CodeBadDocument, "the specification is not JSON: %s", muster.Printable(json.Unmarshal(raw, &v).Error()))
}

// writer rewrites in, which is valid JSON, to out. Since the syntax has been
// checked, it only looks at what tells one form from another.
type writer struct {
	in   []byte
	pos  int
	out  []byte
	path []string // of the value being read
}

func (w *writer) fail(format string, args ...any) error {
	err := muster.Errorf(muster.CodeBadDocument, format, args...)
	err.Text = "field " + muster.Printable(pointer(w.path)) + ": " + err.Text
	return err
}

// pointer is the JSON pointer (RFC 6901) of a path; the whole document is "/".
func pointer(path []string) string {
	if len(path) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, step := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return b.String()
}

func (w *writer) skipSpace() {
	for w.pos < len(w.in) && strings.IndexByte(" \t\r\n", w.in[w.pos]) >= 0 {
		w.pos++
	}
}

// next returns the first byte of the next token without taking it.
func (w *writer) next() byte {
	w.skipSpace()
	return w.in[w.pos]
}

func (w *writer) value(depth int) error {
	c := w.next()
	if (c == '{' || c == '[') && depth == MaxDepth {
		return w.fail("nested deeper than %d levels", MaxDepth)
	}
	switch c {
	case '{':
		return w.object(depth + 1)
	case '[':
		return w.array(depth + 1)
	case '"':
		s, err := w.text()
		if err == nil {
			w.out = appendString(w.out, s)
		}
		return err
	default:
		return w.scalar()
	}
}

// scalar copies a number, true, false or null.
func (w *writer) scalar() error {
	start := w.pos
	for w.pos < len(w.in) && strings.IndexByte(" \t\r\n,]}", w.in[w.pos]) < 0 {
		w.pos++
	}
	token := w.in[start:w.pos]
	w.out = append(w.out, token...)
	if token[0] != '-' && (token[0] < '0' || token[0] > '9') {
		return nil
	}
	if len(token) > maxNumberLength {
		return w.fail("number of %d characters, the limit is %d", len(token), maxNumberLength)
	}
	if i := bytes.IndexAny(token, "eE"); i >= 0 {
		if e, err := strconv.Atoi(string(token[i+1:])); err != nil || e > maxExponent || e < -maxExponent {
			return w.fail("number %s is out of range", token)
		}
	}
	return nil
}

func (w *writer) array(depth int) error {
	w.pos++
	w.out = append(w.out, '[')
	for i := 0; w.next() != ']'; i++ {
		if w.in[w.pos] == ',' {
			w.pos++
			w.out = append(w.out, ',')
		}
		w.path = append(w.path, strconv.Itoa(i))
		if err := w.value(depth); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
	}
	w.pos++
	w.out = append(w.out, ']')
	return nil
}

// member is one `"key":value` of an object, at out[start:end].
type member struct {
	key        string
	start, end int
}

func (w *writer) object(depth int) error {
	w.pos++
	w.out = append(w.out, '{')
	start := len(w.out)
	var members []member
	for w.next() != '}' {
		if w.in[w.pos] == ',' {
			w.pos++
		}
		m, err := w.member(depth)
		if err != nil {
			return err
		}
		members = append(members, m)
	}
	w.pos++
	if err := w.sortMembers(start, members); err != nil {
		return err
	}
	w.out = append(w.out, '}')
	return nil
}

func (w *writer) member(depth int) (member, error) {
	w.skipSpace()
	key, err := w.text()
	if err != nil {
		return member{}, err
	}
	m := member{key: key, start: len(w.out)}
	w.out = append(appendString(w.out, key), ':')
	w.skipSpace()
	w.pos++ // the colon
	w.path = append(w.path, key)
	if err := w.value(depth); err != nil {
		return m, err
	}
	w.path = w.path[:len(w.path)-1]
	m.end = len(w.out)
	return m, nil
}

// sortMembers puts the members, which stand side by side in out from start, into
// the order of their keys, with commas between them.
func (w *writer) sortMembers(start int, members []member) error {
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	sorted := make([]byte, 0, len(w.out)-start+len(members))
	for i, m := range members {
		if i > 0 {
			if members[i-1].key == m.key {
				w.path = append(w.path, m.key)
				return w.fail("the key appears twice in one object")
			}
			sorted = append(sorted, ',')
		}
		sorted = append(sorted, w.out[m.start:m.end]...)
	}
	w.out = append(w.out[:start], sorted...)
	return nil
}

// text takes a string token and returns what it stands for.
func (w *writer) text() (string, error) {
	w.pos++
	start := w.pos
	for w.in[w.pos] != '"' && w.in[w.pos] != '\\' {
		w.pos++
	}
	s := string(w.in[start:w.pos])
	if w.in[w.pos] == '"' {
		w.pos++
		return s, nil
	}
	b := []byte(s)
	for {
		c := w.in[w.pos]
		w.pos++
		switch c {
		case '"':
			return string(b), nil
		case '\\':
			r, err := w.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
}

// escape takes what follows a backslash.
func (w *writer) escape() (rune, error) {
	c := w.in[w.pos]
	w.pos++
	if i := strings.IndexByte("bfnrt", c); i >= 0 {
		return rune("\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return rune(c), nil // quote, backslash, slash
	}
	r := w.hex()
	if r == 0 {
		return 0, w.fail("holds a NUL character")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if w.in[w.pos] == '\\' && w.in[w.pos+1] == 'u' {
		w.pos += 2
		if r = utf16.DecodeRune(r, w.hex()); r != utf8.RuneError {
			return r, nil
		}
	}
	return 0, w.fail("holds half of a surrogate pair")
}

func (w *writer) hex() rune {
	r, _ := strconv.ParseUint(string(w.in[w.pos:w.pos+4]), 16, 16) // four hex digits: the syntax was checked
	w.pos += 4
	return rune(r)
}

// appendString appends s as JSON with the fewest escapes.
func appendString(out []byte, s string) []byte {
	const short = "\b\f\n\r\t\"\\"
	out = append(out, '"')
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			out = append(out, c)
			continue
		}
		if j := strings.IndexByte(short, c); j >= 0 {
			out = append(out, '\\', `bfnrt"\`[j])
			continue
		}
		out = append(out, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
	}
	return append(out, '"')
}

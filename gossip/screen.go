package gossip

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// memberlist takes memory for as many members as the header of an exchange claims, up
// to a million, before any of them arrives, and unpacks what it would never send itself.
// One member with 64 streams of 40 bytes could so take gigabytes. What does not look like
// a message of our own configuration of memberlist is dropped before memberlist sees it.

// Bounds of a message on a stream.
const (
	maxExchange = 32 << 20 // bytes in all
	maxRecords  = 1 << 16  // members in an exchange of state
	maxField    = 4 << 10  // bytes of a text, elements of a list
	maxNesting  = 4
)

// The types of memberlist's messages that matter here only.
const (
	packetPushPull = 6
	packetCompound = 7
	packetUser     = 8
	packetCompress = 9
	packetEncrypt  = 10
	packetError    = 13
	packetLabel    = 244
)

// errUnsound is inside every error about what a message says, other than its cutting off.
var errUnsound = errors.New("unsound message")

// plainPacket reports whether a packet has only parts that members send each other:
// nothing packed, encrypted or labelled, and no messages of users.
func plainPacket(b []byte) bool {
	if len(b) > 5 && b[0] == packetChecksum {
		b = b[5:]
	}
	if len(b) == 0 {
		return false
	}
	switch b[0] {
	case packetUser, packetCompress, packetEncrypt, packetLabel:
		return false
	case packetCompound:
		return plainParts(b[1:])
	}
	return true
}

// plainParts checks the parts of a compound packet: their number u8, the length u16 of
// each, the parts. memberlist does not put one compound into another.
func plainParts(b []byte) bool {
	if len(b) == 0 || len(b) < 1+2*int(b[0]) {
		return false
	}
	n := int(b[0])
	lengths, rest := b[1:1+2*n], b[1+2*n:]
	for i := range n {
		size := int(binary.BigEndian.Uint16(lengths[2*i:]))
		if size > len(rest) {
			return true // cut off: memberlist drops the rest itself
		}
		part := rest[:size]
		if size > 0 && (part[0] == packetCompound || !plainPacket(part)) {
			return false
		}
		rest = rest[size:]
	}
	return true
}

// screen reads one whole message of a stream and returns its bytes. It never holds
// more memory than what has arrived.
func screen(r io.Reader) ([]byte, error) {
	s := &screener{r: bufio.NewReader(r)}
	kind, err := s.take(1)
	if err != nil {
		return nil, err // io.EOF: somebody only tried whether streams reach us
	}
	switch kind[0] {
	case packetPushPull:
		err = s.exchange()
	case packetPing, packetAck, packetError:
		err = s.skip(0)
	default:
		err = errUnsound
	}
	if err != nil {
		return nil, fmt.Errorf("read a stream: %w", err)
	}
	return s.seen.Bytes(), nil
}

// screener walks over MessagePack without decoding it.
type screener struct {
	r    *bufio.Reader
	seen bytes.Buffer
}

// take reads n more bytes. The result is valid until the next call.
func (s *screener) take(n int) ([]byte, error) {
	if n > maxExchange-s.seen.Len() {
		return nil, fmt.Errorf("%w: it is too long", errUnsound)
	}
	at := s.seen.Len()
	if _, err := io.CopyN(&s.seen, s.r, int64(n)); err != nil {
		return nil, err
	}
	return s.seen.Bytes()[at:], nil
}

// exchange walks over an exchange of state: a header, as many records as it says, and
// the digest.
func (s *screener) exchange() error {
	it, err := s.next()
	if err != nil || it.kind != kindMap {
		return orUnsound(err)
	}
	claims := map[string]int{}
	for range it.n {
		key, err := s.next()
		if err != nil || key.kind != kindText {
			return orUnsound(err)
		}
		name := string(key.text)
		value, err := s.next()
		if err != nil || value.kind != kindNumber {
			return orUnsound(err)
		}
		claims[name] = value.n
	}
	records, digest := claims["Nodes"], claims["UserStateLen"]
	if records > maxRecords || digest > maxDigest {
		return fmt.Errorf("%w: the header claims too much", errUnsound)
	}
	for range records {
		if err := s.skip(0); err != nil {
			return err
		}
	}
	_, err = s.take(digest)
	return err
}

// orUnsound returns err, or that the message is unsound if there is none.
func orUnsound(err error) error { return cmp.Or(err, errUnsound) }

// skip walks over one value with everything in it.
func (s *screener) skip(depth int) error {
	it, err := s.next()
	if err != nil || depth > maxNesting {
		return orUnsound(err)
	}
	inside := it.n
	switch it.kind {
	case kindMap:
		inside *= 2
	case kindList:
	default:
		return nil
	}
	for range inside {
		if err := s.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// Kinds of values.
const (
	kindNumber = iota // also nil, booleans, fractions
	kindText          // also bytes
	kindList
	kindMap
)

// item is a value of MessagePack without what is in it.
type item struct {
	kind int
	n    int // the number, or how many elements
	text []byte
}

// next reads the head of a value, and the value itself unless it is a list or a map.
func (s *screener) next() (item, error) {
	head, err := s.take(1)
	if err != nil {
		return item{}, err
	}
	switch c := head[0]; {
	case c <= 0x7F:
		return item{kind: kindNumber, n: int(c)}, nil
	case c <= 0x8F:
		return item{kind: kindMap, n: int(c & 0x0F)}, nil
	case c <= 0x9F:
		return item{kind: kindList, n: int(c & 0x0F)}, nil
	case c <= 0xBF:
		return s.textOf(int(c & 0x1F))
	case c == 0xC0 || c == 0xC2 || c == 0xC3 || c >= 0xE0:
		return item{kind: kindNumber}, nil
	default:
		return s.long(c)
	}
}

// sizes tells for the codes from 0xC4 on the kind of the value and how many bytes its
// length or number has. Extensions are not there: nobody sends them.
func sizes(c byte) (kind, size int) {
	switch c {
	case 0xCA, 0xCE, 0xD2:
		return kindNumber, 4
	case 0xCB, 0xCF, 0xD3:
		return kindNumber, 8
	case 0xCC, 0xD0:
		return kindNumber, 1
	case 0xCD, 0xD1:
		return kindNumber, 2
	case 0xC4, 0xD9:
		return kindText, 1
	case 0xC5, 0xDA:
		return kindText, 2
	case 0xC6, 0xDB:
		return kindText, 4
	case 0xDC, 0xDD:
		return kindList, 2 << (c - 0xDC)
	case 0xDE, 0xDF:
		return kindMap, 2 << (c - 0xDE)
	}
	return 0, 0
}

func (s *screener) long(c byte) (item, error) {
	kind, size := sizes(c)
	if size == 0 {
		return item{}, errUnsound
	}
	b, err := s.take(size)
	if err != nil {
		return item{}, err
	}
	n := uint64(0)
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	switch {
	case kind == kindNumber:
		return item{kind: kind, n: int(min(n, 1<<40))}, nil // a negative one counts as too much
	case n > maxField:
		return item{}, fmt.Errorf("%w: a field claims too much", errUnsound)
	case kind == kindText:
		return s.textOf(int(n))
	}
	return item{kind: kind, n: int(n)}, nil
}

func (s *screener) textOf(n int) (item, error) {
	b, err := s.take(n)
	return item{kind: kindText, n: n, text: b}, err
}

package link

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 demands it; nothing depends on its strength
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
)

// The subset of RFC 6455 that links use: binary messages of one frame, ping, pong
// and close. Fragments, text and extensions end the connection.

// maxMessage bounds a WebSocket message: one Noise record.
const maxMessage = 65535

// Opcodes.
const (
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// Close codes.
const (
	closeNormal    = 1000
	closeGoingAway = 1001
	closeProtocol  = 1002
	closeReplaced  = 4000
	closeNewBoot   = 4001
	closeTooSlow   = 4002
	closeRevoked   = 4003
)

// protocolError is a violation of the framing rules by the other side.
type protocolError string

// Error returns the rule that was broken.
func (e protocolError) Error() string { return "websocket: " + string(e) }

// closedError is a close frame of the other side.
type closedError uint16

// Error names the close code and what it means.
func (e closedError) Error() string {
	text := "closed by the other side with code " + strconv.Itoa(int(e))
	if why := e.meaning(); why != "" {
		text += ": " + why
	}
	return text
}

func (e closedError) meaning() string {
	switch e {
	case closeNormal:
		return "nobody used the link"
	case closeGoingAway:
		return "it is shutting down"
	case closeReplaced:
		return "another link between the two nodes has replaced this one"
	case closeNewBoot:
		return "this node's identity has come back with a newer boot"
	case closeTooSlow:
		return "this node did not take what was sent to it within 2 s"
	case closeRevoked:
		return "it has dropped the cookie of the connection, or this node"
	}
	return ""
}

// head is the header of a WebSocket frame.
type head struct {
	op     byte
	length int
	mask   [4]byte
	masked bool
}

// parseHead decodes a frame header from the start of b. size is how many bytes the
// header has; when b is shorter than that, h is not set.
func parseHead(b []byte) (h head, size int, err error) {
	if len(b) < 2 {
		return head{}, 2, nil
	}
	size = 2 + extraBytes(b[1]&0x7F)
	h = head{op: b[0] & 0x0F, masked: b[1]&0x80 != 0, length: int(b[1] & 0x7F)}
	if h.masked {
		size += 4
	}
	if err := checkHead(b[0], h); err != nil || len(b) < size {
		return head{}, size, err
	}
	switch h.length {
	case 126:
		h.length = int(binary.BigEndian.Uint16(b[2:]))
		if h.length < 126 {
			return head{}, size, protocolError("length not in its shortest form")
		}
	case 127: // always more than maxMessage
		return head{}, size, protocolError("message too long")
	}
	if h.masked {
		copy(h.mask[:], b[size-4:])
	}
	return h, size, nil
}

// extraBytes is the size of the extended length that follows a length of n.
func extraBytes(n byte) int {
	switch n {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

func checkHead(first byte, h head) error {
	switch {
	case first&0x70 != 0:
		return protocolError("reserved bits are set")
	case first&0x80 == 0:
		return protocolError("fragmented message")
	case h.op == opBinary:
		return nil
	case h.op != opClose && h.op != opPing && h.op != opPong:
		return protocolError(fmt.Sprintf("opcode %d is not used", h.op))
	case h.length > 125:
		return protocolError("control frame too long")
	}
	return nil
}

// appendHead appends the header of a frame. key is nil for an unmasked frame.
func appendHead(dst []byte, op byte, length int, key *[4]byte) []byte {
	var bit byte
	if key != nil {
		bit = 0x80
	}
	if length < 126 {
		dst = append(dst, 0x80|op, bit|byte(length))
	} else {
		dst = append(dst, 0x80|op, bit|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(length))
	}
	if key != nil {
		dst = append(dst, key[:]...)
	}
	return dst
}

// newMask draws a masking key. It need not be secret, only unpredictable to
// whoever chose the payload (RFC 6455, section 10.3).
func newMask() *[4]byte {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	return &key
}

// mask applies a masking key in place. Applying it twice restores b.
func mask(b []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	word |= word << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}

// acceptKey is the answer to a Sec-WebSocket-Key.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// socket reads WebSocket messages from a connection. A read that ends with a
// timeout may be repeated: what has arrived so far is kept. One goroutine reads at
// a time.
type socket struct {
	nc     net.Conn
	br     *bufio.Reader
	client bool // we are the dialling side: what we read is not masked
	max    int  // longest message that is accepted

	take    func(size int) []byte               // gives a buffer for a message
	control func(op byte, payload []byte) error // sees ping and pong

	current head
	open    bool // current is valid and its payload is being read
	buf     []byte
	got     int
}

// next returns the next binary message. It is the caller's.
func (s *socket) next() ([]byte, error) {
	for {
		if err := s.header(); err != nil {
			return nil, err
		}
		if s.current.op == opBinary {
			return s.message()
		}
		if err := s.controlFrame(); err != nil {
			return nil, err
		}
	}
}

// header reads a frame header unless one is open already.
func (s *socket) header() error {
	for size := 2; !s.open; {
		b, err := s.br.Peek(size)
		if err != nil {
			return s.truncated(err, len(b))
		}
		h, want, err := parseHead(b)
		if err != nil {
			return err
		}
		if want > size {
			size = want
			continue
		}
		if h.masked == s.client {
			return protocolError("wrong masking")
		}
		if h.length > s.max {
			return protocolError("message too long")
		}
		_, _ = s.br.Discard(want) // was peeked
		s.current, s.open = h, true
	}
	return nil
}

// truncated tells an end between two frames from one inside a frame.
func (s *socket) truncated(err error, have int) error {
	if have > 0 && isEOF(err) {
		return protocolError("connection ends inside a frame")
	}
	return err
}

func (s *socket) message() ([]byte, error) {
	if s.buf == nil {
		s.buf, s.got = s.take(s.current.length), 0
	}
	for s.got < s.current.length {
		n, err := s.br.Read(s.buf[s.got:s.current.length])
		s.got += n
		if err != nil && s.got < s.current.length {
			return nil, s.truncated(err, 1)
		}
	}
	msg := s.buf[:s.current.length]
	s.buf, s.open = nil, false
	if s.current.masked {
		mask(msg, s.current.mask)
	}
	return msg, nil
}

// controlFrame handles a frame of at most 125 bytes.
func (s *socket) controlFrame() error {
	b, err := s.br.Peek(s.current.length)
	if err != nil {
		return s.truncated(err, 1)
	}
	payload := append([]byte(nil), b...)
	_, _ = s.br.Discard(s.current.length) // was peeked
	s.open = false
	if s.current.masked {
		mask(payload, s.current.mask)
	}
	if s.current.op != opClose {
		return s.control(s.current.op, payload)
	}
	if len(payload) < 2 {
		return closedError(closeNormal)
	}
	return closedError(binary.BigEndian.Uint16(payload))
}

// appendFrame appends a whole frame, masked when the sender is a client.
func appendFrame(dst []byte, op byte, client bool, payload []byte) []byte {
	var key *[4]byte
	if client {
		key = newMask()
	}
	dst = appendHead(dst, op, len(payload), key)
	start := len(dst)
	dst = append(dst, payload...)
	if client {
		mask(dst[start:], *key)
	}
	return dst
}

// closeFrame is a close frame with a code.
func closeFrame(client bool, code uint16) []byte {
	return appendFrame(nil, opClose, client, binary.BigEndian.AppendUint16(nil, code))
}

// restOfFrame returns a copy of what is still to be written of the frame that a
// partial write of whole frames ended in; nothing if it ended between two.
func restOfFrame(out []byte, written int) []byte {
	end := 0
	for end < written {
		h, size, err := parseHead(out[end:])
		if err != nil {
			return nil // we wrote it: it does not happen
		}
		end += size + h.length
	}
	return slices.Clone(out[written:min(end, len(out))])
}

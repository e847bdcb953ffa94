package link

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flynn/noise"
)

// version is the version of the link protocol that this package speaks.
const version = 1

const (
	maxRecord   = maxMessage - 16       // plaintext of one Noise record
	maxPayload  = maxRecord - frameHead // payload of one frame
	frameHead   = 4                     // type u8, length u24
	maxUnproved = 8 << 10               // longest message before the peer has proved itself
)

// Types of frames. Unknown types are skipped.
const (
	framePacket   = 1
	frameDialBack = 3
	frameData     = 5 // bytes of a stream or rpc channel
	frameHello    = 16
	frameAccept   = 17
	frameRefuse   = 18
)

// appendFrameHead appends the header of a frame with n bytes of payload.
func appendFrameHead(dst []byte, kind byte, n int) []byte {
	return append(dst, kind, byte(n>>16), byte(n>>8), byte(n))
}

// cutFrame splits the first frame off the plaintext of a record.
func cutFrame(b []byte) (kind byte, body, rest []byte, err error) {
	if len(b) < frameHead {
		return 0, nil, nil, errors.New("frame header is cut off")
	}
	n := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	if n > len(b)-frameHead {
		return 0, nil, nil, fmt.Errorf("frame of %d bytes in a record with %d left", n, len(b)-frameHead)
	}
	return b[0], b[frameHead : frameHead+n], b[frameHead+n:], nil
}

// cutRecord returns how many of the leading bytes of frames, a sequence of whole
// frames of at most maxPayload each, fit into one record.
func cutRecord(frames []byte) int {
	if len(frames) <= maxRecord {
		return len(frames)
	}
	end := 0
	for {
		_, _, rest, err := cutFrame(frames[end:])
		next := len(frames) - len(rest)
		if err != nil || next > maxRecord {
			return end
		}
		end = next
	}
}

// opening is the payload of the first handshake message. It is readable by every
// holder of the cookie and may be replayed: nothing may be concluded from it.
type opening struct {
	Role    string  `json:"role"` // always client
	Channel Channel `json:"channel"`
	Cluster string  `json:"cluster,omitempty"`
	Target  string  `json:"target,omitempty"`
	Token   string  `json:"token,omitempty"` // of a dial-back
}

// newHandshake starts one side of the Noise handshake.
func newHandshake(initiator bool, channel Channel, key Key) (*noise.HandshakeState, error) {
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:  noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256),
		Pattern:      noise.HandshakeNN,
		Initiator:    initiator,
		Prologue:     append([]byte("muster-link\x00\x01"), channel...),
		PresharedKey: key.PSK[:],
	})
	if err != nil {
		return nil, fmt.Errorf("start noise handshake: %w", err)
	}
	return hs, nil
}

// writeOpening makes the first handshake message.
func writeOpening(hs *noise.HandshakeState, o opening) ([]byte, error) {
	payload, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode opening: %w", err)
	}
	m1, _, _, err := hs.WriteMessage(nil, payload)
	return m1, err
}

// readOpening opens the first handshake message.
func readOpening(hs *noise.HandshakeState, m1 []byte) (opening, error) {
	payload, _, _, err := hs.ReadMessage(nil, m1)
	if err != nil {
		return opening{}, fmt.Errorf("open message 1: %w", err)
	}
	var o opening
	if err := json.Unmarshal(payload, &o); err != nil {
		return opening{}, fmt.Errorf("decode message 1: %w", err)
	}
	return o, nil
}

// buffer is what the pool of a Link holds.
type buffer struct{ b []byte }

// ensure returns n bytes of the buffer.
func (b *buffer) ensure(n int) []byte {
	if cap(b.b) < n {
		size := 4 << 10
		if n > size {
			size = maxMessage
		}
		b.b = make([]byte, size)
	}
	return b.b[:n]
}

// session is a WebSocket with a Noise session inside. One goroutine reads at a
// time; any number may write.
type session struct {
	socket
	bufs  *sync.Pool // of *buffer
	spawn func(func()) bool

	send, recv *noise.CipherState
	binding    []byte        // hash of the handshake, equal on both sides and never twice
	limit      time.Duration // deadline set for each write; 0: the owner sets deadlines

	writing chan struct{} // holds an element while a goroutine writes
	done    chan struct{} // closed when the connection is

	mu    sync.Mutex
	cause error  // why the connection was closed
	hook  func() // runs when it is closed

	in        *buffer      // holds the message being read
	readStart atomic.Int64 // when the read under way began, 0 = none
	lastRead  atomic.Int64
	lastWrite atomic.Int64
	lastUse   atomic.Int64 // as lastRead and lastWrite, pings and pongs aside
	pinging   atomic.Bool
	ponging   atomic.Bool
	pongs     chan struct{} // one element: something came since it was emptied
}

func (l *Link) newSession(nc net.Conn, br *bufio.Reader, channel Channel, client bool) *session {
	s := &session{
		bufs: &l.bufs, spawn: l.spawn,
		writing: make(chan struct{}, 1),
		done:    make(chan struct{}),
		pongs:   make(chan struct{}, 1),
	}
	if channel == ChannelPacket {
		s.limit = writeLimit
	}
	s.socket = socket{nc: nc, br: br, client: client, max: maxUnproved, take: s.takeBuffer, control: s.onControl}
	now := time.Now().UnixNano()
	s.lastRead.Store(now)
	s.lastWrite.Store(now)
	s.lastUse.Store(now)
	return s
}

// setKeys installs the result of the handshake. first encrypts what the client sends.
func (s *session) setKeys(hs *noise.HandshakeState, first, second *noise.CipherState) {
	s.send, s.recv = first, second
	if !s.client {
		s.send, s.recv = second, first
	}
	s.binding = append([]byte(nil), hs.ChannelBinding()...)
}

func getBuffer(pool *sync.Pool) *buffer {
	if b, ok := pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{}
}

// putBuffer empties a buffer and gives it back.
func putBuffer(pool *sync.Pool, b *buffer) {
	b.b = b.b[:0]
	pool.Put(b)
}

func (s *session) takeBuffer(size int) []byte {
	s.in = getBuffer(s.bufs)
	return s.in.ensure(size)
}

// release gives the buffer of the last record back.
func (s *session) release() {
	if s.in != nil && !s.open {
		putBuffer(s.bufs, s.in)
		s.in = nil
	}
}

// readRecord returns the plaintext of the next record. It is valid until the next
// call. After a timeout the call may be repeated; any other error has closed the
// connection.
func (s *session) readRecord() ([]byte, error) {
	s.release()
	s.readStart.Store(time.Now().UnixNano())
	msg, err := s.next()
	s.readStart.Store(0)
	if err != nil {
		return nil, s.readFailed(err)
	}
	now := time.Now().UnixNano()
	s.lastRead.Store(now)
	s.lastUse.Store(now)
	plain, err := s.recv.Decrypt(msg[:0], nil, msg)
	if err != nil {
		return nil, s.readFailed(fmt.Errorf("record does not open: %w", err))
	}
	return plain, nil
}

func (s *session) readFailed(err error) error {
	if isTimeout(err) {
		return err
	}
	if cause := s.closedBy(); cause != nil {
		return cause
	}
	if c, ok := errors.AsType[closedError](err); ok && c == closeNormal {
		err = io.EOF
	}
	if _, ok := errors.AsType[protocolError](err); ok {
		s.sendClose(closeProtocol)
	}
	s.closeWith(err)
	return err
}

// onControl sees ping and pong.
func (s *session) onControl(op byte, payload []byte) error {
	s.lastRead.Store(time.Now().UnixNano())
	if op == opPong {
		select {
		case s.pongs <- struct{}{}:
		default: // one is waiting already
		}
		return nil
	}
	if s.ponging.Swap(true) {
		return nil // an answer is under way; RFC 6455 lets us skip this one
	}
	// not in this goroutine: two readers that wait for each other's answer would hang
	started := s.spawn(func() {
		defer s.ponging.Store(false)
		_ = s.writeControl(opPong, payload) // a failed write has closed the connection
	})
	if !started {
		s.ponging.Store(false)
	}
	return nil
}

// ping asks the other side to show that it is alive.
func (s *session) ping() error {
	if s.pinging.Swap(true) {
		return nil
	}
	defer s.pinging.Store(false)
	return s.writeControl(opPing, nil)
}

func (s *session) writeControl(op byte, payload []byte) error {
	return s.locked(func() error {
		return s.flush(appendFrame(nil, op, s.client, payload))
	})
}

// probe pings the other side and reports whether it answers within limit.
func (s *session) probe(limit time.Duration) bool {
	select {
	case <-s.pongs:
	default:
	}
	s.spawn(func() { _ = s.writeControl(opPing, nil) }) // a failed write has closed the connection
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.pongs:
		return true
	case <-s.done:
		return false
	case <-timer.C:
		return false
	}
}

// locked runs f while no other goroutine writes. It is a channel and not a mutex
// because f blocks on I/O.
func (s *session) locked(f func() error) error {
	select {
	case s.writing <- struct{}{}:
	case <-s.done:
		return s.closedBy()
	}
	defer func() { <-s.writing }()
	return f()
}

// write sends whole frames, as few records as possible, in one write.
func (s *session) write(frames []byte) error {
	return s.locked(func() error {
		b := getBuffer(s.bufs)
		defer putBuffer(s.bufs, b)
		out, err := b.b[:0], error(nil)
		for len(frames) > 0 {
			n := cutRecord(frames)
			if out, err = s.appendRecord(out, nil, frames[:n]); err != nil {
				return err
			}
			frames = frames[n:]
		}
		b.b = out
		s.lastUse.Store(time.Now().UnixNano())
		return s.flush(out)
	})
}

// appendRecord seals a followed by b as one WebSocket message.
func (s *session) appendRecord(dst, a, b []byte) ([]byte, error) {
	var key *[4]byte
	if s.client {
		key = newMask()
	}
	dst = appendHead(dst, opBinary, len(a)+len(b)+16, key)
	start := len(dst)
	dst = append(append(dst, a...), b...)
	dst, err := s.send.Encrypt(dst[:start], nil, dst[start:])
	if err != nil {
		s.closeWith(err)
		return nil, fmt.Errorf("seal record: %w", err)
	}
	if key != nil {
		mask(dst[start:], *key)
	}
	return dst, nil
}

// flush writes to the network. The caller holds the right to write.
func (s *session) flush(out []byte) error {
	if s.limit > 0 {
		_ = s.nc.SetWriteDeadline(time.Now().Add(s.limit)) // the write itself tells
	}
	n, err := s.nc.Write(out)
	if err == nil {
		s.lastWrite.Store(time.Now().UnixNano())
		return nil
	}
	if cause := s.closedBy(); cause != nil {
		return cause
	}
	if s.limit > 0 && isTimeout(err) {
		s.giveUp(append(restOfFrame(out, n), closeFrame(s.client, closeTooSlow)...))
		return errTooSlow
	}
	s.closeWith(err) // part of a frame may be out: the connection is of no more use
	return err
}

// giveUp ends a connection whose other side takes nothing. The last words stay a
// moment longer in a goroutine of their own: a process that was only paused hears why.
func (s *session) giveUp(lastWords []byte) {
	s.end(errTooSlow, func() {
		_ = s.nc.SetReadDeadline(time.Now()) // whatever comes is not wanted any more
		said := s.spawn(func() {
			_ = s.nc.SetWriteDeadline(time.Now().Add(farewellLimit))
			_, _ = s.nc.Write(lastWords) // a courtesy only
			_ = s.nc.Close()
		})
		if !said {
			_ = s.nc.Close() // this node is shutting down
		}
	})
}

// sendClose tells the other side why the connection ends, if that takes no time.
func (s *session) sendClose(code uint16) {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case s.writing <- struct{}{}:
	case <-s.done:
		return
	case <-timer.C:
		return
	}
	_ = s.nc.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)) // a courtesy only
	_, _ = s.nc.Write(closeFrame(s.client, code))                    // same
	<-s.writing
}

// closeWith closes the connection. The first cause is what later calls return.
func (s *session) closeWith(cause error) {
	s.end(cause, func() { _ = s.nc.Close() }) // nothing to be done about it
}

// end makes the connection over, once, with hangUp to see to the socket.
func (s *session) end(cause error, hangUp func()) {
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return
	}
	s.cause = cause
	hook := s.hook
	s.mu.Unlock()
	close(s.done)
	hangUp()
	if hook != nil {
		hook()
	}
}

// onClose sets what to do when the connection is closed, and does it if it is.
func (s *session) onClose(f func()) {
	s.mu.Lock()
	s.hook = f
	closed := s.cause != nil
	s.mu.Unlock()
	if closed {
		f()
	}
}

// closedBy returns why the connection was closed, or nil while it is open.
func (s *session) closedBy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// silentFor returns how long the quieter direction has been quiet.
func (s *session) silentFor(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, min(s.lastRead.Load(), s.lastWrite.Load())))
}

// unusedFor returns how long nothing but pings and pongs has passed.
func (s *session) unusedFor(now time.Time) time.Duration {
	return now.Sub(time.Unix(0, s.lastUse.Load()))
}

// deafFor returns how long a read has been waiting in vain.
func (s *session) deafFor(now time.Time) time.Duration {
	start := s.readStart.Load()
	if start == 0 {
		return 0 // nobody reads: no wonder that nothing comes
	}
	return now.Sub(time.Unix(0, max(start, s.lastRead.Load())))
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

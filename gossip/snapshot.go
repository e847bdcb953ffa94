package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
)

// memberlist's own state of a member, with suspicion and the difference between
// dead and left, is private. But it tells any peer that opens a stream and asks
// for an exchange of state; so this package asks, as a peer that knows nobody.

// askerAddress is where the question seems to come from, in memberlist's log.
const askerAddress = "self"

// exchangeMessage is the type byte of an exchange of state.
const exchangeMessage = 6

// question is such a message, in MessagePack: {Nodes: 0, UserStateLen: 0, Join: false}.
const question = "\x06\x83\xa5Nodes\x00\xacUserStateLen\x00\xa4Join\xc2"

// record is what memberlist knows of one member.
type record struct {
	id          muster.NodeID
	state       muster.State
	meta        []byte
	vsn         []byte // versions of memberlist's protocol
	incarnation uint64
}

var errNoSnapshot = errors.New("memberlist did not answer")

// snapshot asks memberlist for its view. The records share the memory of buffer,
// which must not be used again after an error.
func (g *Gossip) snapshot(ctx context.Context, buffer *bytes.Buffer) ([]record, error) {
	buffer.Reset()
	a := &asker{question: bytes.NewReader([]byte(question)), answer: buffer, closed: make(chan struct{})}
	select {
	case g.cfg.Inbox.streams <- a:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-a.closed:
		return parseExchange(a.answer.Bytes())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// asker is the stream on which memberlist is asked. One goroutine of memberlist's
// reads, writes and closes it.
type asker struct {
	question *bytes.Reader
	answer   *bytes.Buffer
	closed   chan struct{}
}

// Read returns the question.
func (a *asker) Read(p []byte) (int, error) { return a.question.Read(p) }

// Write keeps the answer.
func (a *asker) Write(p []byte) (int, error) { return a.answer.Write(p) }

// Close hands over the answer. memberlist closes a stream once.
func (a *asker) Close() error {
	close(a.closed)
	return nil
}

// LocalAddr returns a name for the log.
func (a *asker) LocalAddr() net.Addr { return askerAddr{} }

// RemoteAddr returns a name for the log.
func (a *asker) RemoteAddr() net.Addr { return askerAddr{} }

// SetDeadline does nothing: nothing here waits.
func (a *asker) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (a *asker) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (a *asker) SetWriteDeadline(time.Time) error { return nil }

type askerAddr struct{}

// Network returns "muster".
func (askerAddr) Network() string { return "muster" }

// String returns a name for the log.
func (askerAddr) String() string { return askerAddress }

// parseExchange reads memberlist's side of an exchange of state.
func parseExchange(answer []byte) ([]record, error) {
	if len(answer) == 0 || answer[0] != exchangeMessage {
		return nil, errNoSnapshot
	}
	r := &msgpack{rest: answer[1:]}
	nodes := uint64(0)
	err := r.fields(func(key string) error {
		if key != "Nodes" {
			return r.skip()
		}
		n, err := r.uint()
		nodes = n
		return err
	})
	var records []record
	for ; err == nil && nodes > 0; nodes-- {
		var one record
		one, err = parseRecord(r)
		records = append(records, one)
	}
	if err != nil {
		return nil, fmt.Errorf("read memberlist's state: %w", err)
	}
	return records, nil
}

func parseRecord(r *msgpack) (record, error) {
	var out record
	err := r.fields(func(key string) error {
		switch key {
		case "Name":
			b, err := r.bytes()
			out.id = muster.NodeID(b)
			return err
		case "Meta":
			b, err := r.bytes()
			out.meta = b
			return err
		case "Vsn":
			b, err := r.bytes()
			out.vsn = b
			return err
		case "Incarnation":
			n, err := r.uint()
			out.incarnation = n
			return err
		case "State":
			n, err := r.uint()
			out.state = stateOf(n)
			return err
		}
		return r.skip()
	})
	return out, err
}

func stateOf(n uint64) muster.State {
	switch memberlist.NodeStateType(min(n, 255)) {
	case memberlist.StateAlive:
		return muster.StateAlive
	case memberlist.StateSuspect:
		return muster.StateSuspect
	case memberlist.StateLeft:
		return muster.StateLeft
	}
	return muster.StateDead
}

// msgpack reads the few MessagePack types that memberlist's messages are made of.
type msgpack struct{ rest []byte }

var errMsgpackType = errors.New("unexpected type")

// fields calls f for each key of a map; f reads the value.
func (r *msgpack) fields(f func(key string) error) error {
	n, err := r.mapLen()
	for ; err == nil && n > 0; n-- {
		var key []byte
		if key, err = r.bytes(); err == nil {
			err = f(string(key))
		}
	}
	return err
}

func (r *msgpack) mapLen() (uint64, error) {
	t, err := r.byte()
	switch {
	case err != nil:
		return 0, err
	case t&0xf0 == 0x80:
		return uint64(t & 0x0f), nil
	case t == 0xde:
		return r.bigEndian(2)
	}
	return 0, errMsgpackType
}

// bytes reads a string or binary value; nil reads as empty.
func (r *msgpack) bytes() ([]byte, error) {
	t, err := r.byte()
	if err != nil {
		return nil, err
	}
	n := uint64(0)
	switch {
	case t == 0xc0:
		return nil, nil
	case t&0xe0 == 0xa0:
		n = uint64(t & 0x1f)
	case t == 0xd9 || t == 0xc4:
		n, err = r.bigEndian(1)
	case t == 0xda || t == 0xc5:
		n, err = r.bigEndian(2)
	case t == 0xdb || t == 0xc6:
		n, err = r.bigEndian(4)
	default:
		err = errMsgpackType
	}
	if err != nil {
		return nil, err
	}
	return r.take(n)
}

func (r *msgpack) uint() (uint64, error) {
	t, err := r.byte()
	switch {
	case err != nil:
		return 0, err
	case t < 0x80:
		return uint64(t), nil
	case t >= 0xcc && t <= 0xcf: // unsigned of 1, 2, 4, 8 bytes
		return r.bigEndian(1 << (t - 0xcc))
	case t >= 0xd0 && t <= 0xd3: // signed; memberlist sends none below zero
		return r.bigEndian(1 << (t - 0xd0))
	}
	return 0, errMsgpackType
}

// skip passes over a number, string, boolean or nil.
func (r *msgpack) skip() error {
	if len(r.rest) == 0 {
		return io.ErrUnexpectedEOF
	}
	switch t := r.rest[0]; {
	case t == 0xc2 || t == 0xc3:
		r.rest = r.rest[1:]
		return nil
	case t < 0x80 || (t >= 0xcc && t <= 0xd3):
		_, err := r.uint()
		return err
	}
	_, err := r.bytes()
	return err
}

func (r *msgpack) byte() (byte, error) {
	b, err := r.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (r *msgpack) bigEndian(size uint64) (n uint64, err error) {
	b, err := r.take(size)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n, err
}

func (r *msgpack) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.rest)) {
		return nil, io.ErrUnexpectedEOF
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b, nil
}

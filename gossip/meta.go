package gossip

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster"
)

const (
	metaFormat  = 1
	metaDomain  = "muster-meta-1|" // keeps signatures from being used elsewhere
	maxEndpoint = 256
	maxZone     = 32
	maxVersion  = 32
	metaHead    = 1 + 1 + 8 + 8 // format, flags, boot
)

const (
	flagDraining = 1 << iota
	flagObserver
)

// Meta is what a member tells all others about itself, signed with its node key.
//
// Encoded: format u8 | flags u8 | boot counter u64 | boot random u64 | endpoint
// (length u16) | name, zone, version (length u8 each) | public key | fields of
// later formats | signature over everything before it.
type Meta struct {
	Boot      muster.Boot
	Endpoint  string // URL, at most 256 bytes; empty: cannot be dialled
	Name      string
	Zone      string // at most 32 bytes
	Version   string // of the program, at most 32 bytes
	Role      muster.Role
	Draining  bool
	PublicKey ed25519.PublicKey
	Signature []byte
}

var (
	errMetaShort     = errors.New("meta is cut off")
	errMetaFormat    = errors.New("meta has an unknown format")
	errMetaSignature = errors.New("meta is not signed by its key")
)

// DecodeMeta reads a member's meta and verifies its signature.
func DecodeMeta(raw []byte) (Meta, error) {
	m, err := parseMeta(raw)
	if err != nil {
		return Meta{}, err
	}
	body := raw[:len(raw)-ed25519.SignatureSize]
	if !ed25519.Verify(m.PublicKey, append([]byte(metaDomain), body...), m.Signature) {
		return Meta{}, errMetaSignature
	}
	return m, nil
}

// Check reports why m cannot be told to others, or nil. The error's code is
// bad-config.
func (m Meta) Check() error {
	_, err := m.encode(make(ed25519.PrivateKey, ed25519.PrivateKeySize))
	return err
}

// encode signs m as the holder of key.
func (m Meta) encode(key ed25519.PrivateKey) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, muster.Errorf(muster.CodeBadConfig, "what this node tells others: %w", err)
	}
	b := make([]byte, 0, memberlist.MetaMaxSize)
	b = append(b, metaFormat, m.flags())
	b = binary.BigEndian.AppendUint64(b, m.Boot.Counter)
	b = binary.BigEndian.AppendUint64(b, m.Boot.Random)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Endpoint)))
	b = append(b, m.Endpoint...)
	for _, s := range []string{m.Name, m.Zone, m.Version} {
		b = append(append(b, byte(len(s))), s...)
	}
	b = append(b, publicKey(key)...)
	return append(b, ed25519.Sign(key, append([]byte(metaDomain), b...))...), nil
}

// check bounds every field; together they fit memberlist's 512 bytes.
func (m Meta) check() error {
	if err := muster.CheckName(m.Name); err != nil {
		return err
	}
	if len(m.Zone) > maxZone || !visible(m.Zone) {
		return fmt.Errorf("zone %q: want at most %d visible characters", muster.Printable(m.Zone), maxZone)
	}
	if len(m.Version) > maxVersion || !visible(m.Version) {
		return fmt.Errorf("version %q: want at most %d visible characters", muster.Printable(m.Version), maxVersion)
	}
	if m.Role != "" && m.Role != muster.RoleVoter && m.Role != muster.RoleObserver {
		return fmt.Errorf("role %q: want voter or observer", muster.Printable(string(m.Role)))
	}
	return checkEndpoint(m.Endpoint)
}

func checkEndpoint(s string) error {
	if s == "" {
		return nil
	}
	if len(s) > maxEndpoint || !visible(s) {
		return fmt.Errorf("endpoint %q: want at most %d visible characters", muster.Printable(s), maxEndpoint)
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("endpoint %q: want http(s)://host:port/path", muster.Printable(s))
	}
	return nil
}

// visible reports whether s is ASCII without spaces and control characters.
func visible(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

func (m Meta) flags() (f byte) {
	if m.Draining {
		f |= flagDraining
	}
	if m.Role == muster.RoleObserver {
		f |= flagObserver
	}
	return f
}

func (m *Meta) setFlags(f byte) {
	m.Draining = f&flagDraining != 0
	m.Role = muster.RoleVoter
	if f&flagObserver != 0 {
		m.Role = muster.RoleObserver
	}
}

// parseMeta reads a meta without verifying its signature.
func parseMeta(raw []byte) (m Meta, err error) {
	if len(raw) < metaHead+ed25519.SignatureSize || len(raw) > memberlist.MetaMaxSize {
		return m, errMetaShort
	}
	if raw[0] != metaFormat {
		return m, errMetaFormat
	}
	m.setFlags(raw[1])
	m.Boot.Counter = binary.BigEndian.Uint64(raw[2:])
	m.Boot.Random = binary.BigEndian.Uint64(raw[10:])
	body, signature := raw[metaHead:len(raw)-ed25519.SignatureSize], raw[len(raw)-ed25519.SignatureSize:]
	r := metaReader{rest: body}
	m.Endpoint = r.text(2)
	m.Name, m.Zone, m.Version = r.text(1), r.text(1), r.text(1)
	m.PublicKey = ed25519.PublicKey(r.take(ed25519.PublicKeySize))
	m.Signature = append([]byte(nil), signature...)
	if r.failed {
		return Meta{}, errMetaShort
	}
	if err := m.check(); err != nil {
		return Meta{}, err
	}
	return m, nil
}

// metaReader takes fields from the front and remembers when they ran out.
type metaReader struct {
	rest   []byte
	failed bool
}

func (r *metaReader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := append([]byte(nil), r.rest[:n]...)
	r.rest = r.rest[n:]
	return b
}

// text reads a text behind a length of the given size.
func (r *metaReader) text(lengthSize int) string {
	n := 0
	for _, b := range r.take(lengthSize) {
		n = n<<8 | int(b)
	}
	return string(r.take(n))
}
